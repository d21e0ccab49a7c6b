//! Wiring: the Lambda runtime around [`client_message::handle`].

use std::convert::Infallible;

use bytes::Bytes;
use client_message::{Code, State, TIMEOUT};
use gatehouse_edge::{Deadline, Door, RequestId};
use gatehouse_replies::Replies;
use lambda_http::{Body, Error, Request, RequestExt, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    gatehouse_edge::log::init();
    let state = start().await.inspect_err(|error| tracing::error!(%error, "cannot start"))?;
    let state = &state;
    lambda_http::run(service_fn(|request: Request| async move {
        let context = request.lambda_context_ref();
        let epoch_ms = context.map(|context| context.deadline);
        let deadline = Deadline::from_lambda(epoch_ms, state.clock().now(), TIMEOUT);
        let request_id = context.and_then(|context| RequestId::of_lambda(&context.request_id));
        let mut request = request.map(|body| Bytes::copy_from_slice(&body));
        request_id.map(|id| request.extensions_mut().insert(id));
        Ok::<_, Infallible>(client_message::handle(request, state, deadline).await.map(Body::from))
    }))
    .await
}

async fn start() -> Result<State, Error> {
    Ok(State { replies: Replies::deployed()?, door: Door::from_env().await?, answers: Code })
}
