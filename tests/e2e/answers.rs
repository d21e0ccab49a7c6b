//! Tests replies to Vapi's messages and actions on live calls.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use gatehouse_local::http_server::Server;
use gatehouse_local::{Delivery, Fault, Options, Rule, Testbed, http_server};
use gatehouse_vapi::Vapi;
use http::Response;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::{messages, record, replies, send, stack, stack_with};

const TOOL_CALLS: &str = gatehouse_vapi::samples::TOOL_CALLS;

/// A Vapi message of a type, with these members in addition to its time and call.
fn message(message_type: &str, members: Value) -> Value {
    let mut message = json!({"type": message_type, "timestamp": 1_795_173_390_500_u64, "call": {"id": "call_1"}});
    message.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    json!({"message": message})
}

async fn answer(stack: &Testbed, message: &Value) -> Value {
    let answer = send(stack, &Delivery::now(&Vapi::SERVER, message.to_string())).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.header("content-type"), "application/json");
    serde_json::from_str(&answer.body).unwrap()
}

async fn stack_with_rules(rules: &Value) -> Testbed {
    stack_with(Options { replies: replies(&rules.to_string()), ..Options::default() }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_request_gets_the_reply_of_its_rule() {
    let number = json!({"type": "number", "number": "+4670000000"});
    let answers = [
        ("assistant-request", json!({"assistantId": "a"})),
        ("transfer-destination-request", json!({"destination": number})),
        ("handoff-destination-request", json!({"destination": {"type": "assistant", "assistantName": "b"}})),
        ("knowledge-base-request", json!({"documents": [{"content": "We open at 9.", "similarity": 0.9}]})),
        ("call.endpointing.request", json!({"timeoutSeconds": 0.5})),
        ("campaign.predial", json!({"eligible": true})),
    ];
    let rules: Vec<Value> =
        answers.iter().map(|(name, reply)| json!({"when": {"type": name}, "reply": reply})).collect();
    let stack = stack_with_rules(&json!({"server": rules})).await;
    for (name, expected) in answers {
        assert_eq!(answer(&stack, &message(name, json!({}))).await, expected, "{name}");
    }
    for name in ["status-update", "end-of-call-report", "hang", "assistant.started", "of-next-year"] {
        assert_eq!(answer(&stack, &message(name, json!({}))).await, json!({}), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_rules_replies_are_empty_and_predial_is_ineligible() {
    let stack = stack().await;
    for name in ["assistant-request", "tool-calls", "transfer-destination-request", "knowledge-base-request"] {
        assert_eq!(answer(&stack, &message(name, json!({}))).await, json!({}), "{name}");
    }
    assert_eq!(answer(&stack, &message("campaign.predial", json!({}))).await, json!({"eligible": false}));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_two_paths_accept_server_messages() {
    let stack = stack().await;
    let delivery = Delivery::now(&Vapi::SERVER, message("hang", json!({})).to_string());
    for (path, status) in [("server", 200), ("", 200), ("server/", 200), ("client", 404), ("server/x", 404)] {
        let answer = send(&stack, &Delivery { path: path.to_owned(), ..delivery.clone() }).await;
        assert_eq!(answer.status, status, "{path}");
        assert!(status == 200 || answer.body.contains("send the request to /server or /"), "{}", answer.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_tool_call_gets_its_result_in_call_order() {
    let rules = json!({"server": [
        {"when": {"type": "tool-calls", "tool": "weather"}, "reply": {"result": "Sunny\non {{/tool/arguments/day}}"}},
        {"when": {"type": "tool-calls", "tool": "find_berth", "where": {"/tool/arguments/day": "Friday"}},
         "reply": {"error": "No berth on {{/tool/arguments/day}} for {{/customer/name|you}}."}},
    ]});
    let stack = stack_with_rules(&rules).await;
    // One of the two calls has its arguments as an object, the other as a string.
    let expected = json!({"results": [
        {"toolCallId": "call_b2", "name": "find_berth", "error": "No berth on Friday for you."},
        {"toolCallId": "call_a1", "name": "weather", "result": "Sunny on Friday"},
    ]});
    assert_eq!(answer(&stack, &serde_json::from_str(TOOL_CALLS).unwrap()).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn tool_without_rule_gets_an_error_and_another_tool_its_result() {
    let rules = json!({"server": [{"when": {"type": "tool-calls", "tool": "weather"}, "reply": {"result": "Sunny"}}]});
    let stack = stack_with_rules(&rules).await;
    let results = answer(&stack, &serde_json::from_str(TOOL_CALLS).unwrap()).await;
    assert_eq!(results["results"][0]["error"], "No result is configured for this tool.");
    assert_eq!(results["results"][1]["result"], "Sunny");
}

#[tokio::test(flavor = "multi_thread")]
async fn voice_request_is_recorded_and_answered_with_501() {
    let stack = stack().await;
    let request = message("voice-request", json!({"text": "Hello", "sampleRate": 24000}));
    for outcome in ["recorded", "duplicate"] {
        let answer = send(&stack, &Delivery::now(&Vapi::SERVER, request.to_string())).await;
        assert_eq!((answer.status, answer.outcome()), (501, outcome));
        assert!(answer.body.contains("urn:gatehouse:problem:unsupported") && answer.body.contains("voice.server"));
        assert!(record(&stack, answer.event_id()).await.is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn live_call_is_answered_while_dynamodb_and_sqs_are_unavailable() {
    let rules = json!({"server": [{"when": {"type": "assistant-request"}, "reply": {"assistantId": "a"}}]});
    let stack = stack_with_rules(&rules).await;
    stack.dynamodb.add_rule(Rule::every(Fault::Cut));
    stack.sqs.add_rule(Rule::every(Fault::Cut));
    for (name, status, outcome, body) in [
        ("assistant-request", 200, "unrecorded", r#"{"assistantId":"a"}"#),
        ("tool-calls", 200, "unrecorded", "{}"),
        ("campaign.predial", 200, "unrecorded", r#"{"eligible":false}"#),
        ("end-of-call-report", 503, "unavailable", ""),
        ("voice-request", 503, "unavailable", ""),
    ] {
        let answer = send(&stack, &Delivery::now(&Vapi::SERVER, message(name, json!({})).to_string())).await;
        assert_eq!((answer.status, answer.outcome()), (status, outcome), "{name}");
        assert!(status == 503 || answer.body == body, "{name}: {}", answer.body);
    }
    let client = send(&stack, &Delivery::now(&Vapi::CLIENT, TOOL_CALLS)).await;
    assert_eq!((client.status, client.outcome()), (503, "unavailable"));
}

#[tokio::test(flavor = "multi_thread")]
async fn reply_to_queued_event_is_recorded_with_the_event() {
    let rules = json!({"server": [{"when": {"type": "assistant-request"}, "reply": {"assistantId": "a"}}]});
    let stack = stack_with_rules(&rules).await;
    let delivery = Delivery::now(&Vapi::SERVER, message("assistant-request", json!({})).to_string());
    stack.dynamodb.add_rule(Rule::every(Fault::Cut));
    let answer = send(&stack, &delivery).await;
    assert_eq!((answer.outcome(), answer.body.as_str()), ("queued", r#"{"assistantId":"a"}"#));
    stack.dynamodb.clear_rules();
    stack.take_batch().await.unwrap();
    assert_eq!(record(&stack, answer.event_id()).await.unwrap().event.answer, Some(answer.body));
}

/// A test server for the control URL of a live call. It records the requests that it receives.
pub(crate) struct Call {
    pub(crate) url: String,
    received: Arc<Mutex<Vec<Value>>>,
    _server: Server,
}

impl Call {
    pub(crate) async fn answering(status: u16) -> Call {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/control-in-confidence", listener.local_addr().unwrap());
        let received = Arc::new(Mutex::new(Vec::new()));
        let (requests, location) = (Arc::clone(&received), url.clone());
        let server = http_server::serve(listener, move |request| {
            assert_eq!(request.headers()["content-type"], "application/json");
            requests.lock().unwrap().push(serde_json::from_slice(request.body()).unwrap());
            // A client that follows redirects would send its request here a second time.
            let response = Response::builder().status(status).header("location", &location).body(Bytes::new()).unwrap();
            async move { Some(response) }
        });
        Call { url, received, _server: server }
    }

    fn hang(&self, id: &str, text: &str) -> Delivery {
        let call = json!({"id": id, "monitor": {"controlUrl": self.url}});
        Delivery::now(&Vapi::SERVER, message("hang", json!({"call": call, "text": text})).to_string())
    }

    pub(crate) fn received(&self) -> Vec<Value> {
        self.received.lock().unwrap().clone()
    }
}

fn say_rule() -> Value {
    json!({"server": [{"when": {"type": "hang"}, "act": {"type": "say", "content": "One moment, {{/text}}."}}]})
}

#[tokio::test(flavor = "multi_thread")]
async fn action_runs_once_when_its_event_is_recorded() {
    let (stack, call) = (stack_with_rules(&say_rule()).await, Call::answering(200).await);
    let delivery = call.hang("call_1", "please");
    let first = send(&stack, &delivery).await;
    assert_eq!((first.outcome(), first.body.as_str()), ("recorded", "{}"));
    let expected = vec![json!({"type": "say", "content": "One moment, please."})];
    assert_eq!(call.received(), expected, "before the answer");

    assert_eq!(send(&stack, &delivery).await.outcome(), "duplicate");
    stack.dynamodb.add_rule(Rule::every(Fault::Cut));
    assert_eq!(send(&stack, &call.hang("call_2", "queued")).await.outcome(), "queued");
    stack.sqs.add_rule(Rule::every(Fault::Cut));
    assert_eq!(send(&stack, &call.hang("call_3", "unavailable")).await.outcome(), "unavailable");
    stack.dynamodb.clear_rules();
    stack.sqs.clear_rules();
    stack.take_batch().await.unwrap();
    assert_eq!(messages(&stack, &stack.retry_queue).await, 0, "event-retry recorded it");
    assert_eq!(send(&stack, &call.hang("call_2", "queued")).await.outcome(), "duplicate");
    assert_eq!(call.received(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn conflict_and_repeated_request_run_no_action() {
    for (kind, again) in [("session.created", "conflict"), ("tool-calls", "duplicate")] {
        let rules = json!({"server": [{"when": {"type": kind}, "act": {"type": "end-call"}}]});
        let (stack, call) = (stack_with_rules(&rules).await, Call::answering(200).await);
        let delivery = |text: &str| {
            let call = json!({"id": "call_1", "monitor": {"controlUrl": call.url}});
            let calls = json!([{"id": "t", "name": "n"}]);
            let members = json!({"call": call, "session": {"id": "s"}, "toolCallList": calls, "text": text});
            Delivery::now(&Vapi::SERVER, message(kind, members).to_string())
        };
        assert_eq!(send(&stack, &delivery("first")).await.outcome(), "recorded");
        assert_eq!(send(&stack, &delivery("second")).await.outcome(), again);
        assert_eq!(call.received(), [json!({"type": "end-call"})]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn event_with_weak_id_runs_no_action() {
    let (stack, call) = (stack_with_rules(&say_rule()).await, Call::answering(200).await);
    let undated = json!({"message": {"type": "hang", "text": "x", "call": {"monitor": {"controlUrl": call.url}}}});
    assert_eq!(send(&stack, &Delivery::now(&Vapi::SERVER, undated.to_string())).await.outcome(), "recorded");
    assert_eq!(call.received(), [Value::Null; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn large_message_is_matched_against_many_rules() {
    let rules: Vec<Value> = (0..200)
        .map(|n| json!({"when": {"type": "assistant-request", "where": {"/customer/number": n}}, "reply": {"assistantId": "a"}}))
        .collect();
    let stack = stack_with_rules(&json!({"server": rules})).await;
    let small: serde_json::Map<String, Value> = (0..10_000).map(|n| (format!("member{n}"), json!(n))).collect();
    let large = message("assistant-request", json!({"customer": {"number": 199, "more": small}, "more": small}));
    assert_eq!(answer(&stack, &large).await, json!({"assistantId": "a"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn event_is_recorded_although_its_call_never_answers() {
    let stack = stack_with_rules(&say_rule()).await;
    // The listener accepts connections, but nothing reads from them.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let call = json!({"id": "call_1", "monitor": {"controlUrl": url}});
    let message = message("hang", json!({"call": call, "text": "x"})).to_string();
    let first = send(&stack, &Delivery::now(&Vapi::SERVER, message.clone())).await;
    assert_eq!((first.status, first.outcome(), first.body.as_str()), (200, "recorded", "{}"));
    assert_eq!(record(&stack, first.event_id()).await.unwrap().event.body, message.replace(&url, "[redacted]"));
    assert_eq!(send(&stack, &Delivery::now(&Vapi::SERVER, message)).await.outcome(), "duplicate");
}

#[tokio::test(flavor = "multi_thread")]
async fn event_is_recorded_although_its_action_fails() {
    let stack = stack_with_rules(&say_rule()).await;
    for status in [302, 404, 500] {
        let call = Call::answering(status).await;
        let answer = send(&stack, &call.hang(&format!("call_{status}"), "x")).await;
        assert_eq!((answer.status, answer.outcome(), answer.body.as_str()), (200, "recorded", "{}"));
        assert_eq!(call.received().len(), 1, "{status}");
    }
    for url in [json!("https://example.com/control"), json!("ftp://api.vapi.ai"), json!(7), Value::Null] {
        let call = json!({"id": url.to_string(), "monitor": {"controlUrl": url}});
        let delivery = Delivery::now(&Vapi::SERVER, message("hang", json!({"call": call, "text": "x"})).to_string());
        assert_eq!(send(&stack, &delivery).await.outcome(), "recorded", "{url}");
    }
}
