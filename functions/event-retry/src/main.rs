//! Runs [`event_retry::handle`] in the Lambda runtime.

use std::convert::Infallible;

use aws_lambda_events::sqs::SqsEvent;
use event_retry::{State, TIMEOUT};
use gatehouse_receiver::Deadline;
use lambda_runtime::{Error, LambdaEvent, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    gatehouse_receiver::log::init()?;
    let state = State::from_env().await.inspect_err(|error| tracing::error!(%error, "cannot start"))?;
    let state = &state;
    lambda_runtime::run(service_fn(|event: LambdaEvent<SqsEvent>| async move {
        let deadline = Deadline::from_lambda(Some(event.context.deadline), state.clock.now(), TIMEOUT);
        Ok::<_, Infallible>(event_retry::handle(event.payload, state, deadline).await)
    }))
    .await
}
