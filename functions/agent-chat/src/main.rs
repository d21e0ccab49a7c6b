//! Wiring: the Lambda runtime around [`agent_chat::handle`], with a streaming response.

use std::sync::Arc;

use agent_chat::{KeySets, Limits, State, TIMEOUT, Upstream, handle};
use gatehouse_edge::Door;
use gatehouse_lambda::Error;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    gatehouse_edge::log::init();
    let state = Arc::new(start().await.inspect_err(|error| tracing::error!(%error, "cannot start"))?);
    let state = &state;
    gatehouse_lambda::serve_streaming(TIMEOUT, state.clock(), |request, deadline| handle(request, state, deadline))
        .await
}

async fn start() -> Result<State, Error> {
    let limits = Limits::read(&|name| std::env::var(name).ok())?;
    let Door { inbox, secrets, .. } = Door::from_env().await?;
    Ok(State { inbox, secrets, upstream: Upstream::new(limits.connect)?, key_sets: KeySets::new(), limits })
}
