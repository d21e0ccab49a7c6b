//! A small HTTP/1 server on a listener, for whoever answers whole requests with whole responses.

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

/// More than any body that must be taken whole.
const LIMIT: usize = 16 * 1024 * 1024;
/// How long requests that are being answered may take to end, and half-sent ones may hold everything up.
const GRACE: Duration = Duration::from_secs(5);
/// How long a request may take to come in: first its head, then its body.
const SLOWEST: Duration = Duration::from_secs(30);

/// A running server; it stops at once when dropped.
#[derive(Debug)]
pub struct Server {
    /// Stops it. What is sent along ends when the work does that its requests wait for.
    stop: Option<oneshot::Sender<oneshot::Receiver<()>>>,
    task: JoinHandle<()>,
}

impl Server {
    /// Stops taking requests, and waits for `work` and for the requests that are being answered. Those may take a few
    /// seconds more than the work.
    pub async fn shut_down_after(mut self, work: impl Future<Output = ()>) {
        let (done, working) = oneshot::channel();
        if let Some(stop) = self.stop.take() {
            // A server whose task has ended needs no telling.
            let _ = stop.send(working);
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

/// Serves `answer`. `None` closes the connection without an answer.
pub fn serve<A, F>(listener: TcpListener, answer: A) -> Server
where
    A: Fn(Request<Bytes>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Option<Response<Bytes>>> + Send + 'static,
{
    serve_bodies(listener, move |request| {
        let answer = answer(request);
        async move { Some(answer.await?.map(whole)) }
    })
}

/// What is sent piece by piece. An error closes the connection in the middle.
pub type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// A body that is there.
pub fn whole(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// The same for answers that come piece by piece.
pub fn serve_bodies<A, F>(listener: TcpListener, answer: A) -> Server
where
    A: Fn(Request<Bytes>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Option<Response<Body>>> + Send + 'static,
{
    let (stop, mut stopped) = oneshot::channel();
    let task = tokio::spawn(async move {
        let graceful = GracefulShutdown::new();
        let mut connections = tokio::task::JoinSet::new();
        let working = loop {
            let stream = tokio::select! {
                stream = accept(&listener) => stream,
                working = &mut stopped => break working,
            };
            let answer = answer.clone();
            let service = service_fn(move |request| exchange(answer.clone(), request));
            let mut builder = hyper::server::conn::http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(SLOWEST);
            let connection = builder.serve_connection(TokioIo::new(stream), service);
            let connection = graceful.watch(connection);
            // A connection that ends in an error is the client's to notice.
            connections.spawn(async move { drop(connection.await) });
            while connections.try_join_next().is_some() {}
        };
        drop(listener);
        let grace = async {
            if let Ok(working) = working {
                // It ends by being dropped.
                let _ = working.await;
            }
            sleep(GRACE).await;
        };
        tokio::select! {
            () = graceful.shutdown() => {}
            () = grace => {}
        }
    });
    Server { stop: Some(stop), task }
}

/// The next connection, however long it takes.
async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            // Out of file descriptors, most likely: some will be closed.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn exchange<A, F>(answer: A, request: Request<hyper::body::Incoming>) -> Result<Response<Body>, Closed>
where
    A: Fn(Request<Bytes>) -> F,
    F: Future<Output = Option<Response<Body>>>,
{
    let (parts, body) = request.into_parts();
    let body = match timeout(SLOWEST, Limited::new(body, LIMIT).collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => return Ok(too_large()),
        Ok(Err(_)) | Err(_) => return Err(Closed),
    };
    answer(Request::from_parts(parts, body)).await.ok_or(Closed)
}

/// The rest of the body is not read, so the connection ends here.
fn too_large() -> Response<Body> {
    let mut response = Response::new(whole("the request's body is too large\n"));
    *response.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
    response.headers_mut().insert(header::CONNECTION, header::HeaderValue::from_static("close"));
    response
}

/// The connection is to be closed without an answer.
#[derive(Debug, thiserror::Error)]
#[error("closed")]
struct Closed;
