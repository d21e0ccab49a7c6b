//! Wiring: the Lambda runtime around [`agent_chat::handle`], with a streaming response.

use std::convert::Infallible;
use std::sync::Arc;

use agent_chat::{KeySets, Limits, State, TIMEOUT, Upstream};
use bytes::Bytes;
use gatehouse_edge::{Deadline, Door, RequestId};
use lambda_http::{Error, Request, RequestExt, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    gatehouse_edge::log::init();
    let state = Arc::new(start().await.inspect_err(|error| tracing::error!(%error, "cannot start"))?);
    let state = &state;
    lambda_http::run_with_streaming_response(service_fn(|request: Request| async move {
        let context = request.lambda_context_ref();
        let epoch_ms = context.map(|context| context.deadline);
        let deadline = Deadline::from_lambda(epoch_ms, state.clock().now(), TIMEOUT);
        let request_id = context.and_then(|context| RequestId::of_lambda(&context.request_id));
        let mut request = request.map(|body| Bytes::copy_from_slice(&body));
        request_id.map(|id| request.extensions_mut().insert(id));
        Ok::<_, Infallible>(agent_chat::handle(request, state, deadline).await)
    }))
    .await
}

async fn start() -> Result<State, Error> {
    let limits = Limits::read(&|name| std::env::var(name).ok())?;
    let Door { inbox, secrets, .. } = Door::from_env().await?;
    Ok(State { inbox, secrets, upstream: Upstream::new(limits.connect)?, key_sets: KeySets::new(), limits })
}
