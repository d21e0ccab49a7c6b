//! A Lambda Runtime API: hands events out, takes answers in, and notes when.
//!
//! <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use gatehouse_inbox::Clock;
use gatehouse_local::Error;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::{Mutex as AsyncMutex, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// How long a function may take for an answer before the bench gives up.
const PATIENCE: Duration = Duration::from_secs(60);
/// What the functions are told they may take, in milliseconds.
const DEADLINE_MS: i64 = 300_000;

/// The Runtime API of one function.
#[derive(Debug)]
pub(crate) struct Host {
    /// What goes into `AWS_LAMBDA_RUNTIME_API`.
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

/// A part of an answer, and when it came.
pub(crate) type Piece = (Instant, Bytes);

/// An invocation's answer, as it comes.
#[derive(Debug)]
pub(crate) struct Answering {
    /// When the event went out.
    pub(crate) sent: Instant,
    /// The answer's parts; the channel closes at its end.
    pub(crate) pieces: mpsc::UnboundedReceiver<Piece>,
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Exchange {
    /// From the event's first byte to the answer's last.
    pub(crate) took: Duration,
    /// When that was.
    pub(crate) ended: Instant,
    /// What the function answered.
    pub(crate) body: Bytes,
}

impl Drop for Host {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Host {
    /// Starts one on a free port.
    ///
    /// # Errors
    /// When there is no port.
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

    /// When the function first asked for an event.
    ///
    /// # Errors
    /// When it has not within a minute.
    pub(crate) async fn ready(&self) -> Result<Instant, Error> {
        let mut told = self.shared.first_next.subscribe();
        let told = tokio::time::timeout(PATIENCE, told.wait_for(Option::is_some)).await;
        let at = told.map_err(|_| "the function did not ask for an event within a minute")??;
        Ok((*at).ok_or("nobody asked")?)
    }

    /// Hands an event out; its answer is given as it comes. A released function is told at once that its answer has
    /// arrived, so that it asks for the next event while it still answers this one: Lambda never does that.
    ///
    /// # Errors
    /// When nobody asks for an event.
    pub(crate) async fn open(&self, event: Bytes, is_released: bool) -> Result<Answering, Error> {
        let ((sent, was_sent), (pieces, received)) = (oneshot::channel(), mpsc::unbounded_channel());
        self.shared.invoke.send(Invocation { event, is_released, sent, pieces })?;
        let sent = tokio::time::timeout(PATIENCE, was_sent).await;
        Ok(Answering { sent: sent.map_err(|_| "the function asks for no more events")??, pieces: received })
    }

    /// Hands an event out and waits for the whole answer.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) async fn invoke(&self, event: Bytes) -> Result<Exchange, Error> {
        let Answering { sent, mut pieces } = self.open(event, false).await?;
        let (mut body, mut end) = (Vec::new(), sent);
        let all = async {
            while let Some((at, piece)) = pieces.recv().await {
                body.extend_from_slice(&piece);
                end = at;
            }
        };
        tokio::time::timeout(PATIENCE, all).await.map_err(|_| "the function did not answer within a minute")?;
        Ok(Exchange { took: end - sent, ended: end, body: Bytes::from(body) })
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        // Lambda's own end is not known to wait, so neither does this one.
        let _ = stream.set_nodelay(true);
        let shared = Arc::clone(&shared);
        let service = service_fn(move |request| {
            let shared = Arc::clone(&shared);
            async move { answer(&shared, request).await.ok_or("the host is gone") }
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
        let taking = take(request.into_body(), pieces);
        if is_released {
            tokio::spawn(taking);
        } else {
            taking.await;
        }
    }
    let mut accepted = Response::new(Full::from("{\"status\":\"OK\"}"));
    *accepted.status_mut() = StatusCode::ACCEPTED;
    Some(accepted)
}

async fn take(mut body: Incoming, pieces: mpsc::UnboundedSender<Piece>) {
    while let Some(Ok(frame)) = body.frame().await {
        if let Ok(data) = frame.into_data() {
            // Whoever asked may have heard enough.
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
    // Whoever invoked may be gone.
    let _ = sent.send(Instant::now());
    Some(response)
}
