//! Runs [`server_message::handle`] in the Lambda runtime.

use gatehouse_lambda::Error;
use gatehouse_receiver::{Receiver, TIMEOUT};
use gatehouse_replies::Replies;
use server_message::{CustomReplies, State, VENDOR, handle};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    gatehouse_receiver::log::init()?;
    let state = start().await.inspect_err(|error| tracing::error!(%error, "cannot start"))?;
    gatehouse_lambda::serve(TIMEOUT, state.clock(), |request, deadline| handle(request, &state, deadline)).await
}

async fn start() -> Result<State, Error> {
    Ok(State { replies: Replies::deployed()?, receiver: Receiver::from_env(VENDOR).await?, answers: CustomReplies })
}
