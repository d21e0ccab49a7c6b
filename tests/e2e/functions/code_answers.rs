//! Tests reply handlers in Rust together with rules.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use gatehouse_local::{Delivery, Fault, Options, Rule, Testbed};
use gatehouse_receiver::Deadline;
use gatehouse_replies::{ControlHosts, Replies, ToolCall, VapiMessage};
use gatehouse_vapi::Vapi;
use gatehouse_vapi::response::{AssistantResponse, Line, PredialResponse, ToolOutcome};
use http::{Request, Response};
use serde_json::{Value, json};
use server_message::{ReplyHandler, State};

/// A handler that counts its calls. The id of the live call or campaign selects its behaviour.
#[derive(Debug, Default)]
struct CountingHandler(AtomicUsize);

impl ReplyHandler for CountingHandler {
    async fn assistant_request(&self, message: &VapiMessage) -> Option<AssistantResponse> {
        let count = self.0.fetch_add(1, Ordering::Relaxed);
        match message.text(&"/call/id".parse().unwrap())?.as_str() {
            "panics" => panic!("for a test"),
            "hangs" => std::future::pending().await,
            "is too long" => Some(answer(&"x".repeat(70_000))),
            "passes" => None,
            _ => Some(answer(&count.to_string())),
        }
    }

    async fn campaign_predial(&self, message: &VapiMessage) -> Option<PredialResponse> {
        match message.text(&"/campaignId".parse().unwrap())?.as_str() {
            "panics" => panic!("for a test"),
            _ => None,
        }
    }

    async fn tool_call(&self, call: &ToolCall, _: &VapiMessage) -> Option<ToolOutcome> {
        let arguments: Value = call.read().ok()?;
        (call.name == "double")
            .then(|| ToolOutcome::Result(Line::of(&(arguments["n"].as_u64().unwrap() * 2).to_string())))
    }
}

fn answer(id: &str) -> AssistantResponse {
    AssistantResponse { assistant_id: Some(id.to_owned()), ..AssistantResponse::default() }
}

async fn state() -> (Testbed, State<CountingHandler>) {
    let stack = Testbed::start(Options { poll: false, ..Options::default() }).await.unwrap();
    let rules = json!({"server": [
        {"when": {"type": "assistant-request"}, "reply": {"assistantId": "by rule"}},
        {"when": {"type": "campaign.predial"}, "reply": {"eligible": true}},
        {"when": {"type": "tool-calls", "tool": "name"}, "reply": {"result": "by rule"}},
    ]});
    let replies = Replies::parse("rules", &rules.to_string(), ControlHosts::Vapi).unwrap();
    let state = State {
        receiver: stack.receiver(server_message::VENDOR).unwrap(),
        replies,
        answers: CountingHandler::default(),
    };
    (stack, state)
}

async fn send(state: &State<CountingHandler>, message: Value) -> Response<String> {
    let delivery = Delivery::now(&Vapi::SERVER, json!({"message": message}).to_string());
    let mut request = Request::builder().method("POST").uri("/server");
    for (name, value) in &delivery.headers {
        request = request.header(name, value);
    }
    let request: Request<Bytes> = request.body(delivery.body).unwrap();
    server_message::handle(request, state, Deadline::within(Duration::from_secs(10))).await
}

async fn assistant(state: &State<CountingHandler>, call: &str, more: Value) -> (String, Value) {
    let response = send(state, json!({"type": "assistant-request", "call": {"id": call}, "more": more})).await;
    let outcome = response.headers()["gatehouse-outcome"].to_str().unwrap().to_owned();
    let body: Value = serde_json::from_str(response.body()).unwrap();
    (outcome, body["assistantId"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn repeated_assistant_request_returns_first_reply() {
    let (_stack, state) = state().await;
    let of = |outcome: &str, answer: &str| (outcome.to_owned(), json!(answer));
    assert_eq!(assistant(&state, "c", json!(1)).await, of("recorded", "0"));
    assert_eq!(assistant(&state, "c", json!(1)).await, of("duplicate", "0"));
    assert_eq!(assistant(&state, "c", json!(2)).await, of("duplicate", "0"));
    assert_eq!(assistant(&state, "c", json!(1)).await, of("duplicate", "0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn first_reply_survives_a_dynamodb_outage() {
    let (stack, state) = state().await;
    stack.dynamodb.add_rule(Rule::every(Fault::Cut));
    assert_eq!(assistant(&state, "c", json!(1)).await, ("queued".to_owned(), json!("0")));
    stack.dynamodb.clear_rules();
    stack.take_batch().await.unwrap();
    assert_eq!(assistant(&state, "c", json!(1)).await, ("duplicate".to_owned(), json!("0")));
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_handler_falls_back_to_the_rules() {
    let (_stack, state) = state().await;
    for call in ["passes", "panics", "hangs", "is too long"] {
        let (outcome, answer) = assistant(&state, call, json!(1)).await;
        assert_eq!((outcome.as_str(), answer), ("recorded", json!("by rule")), "{call}");
    }
}

async fn predial(state: &State<CountingHandler>, campaign: &str) -> String {
    let contact = json!({"id": "c"});
    send(state, json!({"type": "campaign.predial", "campaignId": campaign, "contact": contact})).await.into_body()
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_predial_handler_makes_the_contact_ineligible() {
    let (_stack, state) = state().await;
    assert_eq!(predial(&state, "passes").await, r#"{"eligible":true}"#);
    assert_eq!(predial(&state, "panics").await, r#"{"eligible":false}"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn repeated_predial_is_denied_after_its_rule_is_removed() {
    let (_stack, mut state) = state().await;
    for _ in 0..2 {
        assert_eq!(predial(&state, "c").await, r#"{"eligible":true}"#);
    }
    state.replies = Replies::none();
    assert_eq!(predial(&state, "c").await, r#"{"eligible":false}"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_tool_call_is_answered_by_handler_or_rule() {
    let (_stack, state) = state().await;
    let call = |id: &str, name: &str| json!({"id": id, "function": {"name": name, "arguments": "{\"n\":21}"}});
    let calls = [call("1", "name"), call("2", "double"), call("3", "other")];
    let response = send(&state, json!({"type": "tool-calls", "toolCallList": calls})).await;
    let body: Value = serde_json::from_str(response.body()).unwrap();
    assert_eq!(
        body,
        json!({"results": [
            {"toolCallId": "1", "name": "name", "result": "by rule"},
            {"toolCallId": "2", "name": "double", "result": "42"},
            {"toolCallId": "3", "name": "other", "error": "No result is configured for this tool."},
        ]})
    );
}
