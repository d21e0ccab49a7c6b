//! Wiring: the Lambda runtime around [`conversation_webhooks::handle`].

use std::convert::Infallible;

use bytes::Bytes;
use conversation_webhooks::{State, TIMEOUT};
use gatehouse_edge::{Deadline, RequestId};
use lambda_http::{Body, Error, Request, RequestExt, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    gatehouse_edge::log::init();
    let state = State::from_env().await.inspect_err(|error| tracing::error!(%error, "cannot start"))?;
    let state = &state;
    lambda_http::run(service_fn(|request: Request| async move {
        let context = request.lambda_context_ref();
        let epoch_ms = context.map(|context| context.deadline);
        let deadline = Deadline::from_lambda(epoch_ms, state.clock().now(), TIMEOUT);
        let request_id = context.and_then(|context| RequestId::of_lambda(&context.request_id));
        let mut request = request.map(|body| Bytes::copy_from_slice(&body));
        request_id.map(|id| request.extensions_mut().insert(id));
        Ok::<_, Infallible>(conversation_webhooks::handle(request, state, deadline).await.map(Body::from))
    }))
    .await
}
