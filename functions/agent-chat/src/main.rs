//! Serves [`agent_chat::handle`] in Lambda, with streaming responses.

use std::sync::Arc;

use agent_chat::{KeySets, Limits, State, TIMEOUT, Turns, Upstream, handle};
use gatehouse_edge::Receiver;
use gatehouse_lambda::Error;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    gatehouse_edge::log::init();
    let state = Arc::new(start().await.inspect_err(|error| tracing::error!(%error, "cannot start"))?);
    let state = &state;
    let answer = |request, deadline| handle(request, state, deadline);
    gatehouse_lambda::serve_streaming(TIMEOUT, state.clock(), answer, || state.turns.ended()).await
}

async fn start() -> Result<State, Error> {
    let limits = Limits::read(&|name| std::env::var(name).ok())?;
    let Receiver { inbox, secrets, .. } = Receiver::from_env().await?;
    let upstream = Upstream::new(limits.connect)?;
    Ok(State { inbox, secrets, upstream, key_sets: KeySets::new(), limits, turns: Turns::new() })
}
