//! A function like `event-retry` whose recorder panics or exits for some event ids.

use std::convert::Infallible;

use aws_lambda_events::sqs::SqsEvent;
use event_retry::{Record, State, TIMEOUT};
use gatehouse_inbox::StoreError;
use gatehouse_payload::{Event, Outcome};
use gatehouse_receiver::Deadline;
use lambda_runtime::{Error, LambdaEvent, service_fn};

struct Faulty;

impl Record for Faulty {
    #[allow(clippy::panic, reason = "tests need a recorder that panics")]
    async fn record(&self, event: &Event) -> Result<Outcome, StoreError> {
        match event.id.as_str() {
            "ada:panic" => panic!("for a test"),
            "ada:exit" => std::process::exit(1),
            _ => Ok(Outcome::Recorded),
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    gatehouse_receiver::log::init()?;
    let state = &State::from_env().await?;
    lambda_runtime::run(service_fn(|event: LambdaEvent<SqsEvent>| async move {
        assert!(!event.payload.records.is_empty(), "the handler panics at an empty batch, for a test");
        let deadline = Deadline::from_lambda(Some(event.context.deadline), state.clock.now(), TIMEOUT);
        Ok::<_, Infallible>(event_retry::handle_with(event.payload, state, deadline, &Faulty).await)
    }))
    .await
}
