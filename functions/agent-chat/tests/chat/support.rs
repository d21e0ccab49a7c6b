//! The test setup: a scripted agent, the proxy in front of it, and helpers.

use std::sync::Arc;
use std::time::Duration;

use agent_chat::{Body, KeySetCache, Limits, State, Turns, Upstream};
use bytes::Bytes;
use gatehouse_ag_kit::{AgKit, event_id};
use gatehouse_inbox::Inbox;
use gatehouse_local::agent::{Agent, Answer, Piece, ReceivedRequest};
use gatehouse_local::{Options, Testbed};
use gatehouse_receiver::Deadline;
use gatehouse_receiver::secrets::SecretsCache;
use gatehouse_runtime::Clock;
use gatehouse_vendor::Source;
use http::{Request, Response};
use http_body_util::BodyExt;
use serde_json::{Value, json};

pub(crate) const TOKEN: &str = "client-token-in-confidence";
pub(crate) const OTHER_TOKEN: &str = "other-token-in-confidence";
pub(crate) const UPSTREAM_TOKEN: &str = "agent-token-in-confidence";
pub(crate) const KIT: &str = r#"{"conversationId":"c1","messages":[{"role":"user","content":"Hello"}]}"#;
pub(crate) const UI: &str = r#"{"threadId":"c1","runId":"r1","messages":[{"id":"m","role":"user","content":"Hello"}]}"#;
pub(crate) const TEXT: &str = "data: {\"type\":\"text\",\"content\":\"Hi\"}\n\n";
pub(crate) const DONE: &str = "data: [DONE]\n\n";

pub(crate) struct Chat {
    pub(crate) stack: Testbed,
    pub(crate) agent: Agent,
    pub(crate) state: Arc<State>,
    /// Only advances when a test advances it.
    pub(crate) clock: Clock,
    secrets: String,
}

impl Chat {
    pub(crate) async fn with(
        limits: Limits,
        answer: impl Fn(&ReceivedRequest) -> Option<Answer> + Send + Sync + 'static,
    ) -> Chat {
        Self::with_clients(json!([]), limits, answer).await
    }

    /// Creates a setup with an additional agent, `own`, at `url`.
    pub(crate) async fn with_agent_at(url: &str) -> Chat {
        let mut chat = Self::answering(Vec::new()).await;
        let mut secrets: Value = serde_json::from_str(&chat.secrets).unwrap();
        secrets["agent_chat"]["agents"]["own"] = json!({"url": url, "dialect": "ag-kit"});
        secrets["agent_chat"]["clients"][0]["agents"] = json!(["*"]);
        chat.secrets = secrets.to_string();
        chat.state = state(chat.stack.inbox(chat.clock.clone()), &chat.secrets, Limits::default());
        chat
    }

    /// Creates a setup with additional clients.
    pub(crate) async fn with_clients(
        additional: Value,
        limits: Limits,
        answer: impl Fn(&ReceivedRequest) -> Option<Answer> + Send + Sync + 'static,
    ) -> Chat {
        let stack = Testbed::start(Options { poll: false, ..Options::default() }).await.unwrap();
        let agent = Agent::start(answer).await.unwrap();
        let agent_of =
            |dialect: &str| json!({"url": format!("{}/x", agent.url), "dialect": dialect, "token": UPSTREAM_TOKEN});
        let unreachable = json!({"url": "http://127.0.0.1:1/x", "dialect": "ag-kit"});
        let mut clients = vec![
            json!({"id": "web", "token": TOKEN, "agents": ["kit", "ui", "unreachable", "unknown"]}),
            json!({"id": "app", "token": OTHER_TOKEN, "agents": ["*"]}),
        ];
        clients.extend(additional.as_array().unwrap().clone());
        let agents = json!({"kit": agent_of("ag-kit"), "ui": agent_of("ag-ui"), "unreachable": unreachable,
            "other": agent_of("ag-kit")});
        let secrets = json!({"agent_chat": {"clients": clients, "agents": agents}});
        let (secrets, clock) = (secrets.to_string(), Clock::manual(Clock::System.now()));
        let state = state(stack.inbox(clock.clone()), &secrets, limits);
        Chat { stack, agent, state, clock, secrets }
    }

    /// Returns a constructor of another instance of the proxy. Its tasks run where the constructor is called.
    pub(crate) fn instance(&self) -> impl FnOnce() -> Arc<State> + Send + use<> {
        let (inbox, secrets) = (self.stack.inbox(self.clock.clone()), self.secrets.clone());
        move || state(inbox, &secrets, Limits::default())
    }

    pub(crate) async fn answering(pieces: Vec<Piece>) -> Chat {
        Self::with(Limits::default(), move |_| Some(Answer::with_pieces(pieces.clone()))).await
    }

    pub(crate) async fn send(&self, agent: &str, body: &str) -> Response<Body> {
        self.send_request(request(agent).body(Bytes::copy_from_slice(body.as_bytes())).unwrap()).await
    }

    pub(crate) async fn send_request(&self, request: Request<Bytes>) -> Response<Body> {
        agent_chat::handle(request, &self.state, Deadline::within(Duration::from_secs(60))).await
    }

    /// Waits for the record of a turn.
    pub(crate) async fn wait_for_record(&self, turn_id: &str) -> Value {
        let id = event_id(turn_id);
        let recorded = async {
            while self.stack.store().get(&id, Clock::System.now()).await.unwrap().is_none() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), recorded).await.unwrap();
        self.record(turn_id).await
    }

    /// Reads the record of a turn.
    pub(crate) async fn record(&self, turn_id: &str) -> Value {
        let id = event_id(turn_id);
        let record = self.stack.store().get(&id, Clock::System.now()).await.unwrap().unwrap();
        serde_json::from_slice(&record.event.body).unwrap()
    }
}

pub(crate) fn state(inbox: Inbox, secrets: &str, limits: Limits) -> Arc<State> {
    let secrets = SecretsCache::fixed(AgKit.profile().secrets, secrets, false, Clock::System).unwrap();
    let upstream = Upstream::new(limits.connect).unwrap();
    Arc::new(State { inbox, secrets, upstream, key_sets: KeySetCache::new(), limits, turns: Turns::new() })
}

pub(crate) fn request(agent: &str) -> http::request::Builder {
    Request::post(format!("/v1/aibot/bots/{agent}/send-message"))
        .header("authorization", format!("Bearer {TOKEN}"))
        .header("content-type", "application/json")
        .header("x-request-id", "req-1")
}

pub(crate) fn piece(text: &str) -> Piece {
    Piece::Bytes(Bytes::copy_from_slice(text.as_bytes()))
}

pub(crate) fn turn_id(response: &Response<Body>) -> String {
    response.headers()["gatehouse-turn-id"].to_str().unwrap().to_owned()
}

pub(crate) async fn text(response: Response<Body>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

pub(crate) async fn problem(response: Response<Body>) -> (u16, String) {
    let status = response.status().as_u16();
    let problem: Value = serde_json::from_str(&text(response).await).unwrap();
    (status, problem["detail"].as_str().unwrap().to_owned())
}
