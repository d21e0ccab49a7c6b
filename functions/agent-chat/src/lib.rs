//! `POST /v1/aibot/bots/{AgentId}/send-message`: a streaming proxy for configured agents. It supports the dialects
//! AG-Kit and AG-UI.
//!
//! Each event is forwarded as soon as it is complete, with its bytes unchanged. Failures before the first event return
//! an HTTP status. Later failures end the stream with one error event in the agent's dialect. Every turn is recorded as
//! an event in the inbox. A turn outlives its connection: an invocation ends after all [`State::turns`] have ended.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gatehouse_ag_kit::Dialect;
use gatehouse_chat::{Agent, AgentChat};
use gatehouse_inbox::Inbox;
use gatehouse_inbox::store::claim::Claim;
use gatehouse_inbox::store::slots::Slot;
use gatehouse_payload::Outcome;
use gatehouse_payload::time::Timestamp;
use gatehouse_receiver::secrets::SecretsCache;
use gatehouse_receiver::{Deadline, ProblemDocument, RequestId, log_outcome};
use gatehouse_runtime::Clock;
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
mod problem;
mod record;
mod relay;
mod reply;
mod turns;
mod upstream;

use admit::Admission;
use auth::Caller;
pub use body::Body;
use idempotency::RecordedTurn;
pub use jwt::KeySetCache;
pub use limits::Limits;
pub use pieces::Pieces;
use problem::ChatProblem;
use relay::ResponseHead;
pub use turns::Turns;
pub use upstream::Upstream;

/// The function's name.
pub const FUNCTION: &str = "agent-chat";
/// The paths that the function serves.
pub const PATHS: &[&str] = &["/v1/aibot/bots/{AgentId}/send-message"];
/// The function's timeout in the template.
pub const TIMEOUT: Duration = Duration::from_secs(300);

/// Time before the invocation's deadline that is reserved for recording the turn and releasing its key and slot.
const RESERVE: Duration = Duration::from_secs(5);

/// Time before the invocation's deadline at which retries stop.
const MARGIN: Duration = Duration::from_millis(300);

/// The state that an instance keeps between requests.
#[derive(Debug)]
pub struct State {
    /// Records turns.
    pub inbox: Inbox,
    /// The configured clients and agents.
    pub secrets: SecretsCache<AgentChat>,
    /// The HTTP client for agents.
    pub upstream: Upstream,
    /// The keys of the token issuers.
    pub key_sets: KeySetCache,
    /// Time and size limits.
    pub limits: Limits,
    /// The running turns and clean-up tasks.
    pub turns: Turns,
}

impl State {
    /// Returns the clock of leases and records.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.inbox.clock
    }
}

/// A request that was admitted.
#[derive(Debug)]
struct AdmittedRequest {
    turn_id: String,
    /// The claim on the idempotency key, if the request has a key.
    claim: Option<Claim>,
    /// The slot that counts against the client's limits, if it has limits.
    slot: Option<Slot>,
    /// The `X-Request-Id` for the agent and the client.
    request_id: HeaderValue,
    /// Lambda's id of the request.
    invocation: Option<RequestId>,
    client: Caller,
    agent_id: String,
    agent: Agent,
    conversation: Option<String>,
    began_at: Timestamp,
    /// The unchanged body, which is forwarded.
    body: Bytes,
    /// The JSON of the body, which is recorded.
    json: String,
}

/// The response format that a client prefers.
enum ResponseFormat {
    /// The agent's event stream.
    EventStream,
    /// One object at the end of the turn. Holds the request body, because the request's messages are left out of the
    /// object.
    Json(Bytes),
}

/// A turn that runs in its own task.
struct RunningTurn {
    turn_id: String,
    request_id: HeaderValue,
    dialect: Dialect,
    head: oneshot::Receiver<ResponseHead>,
    pieces: Pieces,
}

/// The source of a response.
enum Answer {
    /// A turn with the agent.
    Turn(RunningTurn),
    /// A recorded turn, with the new request's id.
    Replay(Box<RecordedTurn>, HeaderValue),
}

/// Forwards a request to its agent, and the answer to the client.
pub async fn handle(request: Request<Bytes>, state: &Arc<State>, deadline: Deadline) -> Response<Body> {
    let started = Instant::now();
    let format = if accept::prefers_json(request.headers()) {
        ResponseFormat::Json(request.body().clone())
    } else {
        ResponseFormat::EventStream
    };
    let invocation = RequestId::from_extensions(request.extensions()).cloned();
    let problem = match start_turn(request, state, deadline).await {
        Ok(Answer::Turn(turn)) => return respond(turn, invocation.as_ref(), state, deadline, &format).await,
        Ok(Answer::Replay(recorded, request_id)) => {
            return replay(*recorded, invocation.as_ref(), request_id, started, &format).await;
        }
        Err(problem) => problem,
    };
    let document = problem.document();
    let (request_id, status) = (invocation.as_ref().map(RequestId::as_str), document.status.as_u16());
    let (problem, detail, why) = (document.slug, problem.log_detail(), problem.why());
    let (outcome, took) = (document.outcome, started.elapsed());
    log_outcome!("request", FUNCTION, outcome, took, request_id, status, problem, detail, why);
    problem_response(&document, invocation.as_ref())
}

/// Admits a request and runs its turn, in a task of its own. If the client leaves during admission, the key and the
/// slot are released. If it leaves later, the turn continues.
async fn start_turn(request: Request<Bytes>, state: &Arc<State>, deadline: Deadline) -> Result<Answer, ChatProblem> {
    let (answer_sender, answer) = oneshot::channel();
    let owner = Arc::clone(state);
    drop(state.turns.spawn(async move {
        let admitted = match admit::admit(&request, &owner, deadline).await {
            Ok(Admission::Forward(admitted)) => admitted,
            Ok(Admission::Replay(recorded, request_id)) => {
                // Sending fails if the client has left; then nothing is left to do.
                let _ = answer_sender.send(Ok(Answer::Replay(recorded, request_id)));
                return;
            }
            Err(problem) => {
                let _ = answer_sender.send(Err(problem));
                return;
            }
        };
        let (head_sender, head) = oneshot::channel();
        let (sender, pieces) = pieces::channel(owner.limits.buffer);
        let turn = RunningTurn {
            turn_id: admitted.turn_id.clone(),
            request_id: admitted.request_id.clone(),
            dialect: admitted.agent.dialect,
            head,
            pieces,
        };
        if answer_sender.send(Ok(Answer::Turn(turn))).is_err() {
            admit::release(&owner, admitted.claim, admitted.slot, deadline).await;
            return;
        }
        let until = deadline.instant().checked_sub(RESERVE).unwrap_or_else(Instant::now);
        relay::run(owner, *admitted, head_sender, sender, until).await;
    }));
    // Without an answer the task has panicked, and the panic's log line has the details.
    let panicked =
        ChatProblem::BadAgent("the proxy failed before it forwarded the request to the agent; try again".into());
    answer.await.unwrap_or(Err(panicked))
}

/// Responds with the answer of a running turn.
async fn respond(
    turn: RunningTurn,
    invocation: Option<&RequestId>,
    state: &State,
    deadline: Deadline,
    format: &ResponseFormat,
) -> Response<Body> {
    let RunningTurn { turn_id, request_id, dialect, head, pieces } = turn;
    // A JSON response is sent after the turn, which ends before the deadline. So its status can wait that long.
    let head_timeout = match format {
        ResponseFormat::Json(_) => deadline.left(),
        ResponseFormat::EventStream => state.limits.commit,
    };
    let result = match (timeout(head_timeout, head).await, format) {
        (Ok(Ok(ResponseHead::Failed(problem))), _) => Err(problem),
        // The turn's task has panicked, and the panic's log line has the details.
        (Ok(Err(_)), _) => Err(ChatProblem::BadAgent("the proxy failed during the turn".into())),
        (_, ResponseFormat::Json(request)) => json_response::answer(dialect, request, &turn_id, pieces).await,
        (Ok(Ok(ResponseHead::Answered(headers))), ResponseFormat::EventStream) => {
            Ok(with_headers(Body::Pieces(pieces), headers))
        }
        (Err(_), ResponseFormat::EventStream) => Ok(with_headers(Body::Pieces(pieces), relay::default_headers())),
    };
    let response = result.unwrap_or_else(|problem| problem_response(&problem.document(), invocation));
    with_ids(response, &turn_id, request_id)
}

/// Responds with a recorded turn.
async fn replay(
    recorded: RecordedTurn,
    invocation: Option<&RequestId>,
    request_id: HeaderValue,
    started: Instant,
    format: &ResponseFormat,
) -> Response<Body> {
    let RecordedTurn { turn_id, dialect, headers, answer } = recorded;
    let result = match format {
        ResponseFormat::EventStream => Ok(with_headers(Body::Whole(answer), headers)),
        ResponseFormat::Json(request) => {
            let (sender, pieces) = pieces::channel(1);
            sender.send_over_limit(answer);
            drop(sender);
            json_response::answer(dialect, request, &turn_id, pieces).await
        }
    };
    let mut response = result.unwrap_or_else(|problem| problem_response(&problem.document(), invocation));
    response.headers_mut().insert("idempotency-replayed", HeaderValue::from_static("true"));
    let event_id = gatehouse_ag_kit::event_id(&turn_id);
    let (event_id, invocation) = (event_id.as_str(), invocation.map(RequestId::as_str));
    let took = started.elapsed();
    log_outcome!("request", FUNCTION, Outcome::Replayed, took, request_id = invocation, event_id);
    with_ids(response, &turn_id, request_id)
}

fn problem_response(document: &ProblemDocument, invocation: Option<&RequestId>) -> Response<Body> {
    document.to_response(invocation).map(|text| Body::Whole(Bytes::from(text)))
}

fn with_headers(body: Body, headers: HeaderMap) -> Response<Body> {
    let mut response = Response::new(body);
    *response.headers_mut() = headers;
    response
}

/// Adds the headers with the ids of the turn and the request.
fn with_ids(mut response: Response<Body>, turn_id: &str, request_id: HeaderValue) -> Response<Body> {
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(turn_id) {
        headers.insert("gatehouse-turn-id", id);
    }
    headers.insert("x-request-id", request_id);
    response
}
