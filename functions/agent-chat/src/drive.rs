//! A turn, driven by a task of its own: it reads the agent's answer to its end, whoever listens, and records it before the
//! client's stream ends.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use gatehouse_edge::log::UNRECORDED;
use gatehouse_edge::{Problem, RequestId};
use gatehouse_inbox::store::claim::Settled;
use gatehouse_payload::ag_kit::Dialect;
use gatehouse_payload::ag_kit::turn::{End, Turn};
use gatehouse_sse::{Block, Reader};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body::Frame;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::limits::EVENT_BYTES;
use crate::record::{self, KEPT, Outcome};
use crate::upstream::Unasked;
use crate::{Asked, RESERVE, State, key, millis};

/// What is said in silence: a comment, which no reader of events hears.
const HEARTBEAT: &[u8] = b": \n\n";
/// The byte order mark.
const MARK: &[u8] = "\u{feff}".as_bytes();
/// How long an agent may take to hang up once it has said its end.
const FAREWELL: Duration = Duration::from_secs(2);
/// How much is gathered before it goes out, in bytes, however much more has come.
const AT_ONCE: usize = 16 * 1024;
/// What recording may take; a claim is settled behind it.
const RECORD: Duration = Duration::from_millis(3500);
/// What settling the claim may take, for as long as there is time.
const SETTLE: Duration = Duration::from_secs(10);
/// What is left of the invocation when all is done.
const FAREWELL_TO_LAMBDA: Duration = Duration::from_millis(300);

/// Whether there is an answer.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// There is: these headers of the agent's go along.
    Answers(HeaderMap),
    /// There is none: the turn is recorded, and over.
    Refused(Problem),
}

/// Why a turn failed.
struct Failure {
    /// For the record and the log: one or two words.
    why: &'static str,
    /// For the client, where there is no answer yet.
    problem: Problem,
}

struct Driver<'a> {
    state: &'a State,
    asked: &'a Asked,
    verdict: Option<oneshot::Sender<Verdict>>,
    pieces: mpsc::Sender<Bytes>,
    /// Kept free for the last word, however full the channel is.
    last_place: Option<mpsc::OwnedPermit<Bytes>>,
    /// What came before the first event: nobody reads the channel until the status is out.
    held: Vec<Bytes>,
    /// What goes out as soon as nothing more comes at once.
    ready: Vec<Bytes>,
    began: Instant,
    until: Instant,
    /// By when the agent must have hung up, once it has said its end.
    farewell: Option<Instant>,
    /// What the client is to see of the agent's headers.
    headers: HeaderMap,
    turn: Turn,
    reader: Reader,
    answer: Vec<u8>,
    received: usize,
    sent: usize,
    first_event: Option<Duration>,
    is_utf8: bool,
    client_left: bool,
    is_first_block: bool,
    /// Whether the client was sent the end the agent has said.
    end_is_said: bool,
}

/// Drives a turn to its end, which comes before `until`, and records it.
pub(crate) async fn drive(
    state: Arc<State>,
    asked: Asked,
    verdict: oneshot::Sender<Verdict>,
    pieces: mpsc::Sender<Bytes>,
    until: Instant,
) {
    let mut driver = Driver {
        state: &state,
        asked: &asked,
        verdict: Some(verdict),
        last_place: pieces.clone().try_reserve_owned().ok(),
        pieces,
        held: Vec::new(),
        ready: Vec::new(),
        began: Instant::now(),
        until,
        farewell: None,
        headers: HeaderMap::new(),
        turn: Turn::watched(asked.agent.dialect),
        reader: Reader::new(EVENT_BYTES),
        answer: Vec::new(),
        received: 0,
        sent: 0,
        first_event: None,
        is_utf8: true,
        client_left: false,
        is_first_block: true,
        end_is_said: false,
    };
    let failure = driver.run().await.err();
    driver.close(failure).await;
}

impl Driver<'_> {
    async fn run(&mut self) -> Result<(), Failure> {
        let first_by = self.until.min(self.began + self.state.limits.first_event);
        let mut body = self.ask(first_by).await?;
        let mut idle = first_by;
        loop {
            let came = match self.at_once(&mut body).await {
                Some(came) => Some(came),
                None => {
                    self.send_ready().await?;
                    self.wait_for(body.frame(), idle.min(self.until)).await
                }
            };
            let Some(Some(Ok(frame))) = came else {
                self.send_ready().await?;
                return match came {
                    Some(None) => self.ended("the agent ended without its end mark"),
                    Some(_) => self.ended("the agent's connection broke"),
                    None if self.is_over() => Ok(()),
                    None if Instant::now() >= self.until => Err(slow("deadline", "the turn took too long")),
                    None => Err(slow("idle", "the agent fell silent")),
                };
            };
            if let Ok(data) = frame.into_data() {
                self.take(data).await?;
            }
            // A piece that is no whole event does not make the first one later.
            idle = if self.first_event.is_none() { first_by } else { Instant::now() + self.state.limits.idle };
            if self.is_over() {
                idle = *self.farewell.get_or_insert(Instant::now() + FAREWELL);
            } else {
                self.farewell = None;
            }
        }
    }

    /// What has come already while something waits to go out: an agent that says much at once is passed on in few large writes.
    /// `None` where nothing waits, where enough does, or where nothing more has come.
    async fn at_once(&self, body: &mut Incoming) -> Option<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let waiting: usize = self.ready.iter().map(Bytes::len).sum();
        if waiting == 0 || waiting >= AT_ONCE {
            return None;
        }
        if let Some(came) = body.frame().now_or_never() {
            return Some(came);
        }
        // The connection's task may have the next piece in its buffer, and hands over one at a time.
        tokio::task::yield_now().await;
        body.frame().now_or_never()
    }

    /// Waits for the agent, with a heartbeat now and then; `None` when the time is over.
    async fn wait_for<T>(&mut self, what: impl Future<Output = T>, limit: Instant) -> Option<T> {
        let mut what = std::pin::pin!(timeout_at(limit, what));
        loop {
            let heartbeat = Instant::now() + self.state.limits.heartbeat;
            tokio::select! {
                biased;
                came = &mut what => return came.ok(),
                () = sleep_until(heartbeat) => {
                    // Never within an event; and what cannot be sent at once is not missed.
                    let may = self.is_answered() && self.reader.unfinished().is_empty();
                    if may && self.pieces.try_send(Bytes::from_static(HEARTBEAT)).is_ok() {
                        self.sent += HEARTBEAT.len();
                    }
                }
            }
        }
    }

    /// The agent's answer, as far as its head.
    async fn ask(&mut self, first_by: Instant) -> Result<Incoming, Failure> {
        let (state, asked) = (self.state, self.asked);
        let asking = state.upstream.ask(&asked.agent, &asked.body, &asked.request_id);
        let response = match self.wait_for(asking, first_by).await {
            Some(Ok(response)) => response,
            Some(Err(Unasked::Unreachable)) => return Err(bad("unreachable", "the agent cannot be reached")),
            Some(Err(Unasked::Broken)) => {
                return Err(bad("broken", "the connection to the agent broke before it answered"));
            }
            None => return Err(slow("no answer", "the agent did not begin to answer in time")),
        };
        let (head, body) = response.into_parts();
        if [StatusCode::UNAUTHORIZED, StatusCode::PROXY_AUTHENTICATION_REQUIRED].contains(&head.status) {
            // It is not the client's token that the agent does not know.
            return Err(bad("agent token", "the agent does not accept the token it is configured with"));
        }
        if head.status.is_client_error() {
            let retry_after = head.headers.get(header::RETRY_AFTER).filter(|value| is_short(value)).cloned();
            return Err(Failure { why: "refused", problem: Problem::AgentRefused(head.status, retry_after) });
        }
        if !head.status.is_success() {
            return Err(bad("status", "the agent answered with a status that is no success"));
        }
        let content_type = head.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let essence = content_type.and_then(|value| value.split(';').next()).unwrap_or_default().trim();
        if !essence.eq_ignore_ascii_case("text/event-stream") {
            return Err(bad("content type", "the agent did not answer with an event stream"));
        }
        for name in [header::CONTENT_TYPE, header::CACHE_CONTROL] {
            if let Some(value) = head.headers.get(&name) {
                self.headers.insert(name, value.clone());
            }
        }
        Ok(body)
    }

    async fn take(&mut self, data: Bytes) -> Result<(), Failure> {
        self.received += data.len();
        let room = KEPT.saturating_sub(self.answer.len());
        self.answer.extend_from_slice(data.get(..room.min(data.len())).unwrap_or_default());
        let mut blocks = Vec::new();
        let fed = self.reader.feed(data, &mut blocks);
        let taken = blocks.into_iter().try_for_each(|block| self.pass(block));
        let taken = taken.and(fed.map_err(|_| bad("too large", "the agent sent an event of more than 1 MiB")));
        if taken.is_err() {
            // Whole events before it are the client's.
            self.send_ready().await?;
        }
        taken
    }

    /// Looks at a block, and makes ready what may go out with it.
    fn pass(&mut self, block: Block) -> Result<(), Failure> {
        if let Some(event) = &block.event {
            self.is_utf8 &= event.is_utf8;
            self.turn.take(&event.data);
            let could_not_begin =
                self.turn.events == 1 && self.turn.end == Some(End::Failed("could not begin".to_owned()));
            if could_not_begin {
                self.turn.end = None;
                return Err(bad("could not begin", "the agent could not begin"));
            }
            if self.first_event.is_none() {
                self.first_event = Some(self.began.elapsed());
                self.commit();
            }
        }
        if self.first_event.is_none() {
            self.held.push(block.bytes);
            let held: usize = self.held.iter().map(Bytes::len).sum();
            return if held > EVENT_BYTES { Err(bad("no event", "the agent sent much, and no event")) } else { Ok(()) };
        }
        self.ready.append(&mut self.held);
        self.ready.push(block.bytes);
        Ok(())
    }

    async fn send_ready(&mut self) -> Result<(), Failure> {
        if !self.ready.is_empty() {
            let ready = joined(std::mem::take(&mut self.ready));
            self.send(ready).await?;
            self.end_is_said = self.turn.end.is_some();
        }
        Ok(())
    }

    /// Whether the agent has nothing to say any more. Behind an error of AG-Kit's its end mark is still to come.
    fn is_over(&self) -> bool {
        match self.turn.end {
            Some(End::Completed | End::Interrupted) => true,
            Some(End::Failed(_)) => self.asked.agent.dialect == Dialect::AgUi,
            None => false,
        }
    }

    /// Whether the status is out: with the first event, or since whoever waited has stopped to wait.
    fn is_answered(&self) -> bool {
        self.verdict.as_ref().is_none_or(oneshot::Sender::is_closed)
    }

    /// The status goes out.
    fn commit(&mut self) {
        if let Some(verdict) = self.verdict.take() {
            // Whoever waited for it may have committed already.
            let _ = verdict.send(Verdict::Answers(self.headers.clone()));
        }
    }

    /// A client that reads slowly is waited for; one that has left is not. What is not sent in time is the end: nothing may
    /// follow it.
    async fn send(&mut self, bytes: Bytes) -> Result<(), Failure> {
        let bytes = self.without_mark(bytes);
        let length = bytes.len();
        // Most clients keep up, and setting a timer for each piece costs more than handing it over.
        let sent = match self.pieces.try_send(bytes) {
            Ok(()) => true,
            Err(TrySendError::Closed(_)) => false,
            Err(TrySendError::Full(bytes)) => match timeout_at(self.until, self.pieces.send(bytes)).await {
                Ok(sent) => sent.is_ok(),
                Err(_) => return Err(slow("client", "the client did not read the answer in time")),
            },
        };
        if sent {
            self.sent += length;
        } else {
            self.client_left = true;
        }
        Ok(())
    }

    /// Behind a heartbeat a byte order mark is no longer at the beginning, where alone it counts as one.
    fn without_mark(&mut self, bytes: Bytes) -> Bytes {
        let is_behind = std::mem::take(&mut self.is_first_block) && self.sent > 0;
        if is_behind && bytes.starts_with(MARK) { bytes.slice(MARK.len()..) } else { bytes }
    }

    fn ended(&self, without_end: &'static str) -> Result<(), Failure> {
        match (&self.turn.end, self.first_event) {
            (Some(_), _) => Ok(()),
            (None, None) => Err(bad("nothing", "the agent answered nothing")),
            (None, Some(_)) => Err(bad("cut", without_end)),
        }
    }

    /// Says how it ended, where the agent has not; records the turn; and only then lets the client's stream end.
    async fn close(mut self, failure: Option<Failure>) {
        let (why, problem) = failure.map(|failure| (failure.why, failure.problem)).unzip();
        let is_answered = self.is_answered();
        let has_ended = self.end_is_said;
        let last_word = problem.as_ref().map(|problem| terminal(self.asked.agent.dialect, problem));
        let last_word = last_word.filter(|_| !has_ended);
        if let (true, Some(last_word)) = (is_answered, &last_word) {
            self.say_last(last_word.clone());
        }
        let end = match (self.turn.end.take(), why) {
            (Some(end), _) => end,
            (None, why) => End::Failed(why.unwrap_or("cut").to_owned()),
        };
        let outcome = Outcome {
            end,
            answer: std::mem::take(&mut self.answer),
            received_bytes: self.received,
            sent_bytes: self.sent,
            events: self.turn.events,
            odd_events: self.turn.odd,
            is_utf8: self.is_utf8,
            first_event_ms: self.first_event.map(millis),
            duration_ms: millis(self.began.elapsed()),
            client_left: self.client_left,
            headers: std::mem::take(&mut self.headers),
        };
        let is_durable = self.record(&outcome).await;
        self.let_go(match (&outcome.end, is_durable) {
            (End::Failed(_), _) => Settled::Failed,
            (_, true) => Settled::Finished,
            (_, false) => Settled::Lost,
        })
        .await;
        if let (Some(verdict), Some(problem)) = (self.verdict.take(), problem) {
            let is_late = verdict.send(Verdict::Refused(problem)).is_err();
            if let (true, false, Some(last_word)) = (is_late, is_answered, last_word) {
                // The status went out while the turn was recorded.
                self.say_last(last_word);
            }
        }
    }

    fn say_last(&mut self, last_word: Bytes) {
        if let Some(place) = self.last_place.take() {
            self.sent += last_word.len();
            place.send(last_word);
        }
    }

    /// The key and the slot go free, or the key stands for the turn from now on.
    async fn let_go(&self, settled: Settled) {
        let free = async {
            if let Some(slot) = &self.asked.slot {
                // If it is not freed, it ends by itself.
                let _ = self.state.inbox.store.free_slot(slot).await;
            }
        };
        let until = (self.until + RESERVE - FAREWELL_TO_LAMBDA).min(Instant::now() + SETTLE);
        tokio::join!(key::settle(self.state, self.asked, settled, until), free);
    }

    /// Whether it is durable.
    async fn record(&self, outcome: &Outcome) -> bool {
        let end = record::word(&outcome.end);
        let Outcome { first_event_ms, duration_ms: ms, events, odd_events, received_bytes, sent_bytes, .. } = outcome;
        let (agent, client, function) = (&self.asked.agent_id, &self.asked.client.id, crate::FUNCTION);
        let request_id = self.asked.invocation.as_ref().map(RequestId::as_str);
        let Some(event) = record::event(self.asked, outcome, self.state.inbox.clock.now()) else {
            tracing::error!(function, request_id, outcome = UNRECORDED, agent, client, end, ms, "turn");
            return false;
        };
        let event_id = event.id.as_str();
        let until = (self.until + RECORD).min(Instant::now() + RECORD);
        let record = self.state.inbox.record(&event, until);
        match tokio::join!(record, self.state.secrets.refresh_if_stale()).0 {
            Ok(receipt) => {
                let (outcome, error) = (receipt.outcome.as_str(), receipt.error.map(|error| error.to_string()));
                tracing::info!(
                    function,
                    request_id,
                    event_id,
                    outcome,
                    agent,
                    client,
                    end,
                    first_event_ms,
                    ms,
                    events,
                    odd_events,
                    received_bytes,
                    sent_bytes,
                    error,
                    "turn"
                );
                true
            }
            Err(error) => {
                let error = error.to_string();
                tracing::error!(
                    function,
                    request_id,
                    event_id,
                    outcome = UNRECORDED,
                    agent,
                    client,
                    end,
                    ms,
                    error,
                    "turn"
                );
                false
            }
        }
    }
}

/// Pieces as one; one piece is not copied.
fn joined(pieces: Vec<Bytes>) -> Bytes {
    match <[Bytes; 1]>::try_from(pieces) {
        Ok([only]) => only,
        Err(pieces) => {
            let mut all = BytesMut::with_capacity(pieces.iter().map(Bytes::len).sum());
            pieces.iter().for_each(|piece| all.extend_from_slice(piece));
            all.freeze()
        }
    }
}

/// What tells the client, in its dialect, that the answer is not whole.
fn terminal(dialect: Dialect, problem: &Problem) -> Bytes {
    let message = problem.detail();
    let event = match dialect {
        Dialect::AgKit => serde_json::json!({"type": "error", "error": message}),
        Dialect::AgUi => serde_json::json!({"type": "RUN_ERROR", "message": message, "code": problem.slug()}),
    };
    Bytes::from(format!("data: {event}\n\n"))
}

fn is_short(value: &HeaderValue) -> bool {
    value.len() <= 40 && value.to_str().is_ok()
}

fn bad(why: &'static str, detail: &'static str) -> Failure {
    Failure { why, problem: Problem::BadAgent(detail) }
}

fn slow(why: &'static str, detail: &'static str) -> Failure {
    Failure { why, problem: Problem::SlowAgent(detail) }
}

/// The headers of an answer whose agent has not said any yet.
pub(crate) fn usual_headers() -> HeaderMap {
    HeaderMap::from_iter([
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform")),
    ])
}
