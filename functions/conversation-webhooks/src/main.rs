//! Runs [`conversation_webhooks::handle`] in the Lambda runtime.

use conversation_webhooks::{State, VENDOR, handle};
use gatehouse_lambda::Error;
use gatehouse_receiver::TIMEOUT;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    gatehouse_receiver::log::init()?;
    let state = State::from_env(VENDOR).await.inspect_err(|error| tracing::error!(%error, "cannot start"))?;
    gatehouse_lambda::serve(TIMEOUT, state.clock(), |request, deadline| handle(request, &state, deadline)).await
}
