//! Runs [`session_lifecycle::handle`] in the Lambda runtime.

use gatehouse_lambda::Error;
use gatehouse_receiver::TIMEOUT;
use session_lifecycle::{State, VENDOR, handle};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    gatehouse_receiver::log::init()?;
    let state = State::from_env(VENDOR).await.inspect_err(|error| tracing::error!(%error, "cannot start"))?;
    gatehouse_lambda::serve(TIMEOUT, state.clock(), |request, deadline| handle(request, &state, deadline)).await
}
