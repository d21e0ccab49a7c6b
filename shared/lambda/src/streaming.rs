//! Streamed responses, posted to the Runtime API over a separate connection.
//!
//! `lambda_runtime` only receives the invocations. Its connection sends a small write only after the previous one is
//! acknowledged (Nagle's algorithm), and the Runtime API delays acknowledgements by 40 ms. That would delay the first
//! event of each stream. `lambda_runtime` does not accept a connector, so a separate client, whose sockets have
//! `TCP_NODELAY`, posts the responses.
//!
//! <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-custom.html#runtimes-custom-response-streaming>

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderValue, Method, Request, Response, header};
use http_body::{Frame, SizeHint};
use hyper_util::client::legacy::connect::HttpConnector;
use lambda_http::lambda_runtime::{LambdaInvocation, MetadataPrelude, Runtime};
use lambda_http::request::LambdaRequest;
use lambda_http::tower::layer::layer_fn;
use lambda_http::{Error, LambdaEvent, service_fn};
use lambda_runtime_api_client::{PooledClient, PooledClientBuilder, body, build_request};

/// The bytes between the head of a response and its body.
static DELIMITER: [u8; 8] = [0; 8];
/// The header with a second id of the invocation. If an invocation has the header, the response repeats it.
const INVOCATION_ID: &str = "lambda-runtime-invocation-id";

/// Serves invocations with `handle` until Lambda ends the instance. An invocation ends when its response was posted or
/// could not be posted, and `ended` is ready. Lambda then freezes the instance.
pub(crate) async fn run<H, F, B, E, D>(handle: H, ended: E) -> Result<(), Error>
where
    H: Fn(LambdaEvent<LambdaRequest>) -> F,
    F: Future<Output = Response<B>> + Send,
    B: http_body::Body<Data = Bytes, Error = Infallible> + Unpin + Send + 'static,
    E: Fn() -> D,
    D: Future<Output = ()> + Send,
{
    let client = client().build();
    let (client, handle, ended) = (&client, &handle, &ended);
    let service = service_fn(async move |invocation| {
        let result = answer(client, handle, invocation).await;
        ended().await;
        result
    });
    // `Runtime` posts the response of the service that it is created with. The layer replaces that service, so this one
    // is never called.
    let unused = service_fn(|_: LambdaEvent<LambdaRequest>| async { Ok::<_, Infallible>(()) });
    Runtime::new(unused).layer(layer_fn(move |_| service)).run().await
}

fn client() -> PooledClientBuilder {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    PooledClient::builder().with_connector(connector)
}

/// Calls the handler and posts its response.
async fn answer<H, F, B>(client: &PooledClient, handle: &H, invocation: LambdaInvocation) -> Result<(), Error>
where
    H: Fn(LambdaEvent<LambdaRequest>) -> F,
    F: Future<Output = Response<B>> + Send,
    B: http_body::Body<Data = Bytes, Error = Infallible> + Unpin + Send + 'static,
{
    let LambdaInvocation { parts, body, context } = invocation;
    let request_id = context.request_id.clone();
    let result = match serde_json::from_slice::<LambdaRequest>(&body) {
        // The panic's own log line has the details.
        Ok(request) => AssertUnwindSafe(handle(LambdaEvent::new(request, context)))
            .catch_unwind()
            .await
            .map_err(|_| ("Panic", "the handler panicked")),
        Err(_) => Err(("UnreadableEvent", "the event is not a function URL event")),
    };
    let mut request = match result {
        Ok(response) => response_request(&request_id, response)?,
        Err((kind, message)) => error_request(&request_id, kind, message)?,
    };
    if let Some(id) = parts.headers.get(INVOCATION_ID) {
        request.headers_mut().insert(INVOCATION_ID, id.clone());
    }
    match client.call(request).await {
        Ok(accepted) if accepted.status().is_success() => {}
        Ok(rejected) => {
            let status = rejected.status().as_u16();
            tracing::warn!(request_id, status, "the Runtime API rejected the response");
        }
        // If the Runtime API is unavailable, fetching the next invocation fails.
        Err(error) => tracing::warn!(request_id, error = error.to_string(), "the response could not be posted"),
    }
    Ok(())
}

/// Builds the request that posts a response.
fn response_request<B>(request_id: &str, response: Response<B>) -> Result<Request<body::Body>, Error>
where
    B: http_body::Body<Data = Bytes, Error = Infallible> + Unpin + Send + 'static,
{
    let (parts, body) = response.into_parts();
    let mut headers = parts.headers;
    // Lambda requires a content type.
    headers.entry(header::CONTENT_TYPE).or_insert(HeaderValue::from_static("application/octet-stream"));
    let head = MetadataPrelude { status_code: parts.status, headers, cookies: Vec::new() };
    // Two chunks, because `cargo lambda watch` reads the first chunk as the head. Both are sent in one write.
    let head = [Bytes::from(serde_json::to_vec(&head)?), Bytes::from_static(&DELIMITER)];
    let body = Streamed { head: head.into_iter(), body };
    Ok(build_request()
        .method(Method::POST)
        .uri(format!("/2018-06-01/runtime/invocation/{request_id}/response"))
        .header(header::TRANSFER_ENCODING, "chunked")
        .header("lambda-runtime-function-response-mode", "streaming")
        .header(header::CONTENT_TYPE, "application/vnd.awslambda.http-integration-response")
        .body(body::Body::new(body))?)
}

/// Builds the request that reports an error.
fn error_request(request_id: &str, kind: &str, message: &str) -> Result<Request<body::Body>, Error> {
    let text = serde_json::json!({"errorType": kind, "errorMessage": message}).to_string();
    Ok(build_request()
        .method(Method::POST)
        .uri(format!("/2018-06-01/runtime/invocation/{request_id}/error"))
        .header("lambda-runtime-function-error-type", "unhandled")
        .body(body::Body::from(text))?)
}

/// The head of a response and its body. Frames that are ready at the same time are sent in one write.
struct Streamed<B> {
    head: std::array::IntoIter<Bytes, 2>,
    body: B,
}

impl<B: http_body::Body<Data = Bytes> + Unpin> http_body::Body for Streamed<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match self.head.next() {
            Some(head) => Poll::Ready(Some(Ok(Frame::data(head)))),
            None => Pin::new(&mut self.body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.head.len() == 0 && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        // The body is sent in chunks, so its size is not needed.
        SizeHint::default()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    type TestBody = http_body_util::combinators::UnsyncBoxBody<Bytes, Infallible>;

    /// Returns the bytes of the Runtime API's first read when `handle` answers an invocation with `event`.
    async fn first_read<F>(event: &'static str, handle: impl Fn(LambdaEvent<LambdaRequest>) -> F) -> String
    where
        F: Future<Output = Response<TestBody>> + Send,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let client = client().with_endpoint(endpoint).build();
        let context = lambda_http::Context::default();
        let (parts, ()) = Response::new(()).into_parts();
        let invocation = LambdaInvocation { parts, body: Bytes::from_static(event.as_bytes()), context };
        let receive = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut received = vec![0; 64 * 1024];
            let length = stream.read(&mut received).await.unwrap();
            stream.write_all(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n").await.unwrap();
            String::from_utf8_lossy(&received[..length]).into_owned()
        };
        let (received, result) = tokio::join!(receive, answer(&client, &handle, invocation));
        result.unwrap();
        received
    }

    const EVENT: &str = r#"{"version":"2.0","rawPath":"/","headers":{},"isBase64Encoded":false,
        "requestContext":{"http":{"method":"GET","path":"/"}}}"#;

    #[tokio::test]
    async fn head_and_first_event_are_sent_in_one_write() {
        let received = first_read(EVENT, |_| async {
            Response::new(http_body_util::BodyExt::boxed_unsync(Full::from("data: first\n\n")))
        });
        let received = received.await;
        assert!(
            received.starts_with("POST /2018-06-01/runtime/invocation/") && received.contains("streaming"),
            "{received}"
        );
        assert!(received.contains(r#""statusCode":200"#), "{received}");
        // Head, delimiter and event are separate chunks.
        assert!(
            received.contains("}\r\n8\r\n\0\0\0\0\0\0\0\0\r\n") && received.contains("data: first\n\n"),
            "{received:?}"
        );
    }

    #[tokio::test]
    async fn panics_and_unreadable_events_are_reported_as_errors() {
        #[allow(clippy::panic, reason = "the test needs a handler that panics")]
        let panicked = first_read(EVENT, |_| async { panic!("the secret is out") }).await;
        assert!(panicked.contains("/error ") && panicked.contains("Panic"), "{panicked}");
        assert!(!panicked.contains("secret"), "{panicked}");
        let unreadable =
            first_read("[7]", |_| async { Response::new(http_body_util::BodyExt::boxed_unsync(Full::from(""))) });
        let unreadable = unreadable.await;
        assert!(unreadable.contains("/error ") && unreadable.contains("UnreadableEvent"), "{unreadable}");
    }
}
