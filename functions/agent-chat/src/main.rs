//! Serves [`agent_chat::handle`] in Lambda, with streaming responses.

use std::sync::Arc;

use agent_chat::{KeySetCache, Limits, State, TIMEOUT, Turns, Upstream, handle};
use gatehouse_ag_kit::AgKit;
use gatehouse_lambda::Error;
use gatehouse_vendor::Source;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    gatehouse_receiver::log::init()?;
    let state = Arc::new(start().await.inspect_err(|error| tracing::error!(%error, "cannot start"))?);
    let state = &state;
    let answer = |request, deadline| handle(request, state, deadline);
    gatehouse_lambda::serve_streaming(TIMEOUT, state.clock(), answer, || state.turns.ended()).await
}

async fn start() -> Result<State, Error> {
    let limits = Limits::read(&|name| std::env::var(name).ok())?;
    let get = |name: &str| std::env::var(name).ok();
    let (inbox, secrets) = gatehouse_receiver::connect(&AgKit.profile().secrets, &get).await?;
    let upstream = Upstream::new(limits.connect)?;
    Ok(State { inbox, secrets, upstream, key_sets: KeySetCache::new(), limits, turns: Turns::new() })
}
