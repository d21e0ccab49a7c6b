#![doc = include_str!("../README.md")]

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use data_encoding::BASE64;
use gatehouse_receiver::{Deadline, RequestId};
use gatehouse_runtime::Clock;
use http::{Request, Response, header};
pub use lambda_http::Error;
use lambda_http::request::LambdaRequest;
use lambda_http::tower::ServiceBuilder;
use lambda_http::{Adapter, Body, LambdaEvent, RequestExt, lambda_runtime, service_fn};

mod streaming;

/// Longest path that is passed to the handler, in bytes.
const MAX_PATH_BYTES: usize = 4096;

/// Serves requests with whole responses until Lambda ends the instance. `timeout` is the function's timeout, for
/// invocations without a deadline.
///
/// # Errors
/// If the Runtime API cannot be reached.
pub async fn serve<H, F>(timeout: Duration, clock: &Clock, handle: H) -> Result<(), Error>
where
    H: Fn(Request<Bytes>, Deadline) -> F,
    F: Future<Output = Response<String>> + Send,
{
    let handle = &handle;
    let service = Adapter::from(service_fn(|request: lambda_http::Request| {
        let (request, deadline) = invocation(request, clock, timeout);
        let response = handle(request, deadline);
        async move { Ok::<_, Infallible>(response.await.map(Body::from)) }
    }));
    lambda_runtime::run(ServiceBuilder::new().map_request(sanitize).service(service)).await
}

/// Serves requests with streamed responses until Lambda ends the instance. An invocation ends when its response was
/// posted or could not be posted, and `ended` is ready. So work that outlives its response ends before Lambda freezes
/// the instance.
///
/// # Errors
/// If the Runtime API cannot be reached.
pub async fn serve_streaming<H, F, B, E, D>(timeout: Duration, clock: &Clock, handle: H, ended: E) -> Result<(), Error>
where
    H: Fn(Request<Bytes>, Deadline) -> F,
    F: Future<Output = Response<B>> + Send,
    B: http_body::Body<Data = Bytes, Error = Infallible> + Unpin + Send + 'static,
    E: Fn() -> D,
    D: Future<Output = ()> + Send,
{
    let handle = |event| {
        let LambdaEvent { payload, context } = sanitize(event);
        let request = lambda_http::Request::from(payload).with_lambda_context(context);
        let (request, deadline) = invocation(request, clock, timeout);
        handle(request, deadline)
    };
    streaming::run(handle, ended).await
}

/// Converts an event to the handler's request and deadline. The request's extensions contain Lambda's request id.
fn invocation(request: lambda_http::Request, clock: &Clock, timeout: Duration) -> (Request<Bytes>, Deadline) {
    let context = request.lambda_context_ref();
    let deadline = Deadline::from_lambda(context.map(|context| context.deadline), clock.now(), timeout);
    let request_id = context.and_then(|context| RequestId::from_lambda(&context.request_id));
    let mut request = request.map(|body| match body {
        Body::Text(text) => Bytes::from(text),
        Body::Binary(bytes) => Bytes::from(bytes),
        _ => Bytes::new(),
    });
    if let Some(id) = request_id {
        request.extensions_mut().insert(id);
    }
    (request, deadline)
}

/// Removes the host, scheme and query from an event. Senders choose them, no endpoint uses them, and `lambda_http`
/// panics if they are not valid parts of a URL. Also replaces invalid paths and bodies.
fn sanitize(mut event: LambdaEvent<LambdaRequest>) -> LambdaEvent<LambdaRequest> {
    // Function URLs send this kind of event only.
    if let LambdaRequest::ApiGatewayV2(request) = &mut event.payload {
        request.raw_query_string = None;
        request.query_string_parameters = Default::default();
        request.headers.remove(header::HOST);
        request.headers.remove("x-forwarded-proto");
        request.request_context.domain_name = None;
        let path = request.raw_path.take().filter(|path| path.starts_with('/') && path.len() <= MAX_PATH_BYTES);
        request.raw_path = Some(path.unwrap_or_else(|| "/no-such-path".to_owned()));
        let is_base64 = |body: &String| BASE64.decode_len(body.len()).is_ok() && BASE64.decode(body.as_bytes()).is_ok();
        if request.is_base64_encoded && !request.body.as_ref().is_none_or(is_base64) {
            (request.body, request.is_base64_encoded) = (None, false);
        }
    }
    event
}
