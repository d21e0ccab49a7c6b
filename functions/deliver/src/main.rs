//! Runs [`deliver::handle`] in the Lambda runtime.

use deliver::{State, TIMEOUT};
use gatehouse_receiver::Deadline;
use gatehouse_runtime::Clock;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::Value;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    gatehouse_receiver::log::init()?;
    let state = State::from_env().inspect_err(|error| tracing::error!(%error, "cannot start"))?;
    let state = &state;
    lambda_runtime::run(service_fn(|event: LambdaEvent<Value>| async move {
        let deadline = Deadline::from_lambda(Some(event.context.deadline), Clock::System.now(), TIMEOUT);
        deliver::handle(event.payload, state, deadline).await.map_err(Error::from)
    }))
    .await
}
