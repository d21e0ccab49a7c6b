//! Runs [`outbox::handle`] in the Lambda runtime.

use std::convert::Infallible;

use gatehouse_deliveries::outbox::StreamBatch;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use outbox::State;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    gatehouse_receiver::log::init()?;
    let state = State::from_env().inspect_err(|error| tracing::error!(%error, "cannot start"))?;
    let state = &state;
    lambda_runtime::run(service_fn(|event: LambdaEvent<StreamBatch>| async move {
        Ok::<_, Infallible>(outbox::handle(event.payload, state).await)
    }))
    .await
}
