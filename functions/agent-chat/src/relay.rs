//! Relays a turn: reads the agent's answer to its end and forwards it to the client. The turn runs in its own task, so
//! it continues when the client leaves.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use gatehouse_ag_kit::turn::{DONE, End, Turn};
use gatehouse_egress::Body;
use gatehouse_sse::{Block, Reader};
use http::{HeaderMap, HeaderValue, header};
use http_body::Frame;
use http_body_util::BodyExt;
use serde::de::IgnoredAny;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::client::{ClientStream, JoinedBytes};
use crate::pieces::Sender;
use crate::problem::ChatProblem;
use crate::record::MAX_RECORDED_ANSWER;
use crate::upstream::ForwardError;
use crate::{AdmittedRequest, State, reply};

mod close;

/// Number of blocks after which the task yields and checks its time limits.
const BLOCKS_PER_SLICE: usize = 256;

/// The head of the response to the client.
#[derive(Debug)]
pub(crate) enum ResponseHead {
    /// The agent answers, with these headers.
    Answered(HeaderMap),
    /// The turn failed before the first event. It is recorded and has ended.
    Failed(ChatProblem),
}

/// Why a turn failed.
#[derive(Debug)]
pub(crate) struct Failure {
    /// One or two words, for the record and the log.
    pub(crate) reason: &'static str,
    /// The problem that the client gets.
    pub(crate) problem: ChatProblem,
}

impl Failure {
    /// The failure of a turn whose answer is missing, invalid or too large.
    pub(crate) fn bad_gateway(reason: &'static str, detail: impl Into<Cow<'static, str>>) -> Failure {
        Failure { reason, problem: ChatProblem::BadAgent(detail.into()) }
    }

    /// The failure of a turn that exceeds a time limit.
    pub(crate) fn gateway_timeout(reason: &'static str, detail: &'static str) -> Failure {
        Failure { reason, problem: ChatProblem::SlowAgent(detail) }
    }
}

/// A running turn.
struct TurnRelay {
    state: Arc<State>,
    request: AdmittedRequest,
    agent: AgentSide,
    client: ClientSide,
    timers: Timers,
}

/// The agent's answer as read so far.
struct AgentSide {
    reader: Reader,
    turn: Turn,
    /// The part of the answer that is recorded.
    answer: Vec<u8>,
    received_bytes: usize,
    /// Time from the start of the turn to the first event.
    first_event: Option<Duration>,
    is_utf8: bool,
}

/// The response to the client as sent so far.
struct ClientSide {
    /// Sends the head of the response; `None` after that.
    head: Option<oneshot::Sender<ResponseHead>>,
    /// The agent's headers that the client gets.
    headers: HeaderMap,
    stream: ClientStream,
    /// The blocks before the first event. They are held back until the first event decides about the status.
    pending: JoinedBytes,
    /// Whether the client was sent the agent's terminal event.
    is_end_sent: bool,
}

/// The start and the time limits of the turn.
struct Timers {
    started: Instant,
    /// End of the turn.
    until: Instant,
    /// Time by which the agent must have sent its first event.
    first_by: Instant,
    /// Time by which the agent must have sent its next piece.
    idle_by: Instant,
    /// Time by which the agent must have ended its answer; `None` without a terminal event.
    end_by: Option<Instant>,
}

/// The next part of the agent's answer.
enum Next {
    Frame(Frame<Bytes>),
    /// The answer ended regularly.
    End,
    /// The connection broke.
    Broken,
    /// A time limit passed first.
    Timeout,
}

impl<E> From<Option<Result<Frame<Bytes>, E>>> for Next {
    fn from(frame: Option<Result<Frame<Bytes>, E>>) -> Self {
        match frame {
            Some(Ok(frame)) => Next::Frame(frame),
            Some(Err(_)) => Next::Broken,
            None => Next::End,
        }
    }
}

/// Runs a turn to its end, which is before `until`, and records it.
pub(crate) async fn run(
    state: Arc<State>,
    request: AdmittedRequest,
    head: oneshot::Sender<ResponseHead>,
    pieces: Sender,
    until: Instant,
) {
    let (limits, started) = (state.limits, Instant::now());
    let first_by = until.min(started + limits.first_event);
    let mut relay = TurnRelay {
        agent: AgentSide {
            reader: Reader::new(limits.event),
            turn: Turn::watched(request.agent.dialect),
            answer: Vec::new(),
            received_bytes: 0,
            first_event: None,
            is_utf8: true,
        },
        client: ClientSide {
            head: Some(head),
            headers: HeaderMap::new(),
            stream: ClientStream::new(pieces, limits.answer),
            pending: JoinedBytes::default(),
            is_end_sent: false,
        },
        timers: Timers { started, until, first_by, idle_by: first_by, end_by: None },
        state,
        request,
    };
    let failure = relay.run().await.err();
    relay.close(failure).await;
}

impl TurnRelay {
    async fn run(&mut self) -> Result<(), Failure> {
        let mut body = self.forward_request().await?;
        loop {
            match self.next(&mut body).await? {
                Next::Frame(frame) => {
                    if let Ok(data) = frame.into_data() {
                        self.receive(data).await?;
                    }
                    self.timers.idle_by = Instant::now() + self.state.limits.idle;
                }
                Next::Broken => {
                    self.flush().await?;
                    return self.agent.ended("the agent's connection broke");
                }
                Next::End => {
                    self.complete_last_event()?;
                    self.flush().await?;
                    return self.agent.ended("the agent ended without its end mark");
                }
                Next::Timeout => return self.timed_out(),
            }
        }
    }

    /// Forwards the request to the agent, and waits for the head of its answer. Returns the body of the answer.
    async fn forward_request(&mut self) -> Result<Body, Failure> {
        let (state, agent) = (Arc::clone(&self.state), self.request.agent.clone());
        let (body, request_id) = (self.request.body.clone(), self.request.request_id.clone());
        let forwarding = state.upstream.forward(&agent, &body, &request_id);
        let response = match self.wait_for(forwarding, self.timers.first_by).await {
            Some(Ok(response)) => response,
            Some(Err(ForwardError::Unreachable)) => {
                return Err(Failure::bad_gateway("unreachable", "the agent cannot be reached"));
            }
            Some(Err(ForwardError::Broken)) => {
                return Err(Failure::bad_gateway("broken", "the connection to the agent broke before it answered"));
            }
            None => return Err(Failure::gateway_timeout("no answer", "the agent did not begin to answer in time")),
        };
        let (head, body) = response.into_parts();
        self.client.headers = reply::check(&head)?;
        Ok(body)
    }

    /// Returns the next part of the answer. Flushes the client's stream before it waits.
    async fn next(&mut self, body: &mut Body) -> Result<Next, Failure> {
        if let Some(next) = self.next_available(body).await {
            return Ok(next);
        }
        self.flush().await?;
        let frame = self.wait_for(body.frame(), self.next_limit()).await;
        Ok(frame.map_or(Next::Timeout, Next::from))
    }

    /// Returns the next part of the answer if it is available without waiting, so that many small events are sent in
    /// few large writes. `None` if nothing is available, or if the client's outbox is empty or full.
    async fn next_available(&self, body: &mut Body) -> Option<Next> {
        if !self.client.stream.has_unsent() || self.client.stream.is_full() {
            return None;
        }
        if let Some(frame) = body.frame().now_or_never() {
            return Some(frame.into());
        }
        // The connection's task passes on one piece at a time, and may have the next one in its buffer.
        tokio::task::yield_now().await;
        body.frame().now_or_never().map(Next::from)
    }

    /// Waits for the agent, and sends heartbeats in the meantime. `None` if `limit` has passed, even if `future` is
    /// ready by then.
    async fn wait_for<T>(&mut self, future: impl Future<Output = T>, limit: Instant) -> Option<T> {
        if Instant::now() >= limit {
            return None;
        }
        let mut future = std::pin::pin!(timeout_at(limit, future));
        loop {
            let heartbeat = Instant::now() + self.state.limits.heartbeat;
            tokio::select! {
                biased;
                output = &mut future => return output.ok(),
                () = sleep_until(heartbeat) => {
                    // The client was only sent whole events, so the heartbeat is never within one.
                    if self.client.is_head_sent() {
                        self.client.stream.send_heartbeat();
                    }
                }
            }
        }
    }

    /// Handles a piece of the agent's answer.
    async fn receive(&mut self, data: Bytes) -> Result<(), Failure> {
        self.agent.received_bytes += data.len();
        if self.client.stream.has_left && self.agent.received_bytes > self.state.limits.answer {
            return Err(Failure::bad_gateway(
                "too long",
                "the answer is longer than the limit, and the client has left",
            ));
        }
        let room = MAX_RECORDED_ANSWER.saturating_sub(self.agent.answer.len());
        self.agent.answer.extend_from_slice(data.get(..room.min(data.len())).unwrap_or_default());
        self.agent.reader.feed(data);
        let result = self.forward_blocks().await;
        if result.is_err() {
            // The client still gets the whole events before the failure.
            self.flush().await?;
        }
        result
    }

    /// Forwards the complete blocks that the reader holds.
    async fn forward_blocks(&mut self) -> Result<(), Failure> {
        for n in 1_usize.. {
            match self.agent.reader.next_block() {
                Ok(Some(block)) => self.forward_block(block)?,
                Ok(None) => break,
                Err(too_large) => return Err(Failure::bad_gateway("too large", format!("the agent sent {too_large}"))),
            }
            if n.is_multiple_of(BLOCKS_PER_SLICE) {
                tokio::task::yield_now().await;
                if Instant::now() >= self.timers.until.min(self.timers.end_by.unwrap_or(self.timers.until)) {
                    self.timed_out()?;
                }
            }
            if self.client.stream.is_full() {
                self.flush().await?;
            }
        }
        Ok(())
    }

    /// Inspects a block, and adds it to the client's outbox. Blocks before the first event are held back.
    fn forward_block(&mut self, block: Block) -> Result<(), Failure> {
        if let Some(event) = &block.event {
            let turn = &mut self.agent.turn;
            self.agent.is_utf8 &= event.is_utf8;
            turn.take(&event.data);
            if turn.events == 1 && turn.end == Some(End::Failed("could not begin".to_owned())) {
                turn.end = None;
                return Err(Failure::bad_gateway("could not begin", "the agent could not begin"));
            }
            if self.agent.first_event.is_none() {
                self.agent.first_event = Some(self.timers.started.elapsed());
                self.client.send_head();
            }
            self.timers.end_by = match self.agent.turn.end {
                Some(_) => self.timers.end_by.or(Some(Instant::now() + self.state.limits.after_end)),
                // Another run of the same answer has begun.
                None => None,
            };
        }
        if self.agent.first_event.is_none() {
            self.client.pending.push(block.bytes);
            let is_too_much = self.client.pending.len() > self.state.limits.event;
            return if is_too_much {
                Err(Failure::bad_gateway("no event", "the agent sent data but no event"))
            } else {
                Ok(())
            };
        }
        if self.client.pending.len() > 0 {
            let pending = self.client.pending.take();
            self.client.stream.push(pending);
        }
        self.client.stream.push(block.bytes);
        Ok(())
    }

    /// Forwards the last event of an answer that ended regularly if only the event's blank line is missing.
    fn complete_last_event(&mut self) -> Result<(), Failure> {
        let received = self.agent.reader.unfinished().len();
        let block = self
            .agent
            .reader
            .finish()
            .filter(|block| block.event.as_ref().is_some_and(|event| is_complete(&event.data)));
        let Some(block) = block else { return Ok(()) };
        if self.agent.answer.len() == self.agent.received_bytes {
            // The record has the added line ends, like the client's stream.
            self.agent.answer.extend_from_slice(block.bytes.get(received..).unwrap_or_default());
        }
        self.forward_block(block)
    }

    /// Flushes the client's stream. Time spent waiting for the client does not count against the agent's time limits.
    async fn flush(&mut self) -> Result<(), Failure> {
        if !self.client.stream.has_unsent() {
            return Ok(());
        }
        let started = Instant::now();
        self.client.stream.flush(self.timers.until).await?;
        let waited = started.elapsed();
        self.timers.idle_by += waited;
        self.timers.end_by = self.timers.end_by.map(|end_by| end_by + waited);
        self.client.is_end_sent = self.agent.turn.end.is_some();
        Ok(())
    }

    /// Returns the time limit that passes first if the agent sends nothing more.
    fn next_limit(&self) -> Instant {
        let Timers { until, first_by, idle_by, end_by, .. } = self.timers;
        let silence_limit = if self.agent.first_event.is_none() { first_by } else { idle_by };
        end_by.unwrap_or(silence_limit).min(until)
    }

    /// Returns the result of a turn when a time limit has passed.
    fn timed_out(&self) -> Result<(), Failure> {
        if self.agent.turn.end.is_some() {
            Ok(())
        } else if Instant::now() >= self.timers.until {
            Err(Failure::gateway_timeout("deadline", "the turn took too long"))
        } else if self.agent.first_event.is_none() {
            Err(Failure::gateway_timeout("idle", "the agent sent no event in time"))
        } else {
            Err(Failure::gateway_timeout("idle", "the agent fell silent"))
        }
    }
}

impl AgentSide {
    /// Returns the result of a turn when the answer has ended. `without_end` is the error if it has no terminal event.
    fn ended(&self, without_end: &'static str) -> Result<(), Failure> {
        match (&self.turn.end, self.first_event) {
            (Some(_), _) => Ok(()),
            (None, None) => Err(Failure::bad_gateway("nothing", "the agent sent no event")),
            (None, Some(_)) => Err(Failure::bad_gateway("cut", without_end)),
        }
    }
}

impl ClientSide {
    /// Whether the head of the response was sent: with the first event, or because the response waits no longer.
    fn is_head_sent(&self) -> bool {
        self.head.as_ref().is_none_or(oneshot::Sender::is_closed)
    }

    /// Sends the head of the response, unless it was sent before.
    fn send_head(&mut self) {
        if let Some(head) = self.head.take() {
            // Sending fails if the response waits no longer; then its head was sent with the default headers.
            let _ = head.send(ResponseHead::Answered(self.headers.clone()));
        }
    }
}

/// Whether the data of an event is complete: JSON, or the end mark.
fn is_complete(data: &str) -> bool {
    data.trim() == DONE || serde_json::from_str::<IgnoredAny>(data).is_ok()
}

/// Returns the headers of a response that is sent before the agent's headers have come.
pub(crate) fn default_headers() -> HeaderMap {
    HeaderMap::from_iter([
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform")),
    ])
}
