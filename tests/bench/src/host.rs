//! A Lambda Runtime API that measures when events are sent and answers received.
//!
//! <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use gatehouse_local::Error;
use gatehouse_runtime::Clock;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::{Mutex as AsyncMutex, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Time after which the bench gives up on a function.
const GIVE_UP_AFTER: Duration = Duration::from_secs(60);
/// The deadline that functions are given, in milliseconds.
const DEADLINE_MS: i64 = 300_000;

/// The Runtime API of one function.
#[derive(Debug)]
pub(crate) struct Host {
    /// The value of `AWS_LAMBDA_RUNTIME_API`.
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    invoke: mpsc::UnboundedSender<Invocation>,
    invoked: AsyncMutex<mpsc::UnboundedReceiver<Invocation>>,
    running: Mutex<HashMap<String, Running>>,
    first_next: watch::Sender<Option<Instant>>,
    count: AtomicU64,
}

#[derive(Debug)]
struct Invocation {
    event: Bytes,
    is_released: bool,
    sent: oneshot::Sender<Instant>,
    pieces: mpsc::UnboundedSender<Piece>,
}

#[derive(Debug)]
struct Running {
    is_released: bool,
    pieces: mpsc::UnboundedSender<Piece>,
}

/// A part of an answer, with the time at which it was received.
pub(crate) type Piece = (Instant, Bytes);

/// The answer of an invocation that is still being received.
#[derive(Debug)]
pub(crate) struct PendingAnswer {
    /// When the event was sent.
    pub(crate) sent: Instant,
    /// The parts of the answer. The channel closes at its end.
    pub(crate) pieces: mpsc::UnboundedReceiver<Piece>,
}

/// A complete answer.
#[derive(Debug)]
pub(crate) struct Exchange {
    /// Time from the first byte of the event to the last byte of the answer.
    pub(crate) took: Duration,
    /// When the last byte was received.
    pub(crate) ended: Instant,
    /// The body of the answer.
    pub(crate) body: Bytes,
}

impl Drop for Host {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Host {
    /// Starts a Runtime API on a free port.
    ///
    /// # Errors
    /// Fails if there is no free port.
    pub(crate) async fn start() -> Result<Host, Error> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (invoke, invoked) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            invoke,
            invoked: AsyncMutex::new(invoked),
            running: Mutex::default(),
            first_next: watch::Sender::new(None),
            count: AtomicU64::new(0),
        });
        let server = tokio::spawn(serve(listener, Arc::clone(&shared)));
        Ok(Host { address, shared, server })
    }

    /// Waits until the function requests its first event, and returns the time.
    ///
    /// # Errors
    /// Fails if the function has not requested an event within a minute.
    pub(crate) async fn ready(&self) -> Result<Instant, Error> {
        let mut first_next = self.shared.first_next.subscribe();
        let first_next = tokio::time::timeout(GIVE_UP_AFTER, first_next.wait_for(Option::is_some)).await;
        let at = first_next.map_err(|_| "the function did not request an event within a minute")??;
        Ok((*at).ok_or("the function requested no event")?)
    }

    /// Sends an event. If `is_released` is set, the function gets the response to its answer at once, and requests the
    /// next event while it still sends this answer. Lambda never does that.
    ///
    /// # Errors
    /// Fails if the function does not request an event.
    pub(crate) async fn open(&self, event: Bytes, is_released: bool) -> Result<PendingAnswer, Error> {
        let ((sent, was_sent), (pieces, received)) = (oneshot::channel(), mpsc::unbounded_channel());
        self.shared.invoke.send(Invocation { event, is_released, sent, pieces })?;
        let sent = tokio::time::timeout(GIVE_UP_AFTER, was_sent).await;
        Ok(PendingAnswer { sent: sent.map_err(|_| "the function does not request another event")??, pieces: received })
    }

    /// Sends an event and waits for the complete answer.
    ///
    /// # Errors
    /// Fails if the function does not answer within a minute.
    pub(crate) async fn invoke(&self, event: Bytes) -> Result<Exchange, Error> {
        let PendingAnswer { sent, mut pieces } = self.open(event, false).await?;
        let (mut body, mut end) = (Vec::new(), sent);
        let all = async {
            while let Some((at, piece)) = pieces.recv().await {
                body.extend_from_slice(&piece);
                end = at;
            }
        };
        tokio::time::timeout(GIVE_UP_AFTER, all).await.map_err(|_| "the function did not answer within a minute")?;
        Ok(Exchange { took: end - sent, ended: end, body: Bytes::from(body) })
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        // Disables Nagle's algorithm, because Lambda's Runtime API is not known to delay its packets.
        let _ = stream.set_nodelay(true);
        let shared = Arc::clone(&shared);
        let service = service_fn(move |request| {
            let shared = Arc::clone(&shared);
            async move { answer(&shared, request).await.ok_or("the host has stopped") }
        });
        let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        tokio::spawn(async move { drop(connection.await) });
    }
}

async fn answer(shared: &Shared, request: Request<Incoming>) -> Option<Response<Full<Bytes>>> {
    let path = request.uri().path().trim_start_matches("/2018-06-01/runtime/").to_owned();
    if path == "invocation/next" {
        shared.first_next.send_if_modified(|at| at.is_none() && at.replace(Instant::now()).is_none());
        return next(shared).await;
    }
    let id = path.trim_start_matches("invocation/").split('/').next().unwrap_or_default();
    let running = shared.running.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    if let Some(Running { is_released, pieces }) = running {
        let receiving = receive(request.into_body(), pieces);
        if is_released {
            tokio::spawn(receiving);
        } else {
            receiving.await;
        }
    }
    let mut accepted = Response::new(Full::from("{\"status\":\"OK\"}"));
    *accepted.status_mut() = StatusCode::ACCEPTED;
    Some(accepted)
}

async fn receive(mut body: Incoming, pieces: mpsc::UnboundedSender<Piece>) {
    while let Some(Ok(frame)) = body.frame().await {
        if let Ok(data) = frame.into_data() {
            // The receiver may have been dropped before the end of the answer.
            let _ = pieces.send((Instant::now(), data));
        }
    }
}

async fn next(shared: &Shared) -> Option<Response<Full<Bytes>>> {
    let Invocation { event, is_released, sent, pieces } = shared.invoked.lock().await.recv().await?;
    let id = format!("00000000-0000-0000-0000-{:012x}", shared.count.fetch_add(1, Ordering::Relaxed));
    let running = Running { is_released, pieces };
    shared.running.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), running);
    let mut response = Response::new(Full::new(event));
    let headers = response.headers_mut();
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    headers.insert("lambda-runtime-aws-request-id", HeaderValue::from_str(&id).ok()?);
    let deadline = Clock::System.now().as_millis() + DEADLINE_MS;
    headers.insert("lambda-runtime-deadline-ms", HeaderValue::from(deadline));
    headers.insert(
        "lambda-runtime-invoked-function-arn",
        HeaderValue::from_static("arn:aws:lambda:us-east-1:000000000000:function:bench"),
    );
    // The caller of `open` may have been dropped.
    let _ = sent.send(Instant::now());
    Some(response)
}
