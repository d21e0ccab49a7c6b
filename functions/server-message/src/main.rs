//! Runs [`server_message::handle`] in the Lambda runtime.

use gatehouse_lambda::Error;
use gatehouse_receiver::Receiver;
use gatehouse_replies::{Replies, ServiceAccess};
use gatehouse_runtime::Clock;
use server_message::{CustomReplies, State, TIMEOUT, VENDOR, handle};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    gatehouse_receiver::log::init()?;
    let state = start().await.inspect_err(|error| tracing::error!(%error, "cannot start"))?;
    gatehouse_lambda::serve(TIMEOUT, state.clock(), |request, deadline| handle(request, &state, deadline)).await
}

async fn start() -> Result<State, Error> {
    let replies = Replies::deployed()?;
    // Only rules that ask services need their configuration.
    let services = async {
        match replies.ask() {
            true => ServiceAccess::from_env(Clock::System).await.map(Some),
            false => Ok(None),
        }
    };
    let (receiver, services) = tokio::join!(Receiver::from_env(VENDOR), services);
    let replies = match services? {
        Some(services) => replies.with_services(services),
        None => replies,
    };
    Ok(State { replies, receiver: receiver?, answers: CustomReplies })
}
