//! An agent that says what it is told to, over a real connection: to try the chat proxy on.

use std::collections::VecDeque;
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

/// A part of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// These bytes, at once.
    Says(Bytes),
    /// The connection is cut.
    Cut,
}

/// What the agent heard.
#[derive(Debug, Clone)]
pub struct Heard {
    /// The request's headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

/// An agent's answer: status, headers, and pieces as they are sent here. The answer ends when the sender does.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: StatusCode,
    /// `text/event-stream`, usually.
    pub content_type: &'static str,
    /// Headers besides, in place of the usual ones.
    pub headers: HeaderMap,
    /// The pieces.
    pub pieces: mpsc::UnboundedReceiver<Piece>,
}

impl Answer {
    /// A stream, and what to say it with.
    #[must_use]
    pub fn stream() -> (mpsc::UnboundedSender<Piece>, Answer) {
        let (sender, pieces) = mpsc::unbounded_channel();
        let content_type = "text/event-stream; charset=utf-8";
        (sender, Answer { status: StatusCode::OK, content_type, headers: HeaderMap::new(), pieces })
    }

    /// A stream that says these pieces, and ends.
    #[must_use]
    pub fn saying(pieces: impl IntoIterator<Item = Piece>) -> Answer {
        let (sender, answer) = Self::stream();
        // The receiver is in the answer.
        pieces.into_iter().for_each(|piece| drop(sender.send(piece)));
        answer
    }
}

/// How many requests an agent remembers: one that runs for days must not remember all.
const KEPT: usize = 100;

/// A running agent; it stops when dropped.
#[derive(Debug)]
pub struct Agent {
    /// Where it takes messages, for every path: `http://127.0.0.1:<port>`.
    pub url: String,
    heard: Arc<Mutex<VecDeque<Heard>>>,
    _server: Server,
}

impl Agent {
    /// Starts an agent on a free port. `answer` is asked for each request; `None` closes the connection.
    ///
    /// # Errors
    /// When there is no port.
    pub async fn start(answer: impl Fn(&Heard) -> Option<Answer> + Send + Sync + 'static) -> Result<Agent, Error> {
        let listener = bind(FREE).await?;
        let url = format!("http://{}", reachable(listener.local_addr()?));
        let heard = Arc::new(Mutex::new(VecDeque::new()));
        let (answer, list) = (Arc::new(answer), Arc::clone(&heard));
        let server = http_server::serve_bodies(listener, move |request: Request<Bytes>| {
            let (head, body) = request.into_parts();
            let heard = Heard { headers: head.headers, body };
            let response = answer(&heard).map(respond);
            let mut list = list.lock().unwrap_or_else(PoisonError::into_inner);
            list.truncate(KEPT - 1);
            list.push_front(heard);
            drop(list);
            async move { response }
        });
        Ok(Agent { url, heard, _server: server })
    }

    /// What it heard last, the latest first.
    #[must_use]
    pub fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

fn respond(answer: Answer) -> Response<http_server::Body> {
    let mut response = Response::new(Saying { pieces: answer.pieces, cuts: false }.boxed_unsync());
    *response.status_mut() = answer.status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(answer.content_type));
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-cache, no-transform"));
    headers.extend(answer.headers);
    response
}

struct Saying {
    pieces: mpsc::UnboundedReceiver<Piece>,
    /// The connection is about to be cut: what was said before goes out first.
    cuts: bool,
}

impl http_body::Body for Saying {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<std::io::Result<Frame<Bytes>>>> {
        if self.cuts {
            return Poll::Ready(Some(Err(std::io::Error::other("cut, as told"))));
        }
        match self.pieces.poll_recv(cx) {
            Poll::Ready(Some(Piece::Cut)) => {
                self.cuts = true;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Ready(Some(Piece::Says(bytes))) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }
}
