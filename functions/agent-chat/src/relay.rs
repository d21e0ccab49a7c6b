//! A turn, driven by a task of its own: it reads the agent's answer to its end, whether or not the client still
//! listens.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use gatehouse_edge::Problem;
use gatehouse_payload::ag_kit::turn::{DONE, End, Turn};
use gatehouse_sse::{Block, Reader};
use http::{HeaderMap, HeaderValue, header};
use http_body::Frame;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::de::IgnoredAny;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::client::{Client, Gathered};
use crate::pieces::Sender;
use crate::record::KEPT;
use crate::upstream::Unasked;
use crate::{Asked, State, reply};

mod close;

/// Number of blocks of one chunk after which the task yields and checks its limits.
const BLOCKS: usize = 256;

/// Whether there is an answer.
#[derive(Debug)]
pub(crate) enum ResponseHead {
    /// There is one. The client gets these headers of the agent's.
    Answers(HeaderMap),
    /// There is none. The turn is recorded, and over.
    Refused(Problem),
}

/// Why a turn failed.
#[derive(Debug)]
pub(crate) struct Failure {
    /// One or two words, for the record and the log.
    pub(crate) why: &'static str,
    /// The client's answer, where there is none yet.
    pub(crate) problem: Problem,
}

impl Failure {
    /// The agent does not answer as agents do.
    pub(crate) fn bad(why: &'static str, detail: impl Into<Cow<'static, str>>) -> Failure {
        Failure { why, problem: Problem::BadAgent(detail.into()) }
    }

    /// Something took too long.
    pub(crate) fn slow(why: &'static str, detail: &'static str) -> Failure {
        Failure { why, problem: Problem::SlowAgent(detail) }
    }
}

struct TurnRelay {
    state: Arc<State>,
    asked: Asked,
    verdict: Option<oneshot::Sender<ResponseHead>>,
    client: Client,
    /// The blocks before the first event. They are not sent until the status is.
    held: Gathered,
    began: Instant,
    /// The end of the turn's time.
    until: Instant,
    /// When the agent must have sent its first event.
    first_by: Instant,
    /// When the agent must have sent its next piece.
    idle_by: Instant,
    /// When the agent must have ended its answer, once it has sent a terminal event.
    end_by: Option<Instant>,
    headers: HeaderMap,
    turn: Turn,
    reader: Reader,
    answer: Vec<u8>,
    received: usize,
    first_event: Option<Duration>,
    is_utf8: bool,
    /// Whether the client was sent the agent's terminal event.
    end_is_sent: bool,
}

/// Drives a turn to its end, which comes before `until`, and records it.
pub(crate) async fn run(
    state: Arc<State>,
    asked: Asked,
    verdict: oneshot::Sender<ResponseHead>,
    pieces: Sender,
    until: Instant,
) {
    let (limits, began) = (state.limits, Instant::now());
    let first_by = until.min(began + limits.first_event);
    let mut relay = TurnRelay {
        verdict: Some(verdict),
        client: Client::new(pieces, limits.answer),
        held: Gathered::default(),
        began,
        until,
        first_by,
        idle_by: first_by,
        end_by: None,
        headers: HeaderMap::new(),
        turn: Turn::watched(asked.agent.dialect),
        reader: Reader::new(limits.event),
        answer: Vec::new(),
        received: 0,
        first_event: None,
        is_utf8: true,
        end_is_sent: false,
        state,
        asked,
    };
    let failure = relay.run().await.err();
    relay.close(failure).await;
}

impl TurnRelay {
    async fn run(&mut self) -> Result<(), Failure> {
        let mut body = self.ask().await?;
        loop {
            let came = match self.at_once(&mut body).await {
                Some(came) => Some(came),
                None => {
                    self.send_ready().await?;
                    let limit = self.limit();
                    self.wait_for(body.frame(), limit).await
                }
            };
            match came {
                Some(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        self.take(data).await?;
                    }
                    self.idle_by = Instant::now() + self.state.limits.idle;
                }
                Some(Some(Err(_))) => {
                    self.send_ready().await?;
                    return self.ended("the agent's connection broke");
                }
                Some(None) => {
                    self.finish()?;
                    self.send_ready().await?;
                    return self.ended("the agent ended without its end mark");
                }
                None => return self.out_of_time(),
            }
        }
    }

    /// What has come already while something is ready to be sent: an agent that sends much at once is passed on in few
    /// large writes. `None` where nothing is ready, where enough is, or where nothing more has come.
    async fn at_once(&self, body: &mut Incoming) -> Option<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if !self.client.has_ready() || self.client.is_full() {
            return None;
        }
        if let Some(came) = body.frame().now_or_never() {
            return Some(came);
        }
        // The connection's task may have the next piece in its buffer, and hands over one at a time.
        tokio::task::yield_now().await;
        body.frame().now_or_never()
    }

    /// Waits for the agent, and sends heartbeats meanwhile. `None` when the time is over, also if something has come by
    /// then.
    async fn wait_for<T>(&mut self, what: impl Future<Output = T>, limit: Instant) -> Option<T> {
        if Instant::now() >= limit {
            return None;
        }
        let mut what = std::pin::pin!(timeout_at(limit, what));
        loop {
            let heartbeat = Instant::now() + self.state.limits.heartbeat;
            tokio::select! {
                biased;
                came = &mut what => return came.ok(),
                () = sleep_until(heartbeat) => {
                    // The client has whole events alone, so that a comment never stands within one.
                    if self.is_answered() {
                        self.client.beat();
                    }
                }
            }
        }
    }

    /// Asks the agent, and waits for the head of its answer.
    async fn ask(&mut self) -> Result<Incoming, Failure> {
        let (state, agent) = (Arc::clone(&self.state), self.asked.agent.clone());
        let (body, request_id) = (self.asked.body.clone(), self.asked.request_id.clone());
        let asking = state.upstream.ask(&agent, &body, &request_id);
        let response = match self.wait_for(asking, self.first_by).await {
            Some(Ok(response)) => response,
            Some(Err(Unasked::Unreachable)) => return Err(Failure::bad("unreachable", "the agent cannot be reached")),
            Some(Err(Unasked::Broken)) => {
                return Err(Failure::bad("broken", "the connection to the agent broke before it answered"));
            }
            None => return Err(Failure::slow("no answer", "the agent did not begin to answer in time")),
        };
        let (head, body) = response.into_parts();
        self.headers = reply::check(&head)?;
        Ok(body)
    }

    async fn take(&mut self, data: Bytes) -> Result<(), Failure> {
        self.received += data.len();
        if self.client.has_left && self.received > self.state.limits.answer {
            return Err(Failure::bad("too long", "the answer is longer than the limit, and the client has left"));
        }
        let room = KEPT.saturating_sub(self.answer.len());
        self.answer.extend_from_slice(data.get(..room.min(data.len())).unwrap_or_default());
        self.reader.feed(data);
        let passed = self.pass_blocks().await;
        if passed.is_err() {
            // The whole events before it are the client's.
            self.send_ready().await?;
        }
        passed
    }

    async fn pass_blocks(&mut self) -> Result<(), Failure> {
        for n in 1_usize.. {
            match self.reader.next_block() {
                Ok(Some(block)) => self.pass(block)?,
                Ok(None) => break,
                Err(too_large) => return Err(Failure::bad("too large", format!("the agent sent {too_large}"))),
            }
            if n.is_multiple_of(BLOCKS) {
                tokio::task::yield_now().await;
                if Instant::now() >= self.until.min(self.end_by.unwrap_or(self.until)) {
                    self.out_of_time()?;
                }
            }
            if self.client.is_full() {
                self.send_ready().await?;
            }
        }
        Ok(())
    }

    /// Looks at a block, and makes ready what may be sent with it.
    fn pass(&mut self, block: Block) -> Result<(), Failure> {
        if let Some(event) = &block.event {
            self.is_utf8 &= event.is_utf8;
            self.turn.take(&event.data);
            if self.turn.events == 1 && self.turn.end == Some(End::Failed("could not begin".to_owned())) {
                self.turn.end = None;
                return Err(Failure::bad("could not begin", "the agent could not begin"));
            }
            if self.first_event.is_none() {
                self.first_event = Some(self.began.elapsed());
                self.commit();
            }
            self.end_by = match self.turn.end {
                Some(_) => self.end_by.or(Some(Instant::now() + self.state.limits.after_end)),
                // Another run has begun.
                None => None,
            };
        }
        if self.first_event.is_none() {
            self.held.push(block.bytes);
            let is_much = self.held.len() > self.state.limits.event;
            return if is_much { Err(Failure::bad("no event", "the agent sent data but no event")) } else { Ok(()) };
        }
        if self.held.len() > 0 {
            self.client.push(self.held.take());
        }
        self.client.push(block.bytes);
        Ok(())
    }

    /// Takes the last event although its blank line is missing, where the agent ended its answer regularly and the
    /// event is whole.
    fn finish(&mut self) -> Result<(), Failure> {
        let came = self.reader.unfinished().len();
        let block =
            self.reader.finish().filter(|block| block.event.as_ref().is_some_and(|event| is_whole(&event.data)));
        let Some(block) = block else { return Ok(()) };
        if self.answer.len() == self.received {
            // The record holds what the client gets.
            self.answer.extend_from_slice(block.bytes.get(came..).unwrap_or_default());
        }
        self.pass(block)
    }

    /// Sends the ready blocks. Time spent waiting for the client does not count against the agent's timeouts.
    async fn send_ready(&mut self) -> Result<(), Failure> {
        if !self.client.has_ready() {
            return Ok(());
        }
        let began = Instant::now();
        self.client.send_ready(self.until).await?;
        let waited = began.elapsed();
        self.idle_by += waited;
        self.end_by = self.end_by.map(|end_by| end_by + waited);
        self.end_is_sent = self.turn.end.is_some();
        Ok(())
    }

    /// The first limit that ends the turn if nothing comes.
    fn limit(&self) -> Instant {
        let silent = if self.first_event.is_none() { self.first_by } else { self.idle_by };
        self.end_by.unwrap_or(silent).min(self.until)
    }

    /// The end of a turn whose limit has passed.
    fn out_of_time(&self) -> Result<(), Failure> {
        if self.turn.end.is_some() {
            Ok(())
        } else if Instant::now() >= self.until {
            Err(Failure::slow("deadline", "the turn took too long"))
        } else if self.first_event.is_none() {
            Err(Failure::slow("idle", "the agent sent no event in time"))
        } else {
            Err(Failure::slow("idle", "the agent fell silent"))
        }
    }

    /// Whether the status has been sent: with the first event, or because the response did not wait any longer.
    fn is_answered(&self) -> bool {
        self.verdict.as_ref().is_none_or(oneshot::Sender::is_closed)
    }

    /// Lets the status be sent.
    fn commit(&mut self) {
        if let Some(verdict) = self.verdict.take() {
            // The response may have been sent without it.
            let _ = verdict.send(ResponseHead::Answers(self.headers.clone()));
        }
    }

    fn ended(&self, without_end: &'static str) -> Result<(), Failure> {
        match (&self.turn.end, self.first_event) {
            (Some(_), _) => Ok(()),
            (None, None) => Err(Failure::bad("nothing", "the agent answered nothing")),
            (None, Some(_)) => Err(Failure::bad("cut", without_end)),
        }
    }
}

/// Whether the data of an event are complete: JSON, or the end mark.
fn is_whole(data: &str) -> bool {
    data.trim() == DONE || serde_json::from_str::<IgnoredAny>(data).is_ok()
}

/// The headers of an answer whose agent has not sent any yet.
pub(crate) fn usual_headers() -> HeaderMap {
    HeaderMap::from_iter([
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform")),
    ])
}
