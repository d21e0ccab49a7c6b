//! Answers that come piece by piece, over a connection of their own to the Runtime API.
//!
//! `lambda_runtime` asks for invocations; it does not answer them here. Its own connection sends small writes only once
//! those before are acknowledged (Nagle's algorithm), and the other side delays that for 40 ms: each stream's first
//! event would wait for it. Nor does it take a connector, so the answer is posted by a client whose sockets have
//! `TCP_NODELAY`.
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
use lambda_http::tower::Layer;
use lambda_http::{Error, LambdaEvent, service_fn};
use lambda_runtime_api_client::{PooledClient, PooledClientBuilder, body, build_request};

/// What stands between the head of an answer and its body.
static DELIMITER: [u8; 8] = [0; 8];
/// Names an invocation besides its request; goes back where it came along.
const INVOCATION_ID: &str = "lambda-runtime-invocation-id";

/// Has `handle` answer invocations, until Lambda ends the instance. An invocation is over when its answer has been
/// posted, or could not be, and `ended` is ready: Lambda freezes the instance then.
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
    let answering = service_fn(async move |invocation| {
        let answered = answer(client, handle, invocation).await;
        ended().await;
        answered
    });
    let never = service_fn(|_: LambdaEvent<LambdaRequest>| async { Ok::<_, Infallible>(()) });
    Runtime::new(never).layer(Instead(answering)).run().await
}

fn client() -> PooledClientBuilder {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    PooledClient::builder().with_connector(connector)
}

/// Puts a service in the place of another.
struct Instead<S>(S);

impl<S: Clone, T> Layer<T> for Instead<S> {
    type Service = S;

    fn layer(&self, _replaced: T) -> S {
        self.0.clone()
    }
}

async fn answer<H, F, B>(client: &PooledClient, handle: &H, invocation: LambdaInvocation) -> Result<(), Error>
where
    H: Fn(LambdaEvent<LambdaRequest>) -> F,
    F: Future<Output = Response<B>> + Send,
    B: http_body::Body<Data = Bytes, Error = Infallible> + Unpin + Send + 'static,
{
    let LambdaInvocation { parts, body, context } = invocation;
    let request_id = context.request_id.clone();
    let answered = match serde_json::from_slice::<LambdaRequest>(&body) {
        // The panic's own line says where.
        Ok(request) => AssertUnwindSafe(handle(LambdaEvent::new(request, context)))
            .catch_unwind()
            .await
            .map_err(|_| ("Panic", "the handler panicked")),
        Err(_) => Err(("UnreadableEvent", "the event is not one of a function URL")),
    };
    let mut request = match answered {
        Ok(response) => streamed(&request_id, response)?,
        Err((kind, why)) => failed(&request_id, kind, why)?,
    };
    if let Some(id) = parts.headers.get(INVOCATION_ID) {
        request.headers_mut().insert(INVOCATION_ID, id.clone());
    }
    match client.call(request).await {
        Ok(taken) if taken.status().is_success() => {}
        Ok(refused) => {
            let status = refused.status().as_u16();
            tracing::warn!(request_id, status, "the Runtime API did not take the answer");
        }
        // The next invocation shows whether it is still there.
        Err(error) => tracing::warn!(request_id, error = error.to_string(), "the answer could not be posted"),
    }
    Ok(())
}

fn streamed<B>(request_id: &str, response: Response<B>) -> Result<Request<body::Body>, Error>
where
    B: http_body::Body<Data = Bytes, Error = Infallible> + Unpin + Send + 'static,
{
    let (parts, body) = response.into_parts();
    let mut headers = parts.headers;
    // Lambda wants one, whatever the answer.
    headers.entry(header::CONTENT_TYPE).or_insert(HeaderValue::from_static("application/octet-stream"));
    let head = MetadataPrelude { status_code: parts.status, headers, cookies: Vec::new() };
    // Two chunks, though one write: `cargo lambda watch` takes the first for the head, whatever is in it.
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

fn failed(request_id: &str, kind: &str, why: &str) -> Result<Request<body::Body>, Error> {
    let text = serde_json::json!({"errorType": kind, "errorMessage": why}).to_string();
    Ok(build_request()
        .method(Method::POST)
        .uri(format!("/2018-06-01/runtime/invocation/{request_id}/error"))
        .header("lambda-runtime-function-error-type", "unhandled")
        .body(body::Body::from(text))?)
}

/// An answer's body behind its head. What is there at once goes out in one write.
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
        // It is sent in chunks, whatever its size.
        SizeHint::default()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    type Said = http_body_util::combinators::UnsyncBoxBody<Bytes, Infallible>;

    /// What the Runtime API hears at once when `handle` answers an invocation with `event`.
    async fn first_read<F>(event: &'static str, handle: impl Fn(LambdaEvent<LambdaRequest>) -> F) -> String
    where
        F: Future<Output = Response<Said>> + Send,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let client = client().with_endpoint(endpoint).build();
        let context = lambda_http::Context::default();
        let (parts, ()) = Response::new(()).into_parts();
        let invocation = LambdaInvocation { parts, body: Bytes::from_static(event.as_bytes()), context };
        let hears = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut heard = vec![0; 64 * 1024];
            let length = stream.read(&mut heard).await.unwrap();
            stream.write_all(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n").await.unwrap();
            String::from_utf8_lossy(&heard[..length]).into_owned()
        };
        let (heard, answered) = tokio::join!(hears, answer(&client, &handle, invocation));
        answered.unwrap();
        heard
    }

    const EVENT: &str = r#"{"version":"2.0","rawPath":"/","headers":{},"requestContext":{"http":{"method":"GET","path":"/"}},
        "isBase64Encoded":false}"#;

    #[tokio::test]
    async fn the_head_and_the_first_event_go_out_in_one_write() {
        let heard = first_read(EVENT, |_| async {
            Response::new(http_body_util::BodyExt::boxed_unsync(Full::from("data: first\n\n")))
        });
        let heard = heard.await;
        assert!(heard.starts_with("POST /2018-06-01/runtime/invocation/") && heard.contains("streaming"), "{heard}");
        assert!(heard.contains(r#""statusCode":200"#), "{heard}");
        // A chunk of its own each.
        assert!(heard.contains("}\r\n8\r\n\0\0\0\0\0\0\0\0\r\n") && heard.contains("data: first\n\n"), "{heard:?}");
    }

    #[tokio::test]
    async fn a_panic_and_an_event_that_is_none_are_reported_as_errors() {
        #[allow(clippy::panic, reason = "what the handler is to do")]
        let panicked = first_read(EVENT, |_| async { panic!("the secret is out") }).await;
        assert!(panicked.contains("/error ") && panicked.contains("Panic"), "{panicked}");
        assert!(!panicked.contains("secret"), "{panicked}");
        let unreadable =
            first_read("[7]", |_| async { Response::new(http_body_util::BodyExt::boxed_unsync(Full::from(""))) });
        let unreadable = unreadable.await;
        assert!(unreadable.contains("/error ") && unreadable.contains("UnreadableEvent"), "{unreadable}");
    }
}
