//! Chat clients: they ask an agent through the proxy, leave, return, and use their keys again.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use gatehouse_receiver::Deadline;
use http::{Request, Response};
use http_body::Body as _;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::fleet::Fleet;
use crate::keys::AGENT;
use crate::model::ChatAnswer;
use crate::network::{Caller, Target};
use crate::plan::{Action, Ask, Function, Ms, Service};
use crate::world::World;

/// The pauses before the retries of a client. In milliseconds.
const RETRIES: [Ms; 6] = [500, 2000, 5000, 20_000, 60_000, 330_000];
/// How long a client waits for the next piece of an answer.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(320);

/// The next part of an answer, as the client sees it.
#[derive(Debug)]
enum Part {
    Head(u16, bool),
    Piece(Bytes),
    /// The answer has ended regularly.
    End,
}

/// Asks an agent, and retries.
pub async fn ask(world: World, fleet: Fleet, action: Action, ask: Ask) {
    let retries: &[Ms] = if ask.retries { &RETRIES } else { &[] };
    for attempt in 0..=retries.len() {
        let answer = attempt_turn(&world, &fleet, action.n, ask, attempt as u64).await;
        let status = if answer.is_whole { answer.status } else { 0 };
        match retries.get(attempt) {
            Some(pause) if !is_final(status) => world.wait(*pause).await,
            _ => return,
        }
    }
}

/// Whether a status says that another attempt makes no sense. 0 stands for an answer that is not whole.
fn is_final(status: u16) -> bool {
    matches!(status, 200 | 400..=408 | 410..=428 | 430..=499)
}

/// Asks once. Returns the answer as the client got it.
pub async fn attempt_turn(world: &World, fleet: &Fleet, action: usize, ask: Ask, attempt: u64) -> ChatAnswer {
    let request_id = format!("ask-{action}-{attempt}");
    let body = json!({"threadId": format!("thread-{}", ask.body), "runId": format!("run-{}", ask.body),
        "messages": [{"id": "m", "role": "user", "content": format!("PRIVATE-question-{}", ask.body)}]});
    let token = world.state().keys.token(ask.client, ask.is_forged);
    let mut request = Request::post(format!("/v1/aibot/bots/{AGENT}/send-message"))
        .header("content-type", "application/json")
        .header("accept", if ask.is_json { "application/json" } else { "text/event-stream" })
        .header("authorization", format!("Bearer {token}"))
        .header("x-request-id", &request_id);
    if let Some(key) = ask.key {
        request = request.header("idempotency-key", format!("key-{key}"));
    }
    let faults = world.state().stats.faults;
    let mut answer = ChatAnswer {
        ask,
        request_id,
        asked_at: world.epoch_ms(),
        status: 0,
        is_replay: false,
        bytes: Vec::new(),
        is_whole: false,
        longest_silence: 0,
        has_left: false,
        is_undisturbed: false,
    };
    let Ok(request) = request.body(Bytes::from(body.to_string())) else { return answer };
    {
        let mut state = world.state();
        state.stats.turns += 1;
        state.model.chat.asks(action, ask, &body);
    }
    let (sender, mut parts) = mpsc::unbounded_channel();
    let caller = Caller::Outside(action, attempt);
    let about = Target::named(&answer.request_id);
    let apply = |world: &World| {
        let (world, fleet, id) = (world.clone(), fleet.clone(), about.to_string());
        world.note(format_args!("{caller} -> agent-chat {id}"));
        tokio::task::spawn_local(async move { handle(&world, &fleet, request, &id, sender).await });
    };
    let sent = timeout(CLIENT_TIMEOUT, world.carry(caller, Service::Gatehouse, "POST", &about, apply, |_| ())).await;
    let mut has_left = false;
    if sent.is_ok_and(|sent| sent.is_ok()) {
        let receiving = receive(world, &mut parts, &mut answer);
        match ask.leaves_after {
            Some(after) if attempt == 0 => {
                has_left = timeout(Duration::from_millis(after), receiving).await.is_err();
            }
            _ => receiving.await,
        }
    }
    answer.has_left = has_left;
    answer.is_undisturbed = {
        let state = world.state();
        state.stats.faults == faults && !state.plan.pauses()
    };
    world.note(format_args!(
        "{caller} <- agent-chat {about}: {} {}{} bytes{}",
        answer.status,
        if answer.is_replay { "replay, " } else { "" },
        answer.bytes.len(),
        if answer.is_whole { "" } else { ", not whole" }
    ));
    let checked = {
        let state = world.state();
        state.model.answered(&answer, &state.keys)
    };
    world.check(checked);
    answer
}

async fn receive(world: &World, parts: &mut mpsc::UnboundedReceiver<Part>, answer: &mut ChatAnswer) {
    let mut last = None;
    loop {
        let part = timeout(CLIENT_TIMEOUT, parts.recv()).await;
        let now = world.now();
        answer.longest_silence = answer.longest_silence.max(last.replace(now).map_or(0, |last| now - last));
        match part {
            Ok(Some(Part::Head(status, is_replay))) => (answer.status, answer.is_replay) = (status, is_replay),
            Ok(Some(Part::Piece(bytes))) => answer.bytes.extend_from_slice(&bytes),
            Ok(Some(Part::End)) => {
                answer.is_whole = true;
                return;
            }
            Ok(None) | Err(_) => return,
        }
    }
}

/// Handles a request in an instance: passes on the response piece by piece, then waits for the instance's turns.
async fn handle(
    world: &World,
    fleet: &Fleet,
    request: Request<Bytes>,
    request_id: &str,
    sender: mpsc::UnboundedSender<Part>,
) {
    let Some(instance) = fleet.instance(Function::AgentChat).await else { return };
    world.begin_invocation(instance.number);
    let deadline = world.epoch_ms() + i64::try_from(agent_chat::TIMEOUT.as_millis()).unwrap_or_default();
    {
        let mut state = world.state();
        state.model.cost.begin(instance.number);
        state.model.chat.begins(instance.number, deadline);
    }
    let time_limit = Deadline::within(agent_chat::TIMEOUT);
    let invocation = async {
        let response = tokio::select! {
            biased;
            response = instance.chat(request, time_limit) => response,
            // The client has left before the response.
            () = sender.closed() => None,
        };
        if let Some(response) = response {
            pass_on(response, &sender).await;
        }
        drop(sender);
        instance.turns_ended().await;
    };
    match world.run(instance.number, timeout(agent_chat::TIMEOUT, invocation)).await {
        Some(Ok(())) => {
            let is_undisturbed = world.is_undisturbed(instance.number);
            let checked = world.state().model.turn_ended(instance.number, request_id, is_undisturbed);
            world.check(checked);
            fleet.release(instance);
        }
        Some(Err(_)) => {
            world.violate("I14", "agent-chat exceeds its time limit");
            world.kill(instance.number, "it has timed out");
        }
        None => {}
    }
}

async fn pass_on(response: Response<agent_chat::Body>, sender: &mpsc::UnboundedSender<Part>) {
    let is_replay = response.headers().contains_key("idempotency-replayed");
    let (head, mut body) = response.into_parts();
    let _ = sender.send(Part::Head(head.status.as_u16(), is_replay));
    loop {
        let frame = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx));
        let frame = tokio::select! {
            biased;
            frame = frame => frame,
            // The client has left, so that the body is dropped.
            () = sender.closed() => return,
        };
        let Some(Ok(frame)) = frame else { break };
        if let Ok(bytes) = frame.into_data() {
            let _ = sender.send(Part::Piece(bytes));
        }
    }
    let _ = sender.send(Part::End);
}
