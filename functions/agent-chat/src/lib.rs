//! `POST /v1/aibot/bots/{AgentId}/send-message`: a streaming proxy in front of configured agents, in the dialect they speak.
//!
//! Whole events are passed on with their bytes unchanged, each as soon as it is complete. What fails before the first one gets
//! a status of its own; what fails later ends the stream with one error event in the client's dialect, never in silence. Every
//! turn is an event in the same inbox as all others.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gatehouse_edge::chat::{Agent, AgentChat};
use gatehouse_edge::secrets::{Keeper, Look};
use gatehouse_edge::{Deadline, Problem, gate};
use gatehouse_inbox::{Clock, Inbox};
use gatehouse_payload::ag_kit::{Dialect, check::check};
use gatehouse_payload::json::{self, Document};
use gatehouse_payload::time::Timestamp;
use http::{HeaderValue, Request, Response, header};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

mod body;
mod drive;
mod limits;
mod record;
mod upstream;
mod whole;

pub use body::Body;
use drive::Verdict;
pub use limits::{EVENT_BYTES, Limits};
pub use upstream::Upstream;

/// The function's name.
pub const FUNCTION: &str = "agent-chat";
/// Where the function answers.
pub const PATHS: &[&str] = &["/v1/aibot/bots/{AgentId}/send-message"];
/// The function's timeout in the template.
pub const TIMEOUT: Duration = Duration::from_secs(300);

/// What of the invocation's time is left for the record and the end.
const RESERVE: Duration = Duration::from_secs(5);
/// How many pieces may wait for a client that reads slowly.
const WAITING: usize = 64;

/// What an instance keeps between requests.
#[derive(Debug)]
pub struct State {
    /// Records turns.
    pub inbox: Inbox,
    /// Knows clients and agents.
    pub secrets: Keeper,
    /// Asks agents.
    pub upstream: Upstream,
    /// How long what may take.
    pub limits: Limits,
}

impl State {
    /// The clock deadlines are measured by.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.inbox.clock
    }
}

/// A request that may go to its agent.
#[derive(Debug)]
struct Asked {
    turn_id: String,
    request_id: HeaderValue,
    client: String,
    agent_id: String,
    agent: Agent,
    conversation: Option<String>,
    began_at: Timestamp,
    /// The request, as it came.
    body: Bytes,
    /// Its JSON.
    request: String,
}

/// Takes a request to its agent, and the answer to the client.
pub async fn handle(request: Request<Bytes>, state: &Arc<State>, deadline: Deadline) -> Response<Body> {
    let started = Instant::now();
    let asked = match admit(&request, state).await {
        Ok(asked) => asked,
        Err(problem) => {
            let (status, detail) = (problem.status().as_u16(), problem.detail());
            let ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
            tracing::info!(
                function = FUNCTION,
                outcome = "refused",
                status,
                ms,
                problem = problem.slug(),
                detail,
                "request"
            );
            return refusal(&problem);
        }
    };
    let (turn_id, request_id, dialect) = (asked.turn_id.clone(), asked.request_id.clone(), asked.agent.dialect);
    let until = deadline.instant().checked_sub(RESERVE).unwrap_or(started);
    let (tell, verdict) = oneshot::channel();
    let (sender, pieces) = mpsc::channel(WAITING);
    // Dropping the body must stop nothing.
    tokio::spawn(drive::drive(Arc::clone(state), asked, tell, sender, until));
    let is_whole = whole::is_asked_for(request.headers());
    // A status that goes out with the whole answer can wait for it: the driver ends in time.
    let patience = if is_whole { deadline.left() } else { state.limits.commit };
    let headers = match timeout(patience, verdict).await {
        Ok(Ok(Verdict::Answers(headers))) => headers,
        Ok(Ok(Verdict::Refused(problem))) => return named(refusal(&problem), &turn_id, request_id),
        // The driver has panicked, and the panic's line says where.
        Ok(Err(_)) => return named(refusal(&Problem::BadAgent("the turn broke off")), &turn_id, request_id),
        Err(_) => drive::usual_headers(),
    };
    if is_whole {
        return named(whole::answer(dialect, &turn_id, pieces).await, &turn_id, request_id);
    }
    let mut response = Response::new(Body::Pieces(pieces));
    *response.headers_mut() = headers;
    named(response, &turn_id, request_id)
}

async fn admit(request: &Request<Bytes>, state: &State) -> Result<Asked, Problem> {
    let agent_id = agent_id(request.uri().path()).ok_or(Problem::NotFound { paths: PATHS })?;
    gate::check_form(request)?;
    let (client, agent) = authorize(request, state, agent_id).await?;
    let document = Document::read(request.body()).map_err(|error| Problem::NotAnObject(error.to_string()))?;
    // A string that holds an object is a courtesy to webhooks; agents take none.
    if !request.body().trim_ascii_start().starts_with(b"{") {
        return Err(Problem::NotAnObject("the body is a string; an object is needed".to_owned()));
    }
    check(agent.dialect, document.text()).map_err(|wrong| Problem::WrongRequest(wrong.to_string()))?;
    let conversation = match agent.dialect {
        Dialect::AgKit => json::text_member(document.text(), "conversationId"),
        Dialect::AgUi => json::text_member(document.text(), "threadId"),
    };
    let turn_id = uuid::Uuid::now_v7().to_string();
    Ok(Asked {
        request_id: request_id(request)
            .or_else(|| HeaderValue::from_str(&turn_id).ok())
            .unwrap_or(HeaderValue::from_static("-")),
        turn_id,
        client,
        agent_id: agent_id.to_owned(),
        agent,
        conversation: conversation.filter(|id| !id.is_empty()),
        began_at: state.clock().now(),
        body: request.body().clone(),
        request: document.into_text().into_owned(),
    })
}

/// The client's id, and the agent.
async fn authorize(request: &Request<Bytes>, state: &State, agent_id: &str) -> Result<(String, Agent), Problem> {
    const UNKNOWN: Problem = Problem::NoSecrets("the clients cannot be looked up; send the same request again");
    let secrets = state.secrets.get().await.ok_or(UNKNOWN)?;
    let token = token(request).ok_or(Problem::NoClient)?;
    match allowed(&secrets.agent_chat, token, agent_id) {
        // It may have been configured since.
        Err(Problem::NoClient | Problem::NoAgent) => match state.secrets.look_again().await {
            Look::Again(newer) => allowed(&newer.agent_chat, token, agent_id),
            Look::Current => allowed(&secrets.agent_chat, token, agent_id),
            Look::Unknown => Err(UNKNOWN),
        },
        verdict => verdict,
    }
}

fn allowed(chat: &AgentChat, token: &str, agent_id: &str) -> Result<(String, Agent), Problem> {
    let client = chat.client(token).ok_or(Problem::NoClient)?;
    if !client.may_call(agent_id) {
        return Err(Problem::Forbidden);
    }
    let agent = chat.agents.get(agent_id).ok_or(Problem::NoAgent)?;
    Ok((client.id.clone(), agent.clone()))
}

/// The AgentId in the path.
fn agent_id(path: &str) -> Option<&str> {
    let id = path.trim_matches('/').strip_prefix("v1/aibot/bots/")?.strip_suffix("/send-message")?;
    (!id.is_empty() && !id.contains('/')).then_some(id)
}

fn token(request: &Request<Bytes>) -> Option<&str> {
    let (scheme, token) = request.headers().get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// The client's own, where it is one.
fn request_id(request: &Request<Bytes>) -> Option<HeaderValue> {
    let value = request.headers().get("x-request-id")?;
    let is_id = |text: &str| (1..=200).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    value.to_str().is_ok_and(is_id).then(|| value.clone())
}

fn refusal(problem: &Problem) -> Response<Body> {
    problem.to_response().map(|text| Body::Whole(Bytes::from(text)))
}

fn named(mut response: Response<Body>, turn_id: &str, request_id: HeaderValue) -> Response<Body> {
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(turn_id) {
        headers.insert("gatehouse-turn-id", id);
    }
    headers.insert("x-request-id", request_id);
    response
}
