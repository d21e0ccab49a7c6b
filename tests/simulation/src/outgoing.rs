//! The agents that chat turns are forwarded to, the control URLs of live calls, the user's service, and destinations.

use std::pin::Pin;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use gatehouse_deliveries::send::ATTEMPT_LIMIT;
use gatehouse_egress::Body;
use http::{Request, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt, Empty};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::chance::Chance;
use crate::keys::{DESTINATION_DOMAIN, SERVICE_HOST};
use crate::model::Message;
use crate::network::{Caller, NoResponse, Target, Wire};
use crate::plan::{DESTINATIONS, Ms, Service};
use crate::world::World;

/// How long a sender waits for a destination, in milliseconds.
const LONGEST_WAIT: Ms = 1000 * ATTEMPT_LIMIT.as_secs();

type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl Wire {
    /// Sends a request to an agent, a control URL, the user's service or a destination.
    pub(crate) async fn send_outgoing(&self, request: Request<Bytes>) -> Result<Response<Body>, NoResponse> {
        if request.uri().host() == Some(SERVICE_HOST) {
            return self.ask_service(request).await;
        }
        let name = request.uri().host().and_then(|host| host.strip_suffix(DESTINATION_DOMAIN));
        if let Some(destination) = DESTINATIONS.iter().position(|known| Some(*known) == name) {
            return self.send_to_destination(destination, request).await;
        }
        let is_control = request.uri().path().starts_with("/control/");
        let service = if is_control { Service::Control } else { Service::Agent };
        let id = request.headers().get("x-request-id").and_then(|id| id.to_str().ok()).unwrap_or_default();
        let about = Target::named(if is_control { request.uri().path() } else { id });
        let caller = self.caller;
        let apply = |world: &World| {
            if is_control {
                let checked = world.state().model.acted(request.uri().path());
                world.check(checked);
                let name = world.state().name(caller);
                world.note(format_args!("{name} Control.POST {about}"));
                response(StatusCode::OK, empty())
            } else {
                let name = world.state().name(caller);
                world.note(format_args!("{name} Agent.POST {about}"));
                answer(world, caller, &request, id)
            }
        };
        let refuse = |_| response(StatusCode::SERVICE_UNAVAILABLE, empty());
        self.world.carry(caller, service, "POST", &about, apply, refuse).await
    }
}

impl Wire {
    /// Sends a question to the user's service.
    async fn ask_service(&self, request: Request<Bytes>) -> Result<Response<Body>, NoResponse> {
        let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let about = Target::named(header("gatehouse-event-id"));
        let caller = self.caller;
        let apply = |world: &World| {
            let name = world.state().name(caller);
            world.note(format_args!("{name} UserService.POST {about}"));
            service_answer(world, caller, &request)
        };
        let refuse = |_| response(StatusCode::SERVICE_UNAVAILABLE, empty());
        self.world.carry(caller, Service::UserService, "POST", &about, apply, refuse).await
    }
}

impl Wire {
    /// Sends a message to a destination.
    async fn send_to_destination(
        &self,
        destination: usize,
        request: Request<Bytes>,
    ) -> Result<Response<Body>, NoResponse> {
        let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let (id, attempt) = (header("webhook-id"), header("gatehouse-attempt"));
        let about = Target::named(format_args!("{} attempt {attempt}", id.get(..16).unwrap_or(id)));
        let caller = self.caller;
        let service = [Service::Crm, Service::Archive][destination];
        let world = self.world.clone();
        let attempt = Attempt::default();
        let apply = |world: &World| {
            let now = world.epoch_ms();
            let (answer, checked, name) = {
                let mut state = world.state();
                state.stats.messages += 1;
                let answer = destination_answer(&mut state);
                let message = Message { destination, caller, request: &request, accepts: answer.status.is_success() };
                let (number, checked) = match state.measured.is_some() {
                    true => (0, state.measure(&message, now)),
                    false => state.check_message(&message, now),
                };
                attempt.begins(world, number);
                (answer, checked, state.name(caller))
            };
            world.note(format_args!("{name} {service:?}.POST {about} -> {}", answer.status));
            world.check(checked);
            answer
        };
        let refuse = |_| Answer { status: StatusCode::SERVICE_UNAVAILABLE, retry_after: None, pause: 0 };
        let answer = world.carry(caller, service, "POST", &about, apply, refuse).await?;
        attempt.answers_in(answer.pause);
        world.wait(answer.pause).await;
        attempt.ends();
        let mut http = response(answer.status, empty());
        if let Some(seconds) = answer.retry_after {
            http.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        Ok(http)
    }
}

/// An attempt that a destination has got. It ends when its sender has the response. If the sender does not wait that
/// long, the destination works on it nevertheless, but not for longer than a sender may wait.
#[derive(Default)]
struct Attempt {
    begun: OnceLock<(World, u64)>,
    /// When the destination answers, in milliseconds since 1970.
    busy_until: Mutex<Option<i64>>,
}

impl Attempt {
    fn begins(&self, world: &World, number: u64) {
        self.begun.get_or_init(|| (world.clone(), number));
    }

    /// Sees that the destination answers after `pause`.
    fn answers_in(&self, pause: Ms) {
        let Some((world, _)) = self.begun.get() else { return };
        let pause = i64::try_from(pause.min(LONGEST_WAIT)).unwrap_or_default();
        *self.busy_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(world.epoch_ms() + pause);
    }

    /// Sees that the destination has answered.
    fn ends(&self) {
        *self.busy_until.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if let Some((world, number)) = self.begun.get() {
            let busy_until = *self.busy_until.lock().unwrap_or_else(PoisonError::into_inner);
            world.state().model.destinations.ended(*number, busy_until);
        }
    }
}

/// The answer of a destination.
struct Answer {
    status: StatusCode,
    retry_after: Option<u64>,
    /// The time until the answer, in milliseconds.
    pause: Ms,
}

/// Answers as a destination does: mostly with success, sometimes with an error, a redirect or too late.
fn destination_answer(state: &mut crate::world::State) -> Answer {
    let mut chance = Chance::of(state.plan.seed, &[10, state.stats.messages]);
    let is_erring = !state.is_quiet && !state.plan.is_calm();
    let (status, retry_after, pause) = match chance.between(0, 100) {
        0..5 if is_erring => (500, None, 0),
        5..8 if is_erring => (429, Some(chance.between(1, 200)), 0),
        8 if is_erring => (410, None, 0),
        9..11 if is_erring => (302, None, 0),
        // The sender waits for 15 s.
        11..17 if is_erring => (200, None, chance.between(200, 20_000)),
        17..20 => (204, None, 0),
        _ => (200, None, chance.between(0, 60)),
    };
    Answer { status: StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY), retry_after, pause }
}

/// Answers a question as a service does: mostly well, and at times with an error, too late or not at all.
fn service_answer(world: &World, caller: Caller, request: &Request<Bytes>) -> Response<Body> {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let body: Value = serde_json::from_slice(request.body()).unwrap_or_default();
    let (began_at, is_disturbed) = match caller {
        Caller::Instance(number) => (world.began_at(number), !world.is_undisturbed(number)),
        _ => (0, true),
    };
    let (number, checked) = {
        let mut state = world.state();
        let (number, checked) = state.model.asks.asked(caller, header("webhook-id"), began_at, is_disturbed);
        let text = String::from_utf8_lossy(request.body());
        let is_own = header("x-vapi-secret") == state.keys.service_secret();
        let other = |(name, value): (&header::HeaderName, &http::HeaderValue)| {
            name != "x-vapi-secret" && value.to_str().is_ok_and(|text| state.keys.are_shown_in(text))
        };
        let leaks = state.keys.are_shown_in(&text) || text.contains("https://control.vapi.ai");
        let wrong = [
            (text.contains("FORGED"), "I3", "gets a body that no vendor has signed"),
            (leaks || request.headers().iter().any(other), "I8", "gets secrets that are not its own"),
            (!is_own, "I8", "does not get its own secret"),
            (header("idempotency-key") != header("webhook-id"), "I11", "gets two ids of one question"),
        ];
        let wrong = wrong.into_iter().find(|(is_wrong, ..)| *is_wrong);
        let wrong = wrong.map(|(_, invariant, what)| Err((invariant, format!("the service {what}"))));
        (number, wrong.unwrap_or(checked))
    };
    world.check(checked);
    let mut chance = Chance::of(world.state().plan.seed, &[6, number as u64]);
    let calls = body["message"]["toolCallList"].as_array().cloned().unwrap_or_default();
    // The result differs in every answer, so that copies with different answers are noticed.
    let result = |call: &Value| json!({"toolCallId": call["id"], "result": format!("version answered {number}")});
    let answer = json!({"results": calls.iter().map(result).collect::<Vec<_>>()}).to_string();
    let (status, text, pause) = match chance.between(0, 100) {
        0..5 => (500, "{}".to_owned(), 0),
        5..8 => (204, String::new(), 0),
        8..11 => (200, "<html>".to_owned(), 0),
        11..14 => (200, json!({"results": []}).to_string(), 0),
        14..20 => (200, answer, chance.between(200, 5000)),
        _ => (200, answer, chance.between(0, 60)),
    };
    let (sender, frames) = mpsc::unbounded_channel();
    let world = world.clone();
    tokio::spawn(async move {
        if pause > 0 {
            world.wait(pause).await;
        }
        let _ = sender.send(Ok(Bytes::from(text)));
    });
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
    response(status, Body::simulated(AgentBody(frames).boxed_unsync()))
}

fn empty() -> Body {
    Body::simulated(Empty::new().map_err(|never| match never {}).boxed_unsync())
}

fn response(status: StatusCode, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, http::HeaderValue::from_static("text/event-stream"));
    response
}

/// The end of an agent's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AgentEnd {
    /// A terminal event.
    Finished,
    /// A terminal event whose blank line is missing.
    Unterminated,
    /// A terminal event, after which the connection breaks.
    Broken,
    /// An event that says that the run failed.
    RunError,
    /// The connection breaks within an event.
    Cut,
    /// The answer ends within an event.
    Torn,
    /// The agent falls silent.
    Silent,
    /// The answer ends without a terminal event.
    Missing,
}

/// Answers a request as an agent does: a stream of events with pauses.
fn answer(world: &World, caller: Caller, request: &Request<Bytes>, request_id: &str) -> Response<Body> {
    let (call, checked) = {
        let mut state = world.state();
        let own = format!("Bearer {}", state.keys.agent_token());
        let is_secret =
            |value: &http::HeaderValue| value.to_str().is_ok_and(|text| text != own && state.keys.are_shown_in(text));
        let has_token = request.headers().get("authorization").is_some_and(|value| *value == own);
        let shows_secret = !has_token || request.headers().values().any(is_secret);
        let (call, checked) = state.model.agent_asked(caller, request_id, request.body(), world.epoch_ms());
        (
            call,
            if shows_secret {
                Err(("I8", format!("{request_id} sends the agent not only its own token")))
            } else {
                checked
            },
        )
    };
    world.check(checked);
    let seed = world.state().plan.seed;
    let mut chance = Chance::of(seed, &[4, call as u64]);
    if chance.happens(80) {
        let status = *chance.pick(&[400, 401, 422, 429, 500, 502]);
        world.state().model.chat.agent_refuses(call, status);
        return response(StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY), empty());
    }
    let end = match chance.between(0, 100) {
        0..66 => AgentEnd::Finished,
        66..69 => AgentEnd::Unterminated,
        69..72 => AgentEnd::Broken,
        72..80 => AgentEnd::RunError,
        80..86 => AgentEnd::Cut,
        86..90 => AgentEnd::Torn,
        90..94 => AgentEnd::Silent,
        _ => AgentEnd::Missing,
    };
    world.state().model.chat.agent_will_end(call, end);
    let (sender, frames) = mpsc::unbounded_channel();
    let world = world.clone();
    tokio::spawn(async move { stream(&world, call, end, chance, &sender).await });
    response(StatusCode::OK, Body::simulated(AgentBody(frames).boxed_unsync()))
}

/// Returns the events of an answer: one run, or rarely two.
fn events(call: usize, end: AgentEnd, chance: &mut Chance) -> Vec<Value> {
    let runs = if chance.happens(150) { 2 } else { 1 };
    let mut events = Vec::new();
    for run in 1..=runs {
        let (thread, id, message) = (format!("t{call}"), format!("r{call}-{run}"), format!("m{run}"));
        events.push(json!({"type": "RUN_STARTED", "threadId": thread, "runId": id}));
        events.push(json!({"type": "TEXT_MESSAGE_START", "messageId": message, "role": "assistant"}));
        // The text differs in every call, so that a replay cannot be mistaken for another answer.
        events.extend((0..chance.between(1, 6)).map(|n| {
            let delta = format!("PRIVATE-agent-{call}-{run}-{n} ");
            json!({"type": "TEXT_MESSAGE_CONTENT", "messageId": message, "delta": delta})
        }));
        events.push(json!({"type": "TEXT_MESSAGE_END", "messageId": message}));
        let finished = json!({"type": "RUN_FINISHED", "threadId": thread, "runId": id});
        match end {
            _ if run < runs => events.push(finished),
            AgentEnd::Finished | AgentEnd::Unterminated | AgentEnd::Broken => events.push(finished),
            AgentEnd::RunError => events.push(json!({"type": "RUN_ERROR", "message": "PRIVATE-agent-error"})),
            AgentEnd::Cut | AgentEnd::Torn | AgentEnd::Silent | AgentEnd::Missing => {}
        }
    }
    events
}

async fn stream(
    world: &World,
    call: usize,
    end: AgentEnd,
    mut chance: Chance,
    sender: &mpsc::UnboundedSender<Result<Bytes, BoxError>>,
) {
    let slow = chance.happens(150);
    let line_end = if chance.happens(150) { "\r\n" } else { "\n" };
    let is_split = chance.happens(300);
    let events = events(call, end, &mut chance);
    let last = events.len() - 1;
    for (n, event) in events.iter().enumerate() {
        let mut text = format!("data: {event}{line_end}");
        if n < last || end != AgentEnd::Unterminated {
            text.push_str(line_end);
        }
        if chance.happens(30) {
            text.insert_str(0, &format!(": PRIVATE-comment{line_end}{line_end}"));
        }
        let pause: Ms = match slow {
            // The proxy waits only for 10 s for another run.
            true if event["type"] != "RUN_STARTED" || n == 0 => *chance.pick(&[20, 800, 4000, 20_000]),
            _ => chance.between(0, 60),
        };
        if pause > 0 {
            world.wait(pause).await;
        }
        let cut = if is_split { usize::try_from(chance.between(0, text.len() as u64)).unwrap_or_default() } else { 0 };
        for piece in [text.get(..cut).unwrap_or_default(), text.get(cut..).unwrap_or(&text)] {
            if !piece.is_empty() {
                world.state().model.chat.agent_sent(call, piece.as_bytes());
                // The receiver may have left.
                let _ = sender.send(Ok(Bytes::copy_from_slice(piece.as_bytes())));
                let pause = chance.between(0, 3);
                // Some connections break immediately after the last piece.
                if n < last && pause > 0 {
                    world.wait(pause).await;
                }
            }
        }
        if sender.is_closed() {
            break;
        }
    }
    let half = Bytes::from_static(b"data: {\"type\":\"TEXT_MESSAGE_");
    match end {
        AgentEnd::Cut | AgentEnd::Broken => {
            if end == AgentEnd::Cut && chance.happens(500) {
                let _ = sender.send(Ok(half));
            }
            let pause = chance.between(0, 10);
            if pause > 4 {
                world.wait(pause).await;
            }
            let _ = sender.send(Err("the connection broke".into()));
        }
        AgentEnd::Torn => drop(sender.send(Ok(half))),
        AgentEnd::Silent => sender.closed().await,
        // The proxy adds the blank line.
        AgentEnd::Unterminated => world.state().model.chat.agent_sent(call, b"\n"),
        AgentEnd::Finished | AgentEnd::RunError | AgentEnd::Missing => {}
    }
}

/// The body of an agent's answer.
struct AgentBody(mpsc::UnboundedReceiver<Result<Bytes, BoxError>>);

impl http_body::Body for AgentBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.0.poll_recv(cx).map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}
