//! `POST /v1/aibot/bots/{AgentId}/send-message`: a streaming proxy in front of configured agents, in the dialect they
//! speak.
//!
//! Whole events are passed on with their bytes unchanged, each as soon as it is complete. Failures before the first
//! event return an HTTP status. Later failures end the stream with one error event in the client's dialect. Every turn
//! is an event in the same inbox as all others. A turn outlives its connection: an invocation is over when
//! [`State::turns`] have ended.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gatehouse_edge::chat::Agent;
use gatehouse_edge::secrets::SecretsCache;
use gatehouse_edge::{Deadline, Problem, RequestId};
use gatehouse_inbox::store::claim::Claim;
use gatehouse_inbox::store::slots::Slot;
use gatehouse_inbox::{Clock, Inbox, Outcome};
use gatehouse_payload::ag_kit::Dialect;
use gatehouse_payload::time::Timestamp;
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

mod accept;
mod admit;
mod auth;
mod body;
mod clean_up;
mod client;
mod idempotency;
mod json_response;
mod jwt;
mod limits;
mod pieces;
mod record;
mod relay;
mod reply;
mod turns;
mod upstream;

use admit::Admitted;
use auth::Caller;
pub use body::Body;
pub use jwt::KeySets;
pub use limits::Limits;
pub use pieces::Pieces;
use record::Stored;
use relay::ResponseHead;
pub use turns::Turns;
pub use upstream::Upstream;

/// The function's name.
pub const FUNCTION: &str = "agent-chat";
/// Where the function answers.
pub const PATHS: &[&str] = &["/v1/aibot/bots/{AgentId}/send-message"];
/// The function's timeout in the template.
pub const TIMEOUT: Duration = Duration::from_secs(300);

/// The end of the invocation's time, which is left for the record, the claim and the slot.
const RESERVE: Duration = Duration::from_secs(5);

/// What is left of the invocation when everything is done.
const MARGIN: Duration = Duration::from_millis(300);

/// What an instance keeps between requests.
#[derive(Debug)]
pub struct State {
    /// Records turns.
    pub inbox: Inbox,
    /// Knows clients and agents.
    pub secrets: SecretsCache,
    /// Asks agents.
    pub upstream: Upstream,
    /// The keys of the issuers of tokens.
    pub key_sets: KeySets,
    /// Time and size limits.
    pub limits: Limits,
    /// The turns and the clean-up that run.
    pub turns: Turns,
}

impl State {
    /// The clock of leases and records.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.inbox.clock
    }
}

/// A request that may go to its agent.
#[derive(Debug)]
struct Asked {
    turn_id: String,
    /// The idempotency key's claim, where there is a key.
    claim: Option<Claim>,
    /// What counts against the client's limits, where it has some.
    slot: Option<Slot>,
    request_id: HeaderValue,
    /// The function's own name for the request.
    invocation: Option<RequestId>,
    client: Caller,
    agent_id: String,
    agent: Agent,
    conversation: Option<String>,
    began_at: Timestamp,
    /// The request, as it came.
    body: Bytes,
    /// Its JSON.
    request: String,
}

/// The form of the answer that a client prefers.
enum Form {
    /// The agent's event stream.
    Stream,
    /// One object when the turn is over. Holds the request, whose messages are no part of the answer.
    Object(Bytes),
}

/// A turn whose agent is being asked.
struct Begun {
    turn_id: String,
    request_id: HeaderValue,
    dialect: Dialect,
    verdict: oneshot::Receiver<ResponseHead>,
    pieces: Pieces,
}

/// How a request is answered.
enum Answering {
    /// By its agent.
    Begun(Begun),
    /// By a recorded turn; the request's own id goes along.
    Replay(Box<Stored>, HeaderValue),
}

/// Forwards a request to its agent, and the answer to the client.
pub async fn handle(request: Request<Bytes>, state: &Arc<State>, deadline: Deadline) -> Response<Body> {
    let started = Instant::now();
    let prefers_object = accept::prefers_json(request.headers());
    let form = if prefers_object { Form::Object(request.body().clone()) } else { Form::Stream };
    let invocation = RequestId::among(request.extensions()).cloned();
    let problem = match begin(request, state, deadline).await {
        Ok(Answering::Begun(begun)) => return answer(begun, invocation.as_ref(), state, deadline, &form).await,
        Ok(Answering::Replay(stored, request_id)) => {
            return replay(*stored, invocation.as_ref(), request_id, started, &form).await;
        }
        Err(problem) => problem,
    };
    let (status, detail, why) = (problem.status().as_u16(), problem.log_detail(), problem.why());
    let (ms, problem_slug) = (millis(started.elapsed()), problem.slug());
    let outcome = problem.outcome().as_str();
    let function = FUNCTION;
    let request_id = invocation.as_ref().map(RequestId::as_str);
    tracing::info!(function, request_id, outcome, status, ms, problem = problem_slug, detail, why, "request");
    refusal(&problem, invocation.as_ref())
}

/// Admits a request and drives its turn, in a task of their own. A client that leaves during the admission leaves
/// neither a key nor a slot taken; one that leaves later stops nothing.
async fn begin(request: Request<Bytes>, state: &Arc<State>, deadline: Deadline) -> Result<Answering, Problem> {
    let (tell, told) = oneshot::channel();
    let owner = Arc::clone(state);
    drop(state.turns.spawn(async move {
        let asked = match admit::admit(&request, &owner, deadline).await {
            Ok(Admitted::Ask(asked)) => asked,
            Ok(Admitted::Replay(stored, request_id)) => {
                // A client that has left needs no replay.
                let _ = tell.send(Ok(Answering::Replay(stored, request_id)));
                return;
            }
            Err(problem) => {
                let _ = tell.send(Err(problem));
                return;
            }
        };
        let (tell_verdict, verdict) = oneshot::channel();
        let (sender, pieces) = pieces::channel(owner.limits.buffer);
        let (turn_id, request_id, dialect) = (asked.turn_id.clone(), asked.request_id.clone(), asked.agent.dialect);
        if tell.send(Ok(Answering::Begun(Begun { turn_id, request_id, dialect, verdict, pieces }))).is_err() {
            admit::give_back(&owner, asked.claim, asked.slot, deadline).await;
            return;
        }
        let until = deadline.instant().checked_sub(RESERVE).unwrap_or_else(Instant::now);
        relay::run(owner, *asked, tell_verdict, sender, until).await;
    }));
    // The task has panicked, and the panic's log line says where.
    told.await.unwrap_or(Err(Problem::BadAgent("the proxy failed before it asked the agent; try again".into())))
}

async fn answer(
    begun: Begun,
    invocation: Option<&RequestId>,
    state: &State,
    deadline: Deadline,
    form: &Form,
) -> Response<Body> {
    let Begun { turn_id, request_id, dialect, verdict, pieces } = begun;
    // A status that is sent with the whole answer can wait for it: the turn ends in time.
    let patience = if matches!(form, Form::Object(_)) { deadline.left() } else { state.limits.commit };
    let verdict = timeout(patience, verdict).await;
    let answered = match (verdict, form) {
        (Ok(Ok(ResponseHead::Refused(problem))), _) => Err(problem),
        // The turn's task has panicked, and the panic's log line says where.
        (Ok(Err(_)), _) => Err(Problem::BadAgent("the turn broke off".into())),
        (_, Form::Object(request)) => json_response::answer(dialect, request, &turn_id, pieces).await,
        (Ok(Ok(ResponseHead::Answers(headers))), Form::Stream) => Ok(with_headers(Body::Pieces(pieces), headers)),
        (Err(_), Form::Stream) => Ok(with_headers(Body::Pieces(pieces), relay::usual_headers())),
    };
    let response = answered.unwrap_or_else(|problem| refusal(&problem, invocation));
    named(response, &turn_id, request_id)
}

/// Replays a recorded turn.
async fn replay(
    stored: Stored,
    invocation: Option<&RequestId>,
    request_id: HeaderValue,
    started: Instant,
    form: &Form,
) -> Response<Body> {
    let Stored { turn_id, dialect, headers, answer } = stored;
    let answered = match form {
        Form::Stream => Ok(with_headers(Body::Whole(answer), headers)),
        Form::Object(request) => {
            let (sender, pieces) = pieces::channel(1);
            sender.send_beyond(answer);
            drop(sender);
            json_response::answer(dialect, request, &turn_id, pieces).await
        }
    };
    let mut response = answered.unwrap_or_else(|problem| refusal(&problem, invocation));
    response.headers_mut().insert("idempotency-replayed", HeaderValue::from_static("true"));
    let event_id = gatehouse_edge::chat::event_id(&turn_id);
    let (function, outcome, ms) = (FUNCTION, Outcome::Replayed.as_str(), millis(started.elapsed()));
    let (event_id, invocation) = (event_id.as_str(), invocation.map(RequestId::as_str));
    tracing::info!(function, request_id = invocation, event_id, outcome, ms, "request");
    named(response, &turn_id, request_id)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn refusal(problem: &Problem, invocation: Option<&RequestId>) -> Response<Body> {
    problem.to_response(invocation).map(|text| Body::Whole(Bytes::from(text)))
}

fn with_headers(body: Body, headers: HeaderMap) -> Response<Body> {
    let mut response = Response::new(body);
    *response.headers_mut() = headers;
    response
}

fn named(mut response: Response<Body>, turn_id: &str, request_id: HeaderValue) -> Response<Body> {
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(turn_id) {
        headers.insert("gatehouse-turn-id", id);
    }
    headers.insert("x-request-id", request_id);
    response
}
