//! A scripted HTTP agent, to test the chat proxy over a real connection.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::BodyExt;
use tokio::sync::mpsc;

use crate::Error;
use crate::engine::{FREE, bind, reachable};
use crate::http_server::{self, Server};

/// A part of a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Bytes, sent in one chunk.
    Bytes(Bytes),
    /// Closes the connection.
    Cut,
}

/// A request that the agent received.
#[derive(Debug, Clone)]
pub struct ReceivedRequest {
    /// The request's headers.
    pub headers: HeaderMap,
    /// The request's body.
    pub body: Bytes,
}

/// An agent's response. Its body consists of the pieces from a channel, and ends when the sender is dropped.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: StatusCode,
    /// Usually `text/event-stream`.
    pub content_type: &'static str,
    /// Further headers. They replace the default ones.
    pub headers: HeaderMap,
    /// The body's pieces.
    pub pieces: mpsc::UnboundedReceiver<Piece>,
}

impl Answer {
    /// Creates a streamed response, and the sender of its pieces.
    #[must_use]
    pub fn stream() -> (mpsc::UnboundedSender<Piece>, Answer) {
        let (sender, pieces) = mpsc::unbounded_channel();
        let content_type = "text/event-stream; charset=utf-8";
        (sender, Answer { status: StatusCode::OK, content_type, headers: HeaderMap::new(), pieces })
    }

    /// Creates a response that consists of these pieces.
    #[must_use]
    pub fn with_pieces(pieces: impl IntoIterator<Item = Piece>) -> Answer {
        let (sender, answer) = Self::stream();
        // Sending cannot fail: `answer` owns the receiver.
        pieces.into_iter().for_each(|piece| drop(sender.send(piece)));
        answer
    }
}

/// Number of requests that an agent remembers. The limit bounds the memory of an agent that runs for days.
const MAX_REQUESTS: usize = 100;

/// A running agent; it stops when dropped.
#[derive(Debug)]
pub struct Agent {
    /// The agent's URL: `http://127.0.0.1:<port>`. It accepts every path.
    pub url: String,
    requests: Arc<Mutex<VecDeque<ReceivedRequest>>>,
    _server: Server,
}

impl Agent {
    /// Starts an agent on a free port. `answer` is called for each request; `None` closes the connection.
    ///
    /// # Errors
    /// If no port is free.
    pub async fn start(
        answer: impl Fn(&ReceivedRequest) -> Option<Answer> + Send + Sync + 'static,
    ) -> Result<Agent, Error> {
        Self::start_at(FREE, answer).await
    }

    /// Starts an agent at an address. See [`start`](Self::start).
    ///
    /// # Errors
    /// If the port is in use.
    pub async fn start_at(
        at: SocketAddr,
        answer: impl Fn(&ReceivedRequest) -> Option<Answer> + Send + Sync + 'static,
    ) -> Result<Agent, Error> {
        let listener = bind(at).await?;
        let url = format!("http://{}", reachable(listener.local_addr()?));
        let requests = Arc::new(Mutex::new(VecDeque::new()));
        let (answer, shared) = (Arc::new(answer), Arc::clone(&requests));
        let server = http_server::serve_bodies(listener, move |request: Request<Bytes>| {
            let (head, body) = request.into_parts();
            let request = ReceivedRequest { headers: head.headers, body };
            let response = answer(&request).map(respond);
            let mut requests = shared.lock().unwrap_or_else(PoisonError::into_inner);
            requests.truncate(MAX_REQUESTS - 1);
            requests.push_front(request);
            drop(requests);
            async move { response }
        });
        Ok(Agent { url, requests, _server: server })
    }

    /// Returns the latest requests, newest first.
    #[must_use]
    pub fn requests(&self) -> Vec<ReceivedRequest> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

fn respond(answer: Answer) -> Response<http_server::Body> {
    let mut response = Response::new(PieceBody { pieces: answer.pieces, cut_pending: false }.boxed_unsync());
    *response.status_mut() = answer.status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(answer.content_type));
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-cache, no-transform"));
    headers.extend(answer.headers);
    response
}

/// A body that is sent as its pieces arrive.
struct PieceBody {
    pieces: mpsc::UnboundedReceiver<Piece>,
    /// Whether to close the connection at the next poll. The earlier pieces are sent first.
    cut_pending: bool,
}

impl http_body::Body for PieceBody {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<std::io::Result<Frame<Bytes>>>> {
        if self.cut_pending {
            return Poll::Ready(Some(Err(std::io::Error::other("connection closed by a Cut piece"))));
        }
        match self.pieces.poll_recv(cx) {
            Poll::Ready(Some(Piece::Cut)) => {
                self.cut_pending = true;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Ready(Some(Piece::Bytes(bytes))) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }
}
