//! A small HTTP/1 server. Handlers get complete requests.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// Maximum size of a request body: more than any function accepts. In bytes.
const MAX_BODY_BYTES: usize = 16 * 1024 * 1024;
/// How long a shutdown waits for requests in progress, including incomplete ones.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);
/// Timeout for reading a request's head, and again for its body.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// A running server; it stops at once when dropped.
#[derive(Debug)]
pub struct Server {
    /// Starts the shutdown. The receiver that is sent closes when the work that requests wait for has ended.
    stop: Option<oneshot::Sender<oneshot::Receiver<()>>>,
    task: JoinHandle<()>,
}

impl Server {
    /// Stops accepting connections, then waits for `work` and for the requests in progress. These may take a few
    /// seconds longer than `work`.
    pub async fn shut_down_after(mut self, work: impl Future<Output = ()>) {
        let (done, work_ended) = oneshot::channel();
        if let Some(stop) = self.stop.take() {
            // Sending fails only if the server's task has already ended.
            let _ = stop.send(work_ended);
        }
        work.await;
        drop(done);
        let _ = (&mut self.task).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Serves a handler. If it returns `None`, the connection is closed without a response.
pub fn serve<A, F>(listener: TcpListener, answer: A) -> Server
where
    A: Fn(Request<Bytes>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Option<Response<Bytes>>> + Send + 'static,
{
    serve_bodies(listener, move |request| {
        let answer = answer(request);
        async move { Some(answer.await?.map(full_body)) }
    })
}

/// A streamed response body. An error closes the connection.
pub type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// Returns a body that consists of `bytes`.
pub fn full_body(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// Like [`serve`], for handlers with streamed responses.
pub fn serve_bodies<A, F>(listener: TcpListener, answer: A) -> Server
where
    A: Fn(Request<Bytes>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Option<Response<Body>>> + Send + 'static,
{
    let (stop, mut stopped) = oneshot::channel();
    let task = tokio::spawn(async move {
        let graceful = GracefulShutdown::new();
        let mut connections = tokio::task::JoinSet::new();
        let work_ended = loop {
            let stream = tokio::select! {
                stream = accept(&listener) => stream,
                work_ended = &mut stopped => break work_ended,
            };
            let answer = answer.clone();
            let service = service_fn(move |request| respond(answer.clone(), request));
            let mut builder = hyper::server::conn::http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(READ_TIMEOUT);
            let connection = builder.serve_connection(TokioIo::new(stream), service);
            let connection = graceful.watch(connection);
            // The client sees a connection error itself; the server need not report it.
            connections.spawn(async move { drop(connection.await) });
            while connections.try_join_next().is_some() {}
        };
        drop(listener);
        let grace = async {
            if let Ok(work_ended) = work_ended {
                // Nothing is sent: the receiver closes when the sender is dropped.
                let _ = work_ended.await;
            }
            sleep(SHUTDOWN_TIMEOUT).await;
        };
        tokio::select! {
            () = graceful.shutdown() => {}
            () = grace => {}
        }
    });
    Server { stop: Some(stop), task }
}

/// Accepts the next connection. Retries after errors.
async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            // Most likely the process is out of file descriptors until a connection is closed.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

/// Reads a request's body and calls the handler.
async fn respond<A, F>(answer: A, request: Request<hyper::body::Incoming>) -> Result<Response<Body>, Closed>
where
    A: Fn(Request<Bytes>) -> F,
    F: Future<Output = Option<Response<Body>>>,
{
    let (parts, body) = request.into_parts();
    let body = match timeout(READ_TIMEOUT, Limited::new(body, MAX_BODY_BYTES).collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => return Ok(too_large()),
        Ok(Err(_)) | Err(_) => return Err(Closed),
    };
    answer(Request::from_parts(parts, body)).await.ok_or(Closed)
}

/// Returns a 413 response. It closes the connection, because the rest of the body is not read.
fn too_large() -> Response<Body> {
    let mut response = Response::new(full_body("the request body is too large\n"));
    *response.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
    response.headers_mut().insert(header::CONNECTION, header::HeaderValue::from_static("close"));
    response
}

/// Closes the connection without a response.
#[derive(Debug, thiserror::Error)]
#[error("closed")]
struct Closed;
