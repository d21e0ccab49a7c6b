//! Tests that rules ask the user's services, and what Vapi gets.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures_util::future::join_all;
use gatehouse_local::agent::{Agent, Answer as AgentAnswer, Piece, ReceivedRequest};
use gatehouse_local::{Delivery, Fault, Options, Rule, Testbed};
use gatehouse_receiver::{SecretsCache, Skip};
use gatehouse_replies::{Replies, ServiceAccess};
use gatehouse_runtime::Clock;
use gatehouse_services::{Client, PART};
use gatehouse_vapi::Vapi;
use http::StatusCode;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::support::{items, record, replies, send, stack_with};

/// A server message of a type, with a call and a time.
fn message(message_type: &str, members: Value) -> Value {
    let mut message = json!({"type": message_type, "timestamp": 1_795_173_390_500_u64, "call": {"id": "call_1"}});
    message.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    json!({"message": message})
}

/// A message with a call of each tool. The id of a call is the tool's name in upper case.
fn tool_calls(tools: &[&str]) -> Value {
    let call = |tool: &&str| json!({"id": tool.to_uppercase(), "type": "function", "function": {"name": tool, "arguments": {}}});
    let calls: Vec<Value> = tools.iter().map(call).collect();
    message("tool-calls", json!({"toolCallList": calls, "toolCalls": calls}))
}

fn response(status: u16, body: &str) -> AgentAnswer {
    let answer = AgentAnswer::with_pieces([Piece::Bytes(Bytes::from(body.to_owned()))]);
    AgentAnswer { status: StatusCode::from_u16(status).unwrap(), content_type: "application/json", ..answer }
}

async fn service(answer: impl Fn(&ReceivedRequest) -> Option<AgentAnswer> + Send + Sync + 'static) -> Agent {
    Agent::start(answer).await.unwrap()
}

/// A service that always gives this answer.
async fn answering(body: &Value) -> Agent {
    let body = body.to_string();
    service(move |_| Some(response(200, &body))).await
}

/// A service that answers each tool call in the body with its own id.
async fn echoing() -> Agent {
    service(|request| {
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        let calls = body["message"]["toolCallList"].as_array().unwrap();
        let result =
            |call: &Value| json!({"toolCallId": call["id"], "name": call["function"]["name"], "result": call["id"]});
        Some(response(200, &json!({"results": calls.iter().map(result).collect::<Vec<_>>()}).to_string()))
    })
    .await
}

fn asking(rules: &Value, services: &[(&str, &Agent)]) -> Replies {
    let services: serde_json::Map<_, _> =
        services.iter().map(|(name, agent)| ((*name).to_owned(), json!({"url": agent.url}))).collect();
    let document = json!({"services": services}).to_string();
    let client = Client::new(gatehouse_local::local_sdk("http://127.0.0.1:1"), Clock::System, true).unwrap();
    let services = SecretsCache::fixed(PART, &document, true, Clock::System).unwrap();
    replies(&rules.to_string()).with_services(ServiceAccess::new(client, services))
}

async fn stack_asking(rules: Value, services: &[(&str, &Agent)]) -> Testbed {
    stack_with(Options { replies: asking(&rules, services), ..Options::default() }).await
}

async fn ask(stack: &Testbed, message: &Value) -> (String, Value) {
    let answer = send(stack, &Delivery::now(&Vapi::SERVER, message.to_string())).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    (answer.outcome().to_owned(), serde_json::from_str(&answer.body).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn answer_is_passed_on_byte_for_byte_and_recorded() {
    let bytes = "{ \"assistantId\" : \"a\",\n \"of_next_year\": 1.50 }";
    let agent = service(move |_| Some(response(201, bytes))).await;
    let rules = json!({"server": [{"when": {"type": "*"}, "ask": "mine"}]});
    let stack = stack_asking(rules, &[("mine", &agent)]).await;
    let body = message("assistant-request", json!({})).to_string();
    for outcome in ["recorded", "duplicate", "duplicate"] {
        let answer = send(&stack, &Delivery::now(&Vapi::SERVER, body.clone())).await;
        assert_eq!((answer.status, answer.outcome(), answer.body.as_str()), (200, outcome, bytes));
    }
    let [request] = agent.requests().try_into().unwrap();
    assert_eq!(request.body, body);
    let id = request.headers["gatehouse-event-id"].to_str().unwrap();
    assert_eq!(request.headers["webhook-id"], gatehouse_services::question::message_id(id, None));
    let event = record(&stack, id).await.unwrap().event;
    assert_eq!((event.answer.as_deref(), event.asked.as_deref()), (Some(bytes), Some("mine")));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_answer_is_accepted_and_any_other_is_a_fault() {
    let number = json!({"type": "number", "number": "+4670000000", "of_next_year": true});
    let kinds = [
        ("assistant-request", json!({"assistant": {"model": {}}}), json!({"assistantId": 7})),
        ("assistant-request", json!({"messageResponse": {"assistantId": "a"}}), json!({"reply": "a"})),
        ("assistant-request", json!({"error": "We are closed."}), json!({"assistant": "a"})),
        ("transfer-destination-request", json!({"destination": number}), json!({"destination": "+4670000000"})),
        ("handoff-destination-request", json!({"destination": {"type": "assistant"}}), json!({"to": "b"})),
        ("knowledge-base-request", json!({"documents": []}), json!({"documents": {}})),
        ("call.endpointing.request", json!({"timeoutSeconds": 0.5}), json!({"timeoutSeconds": 60})),
        ("campaign.predial", json!({"eligible": true}), json!({"eligible": "yes"})),
    ];
    for (name, good, bad) in kinds {
        for (given, expected) in [(&good, good.clone()), (&bad, json!({}))] {
            let agent = answering(given).await;
            let rules = json!({"server": [{"when": {"type": name}, "ask": "mine"}]});
            let stack = stack_asking(rules, &[("mine", &agent)]).await;
            let expected =
                if name == "campaign.predial" && given == &bad { json!({"eligible": false}) } else { expected };
            assert_eq!(
                ask(&stack, &message(name, json!({}))).await,
                ("recorded".to_owned(), expected),
                "{name} {given}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_service_is_replaced_by_else_then_by_the_following_rules() {
    let fallback = json!({"server": [
        {"when": {"type": "assistant-request", "where": {"/else": true}}, "ask": "mine", "else": {"assistantId": "else"}},
        {"when": {"type": "assistant-request", "where": {"/missing": true}}, "ask": "mine",
         "else": {"assistantId": "{{/not/there}}"}},
        {"when": {"type": "*"}, "ask": "mine"},
        {"when": {"type": "assistant-request", "where": {"/rule": true}}, "reply": {"assistantId": "rule"}},
    ]});
    let long = format!("{{\"assistantId\":\"{}\"}}", "x".repeat(65_536));
    for (status, body) in [
        (500, "{\"assistantId\":\"a\"}"),
        (302, "{\"assistantId\":\"a\"}"),
        (200, "\"a\""),
        (200, "<html>"),
        (200, "{\"assistant\":\"a\"}"),
        (200, long.as_str()),
    ] {
        let body = body.to_owned();
        let agent = service(move |_| Some(response(status, &body))).await;
        let stack = stack_asking(fallback.clone(), &[("mine", &agent)]).await;
        for (n, (members, expected)) in [
            (json!({"else": true}), json!({"assistantId": "else"})),
            (json!({"missing": true, "rule": true}), json!({"assistantId": "rule"})),
            (json!({"rule": true}), json!({"assistantId": "rule"})),
            (json!({}), json!({})),
        ]
        .into_iter()
        .enumerate()
        {
            let mut question = message("assistant-request", members);
            question["message"]["call"]["id"] = json!(format!("call_{n}"));
            let expected = ("recorded".to_owned(), expected);
            assert_eq!(ask(&stack, &question).await, expected, "{status} {n}");
            // Every copy gets the same.
            assert_eq!(ask(&stack, &question).await.1, expected.1, "{status} {n}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_service_is_asked_once_and_the_following_rule_decides() {
    let (agent, count, _gate) = held().await;
    let rules = json!({"server": [
        {"when": {"type": "assistant-request"}, "ask": "mine", "within": "300ms"},
        {"when": {"type": "*"}, "ask": "mine", "within": "300ms"},
        {"when": {"type": "assistant-request"}, "reply": {"assistantId": "rule"}},
    ]});
    let stack = stack_asking(rules, &[("mine", &agent)]).await;
    let expected = ("recorded".to_owned(), json!({"assistantId": "rule"}));
    assert_eq!(ask(&stack, &message("assistant-request", json!({}))).await, expected);
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_leaves_the_reply_to_the_next_rule() {
    for (status, body) in [(204, ""), (200, ""), (200, "{}"), (200, " { } ")] {
        let agent = service(move |_| Some(response(status, body))).await;
        let rules = json!({"server": [
            {"when": {"type": "assistant-request"}, "ask": "mine", "else": {"assistantId": "else"}},
            {"when": {"type": "assistant-request"}, "reply": {"assistantId": "next"}},
        ]});
        let stack = stack_asking(rules, &[("mine", &agent)]).await;
        let (_, reply) = ask(&stack, &message("assistant-request", json!({}))).await;
        assert_eq!(reply, json!({"assistantId": "next"}), "{status} {body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_predial_question_denies_although_a_later_rule_allows() {
    let agent = service(|_| Some(response(500, ""))).await;
    let rules = json!({"server": [
        {"when": {"type": "campaign.predial"}, "ask": "mine"},
        {"when": {"type": "campaign.predial"}, "reply": {"eligible": true}},
    ]});
    let stack = stack_asking(rules, &[("mine", &agent)]).await;
    assert_eq!(ask(&stack, &message("campaign.predial", json!({}))).await.1, json!({"eligible": false}));
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_of_a_predial_question_get_the_first_answer() {
    let agent = answering(&json!({"eligible": true})).await;
    let rules = json!({"server": [{"when": {"type": "campaign.predial"}, "ask": "mine"}]});
    let stack = stack_asking(rules, &[("mine", &agent)]).await;
    let question = message("campaign.predial", json!({"campaignId": "c", "contact": {"id": "p"}}));
    for outcome in ["recorded", "duplicate"] {
        assert_eq!(ask(&stack, &question).await, (outcome.to_owned(), json!({"eligible": true})));
    }
    assert_eq!(agent.requests().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn tool_calls_go_to_their_services_and_results_are_joined_by_id() {
    let (orders, stock) = (echoing().await, echoing().await);
    let rules = json!({"server": [
        {"when": {"type": "tool-calls", "tool": "order"}, "ask": "orders"},
        {"when": {"type": "tool-calls", "tool": "price"}, "ask": "orders"},
        {"when": {"type": "tool-calls", "tool": "stock"}, "ask": "stock"},
        {"when": {"type": "tool-calls", "tool": "hours"}, "reply": {"result": "9 to 5"}},
    ]});
    let stack = stack_asking(rules, &[("orders", &orders), ("stock", &stock)]).await;
    let (_, reply) = ask(&stack, &tool_calls(&["order", "stock", "hours", "price", "other"])).await;
    let results: Vec<(&str, &str)> = reply["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|result| {
            (result["toolCallId"].as_str().unwrap(), result["result"].as_str().or(result["error"].as_str()).unwrap())
        })
        .collect();
    let missing = "No result is configured for this tool.";
    assert_eq!(
        results,
        [("ORDER", "ORDER"), ("STOCK", "STOCK"), ("HOURS", "9 to 5"), ("PRICE", "PRICE"), ("OTHER", missing)]
    );
    for (agent, ids, name) in [(&orders, vec!["ORDER", "PRICE"], "orders"), (&stock, vec!["STOCK"], "stock")] {
        let [request] = agent.requests().try_into().unwrap();
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        for list in ["toolCallList", "toolCalls"] {
            let sent: Vec<&str> =
                body["message"][list].as_array().unwrap().iter().map(|call| call["id"].as_str().unwrap()).collect();
            assert_eq!(sent, ids);
        }
        let id = request.headers["webhook-id"].to_str().unwrap();
        assert!(id.starts_with("evt_") && id.ends_with(&format!(":{name}")), "{id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_result_is_a_fault_of_its_call_alone() {
    let orders = answering(&json!({"results": [{"toolCallId": "A", "result": "from the service"}]})).await;
    let rules = json!({"server": [
        {"when": {"type": "tool-calls", "tool": "b"}, "ask": "orders", "else": {"error": "else"}},
        {"when": {"type": "tool-calls"}, "ask": "orders"},
        {"when": {"type": "tool-calls"}, "reply": {"result": "next"}},
    ]});
    let stack = stack_asking(rules, &[("orders", &orders)]).await;
    let (_, reply) = ask(&stack, &tool_calls(&["a", "b", "c"])).await;
    let expected = json!({"results": [
        {"toolCallId": "A", "result": "from the service"},
        {"toolCallId": "B", "name": "b", "error": "else"},
        {"toolCallId": "C", "name": "c", "result": "next"},
    ]});
    assert_eq!(reply, expected);
    assert_eq!(orders.requests().len(), 1);
    // One service is asked with Vapi's whole body, although a rule has an `else` for one call.
    assert_eq!(orders.requests()[0].body, tool_calls(&["a", "b", "c"]).to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn service_that_is_asked_after_another_gets_its_own_calls_and_id() {
    let primary = answering(&json!({"results": [{"toolCallId": "A", "result": "primary"}]})).await;
    let backup = echoing().await;
    let rules = json!({"server": [
        {"when": {"type": "tool-calls"}, "ask": "primary", "within": "4s"},
        {"when": {"type": "tool-calls"}, "ask": "backup"},
    ]});
    let stack = stack_asking(rules, &[("primary", &primary), ("backup", &backup)]).await;
    let (_, reply) = ask(&stack, &tool_calls(&["a", "b"])).await;
    let results: Vec<&Value> = reply["results"].as_array().unwrap().iter().map(|result| &result["result"]).collect();
    assert_eq!(results, ["primary", "B"]);
    let request = &backup.requests()[0];
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!(body["message"]["toolCallList"].as_array().unwrap().len(), 1);
    assert!(request.headers["webhook-id"].to_str().unwrap().ends_with(":backup"));
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_with_one_id_get_the_results_of_their_own_services() {
    let one = answering(&json!({"results": [{"toolCallId": "hook", "result": "one"}]})).await;
    let two = answering(
        &json!({"results": [{"toolCallId": "hook", "result": "2a"}, {"toolCallId": "hook", "result": "2b"}]}),
    )
    .await;
    let rules = json!({"server": [
        {"when": {"type": "tool-calls", "tool": "one"}, "ask": "one"}, {"when": {"type": "tool-calls"}, "ask": "two"}
    ]});
    let stack = stack_asking(rules, &[("one", &one), ("two", &two)]).await;
    let call = |name: &str| json!({"id": "hook", "function": {"name": name, "arguments": {}}});
    let calls = json!({"toolCallList": [call("two"), call("one"), call("two")]});
    let (_, reply) = ask(&stack, &message("tool-calls", calls)).await;
    let results: Vec<&Value> = reply["results"].as_array().unwrap().iter().map(|result| &result["result"]).collect();
    assert_eq!(results, ["2a", "one", "2b"]);
    let body: Value = serde_json::from_slice(&one.requests()[0].body).unwrap();
    assert_eq!(body["message"]["toolCallList"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn error_text_that_rust_cannot_read_is_passed_on_for_each_call() {
    let orders = service(|_| Some(response(200, r#"{"error":"caf\ud83d"}"#))).await;
    let rules = json!({"server": [
        {"when": {"type": "tool-calls", "tool": "a"}, "ask": "orders"},
        {"when": {"type": "tool-calls"}, "reply": {"result": "x"}},
    ]});
    let stack = stack_asking(rules, &[("orders", &orders)]).await;
    let answer = send(&stack, &Delivery::now(&Vapi::SERVER, tool_calls(&["a", "b"]).to_string())).await;
    assert!(answer.status == 200 && answer.body.contains(r#""error":"caf\ud83d""#), "{}", answer.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn answer_that_rust_cannot_read_is_passed_on() {
    let bytes = r#"{"assistant":{"firstMessage":"Hi \ud83d","n":1e400}}"#;
    let agent = service(move |_| Some(response(200, bytes))).await;
    let rules = json!({"server": [{"when": {"type": "*"}, "ask": "mine"}]});
    let stack = stack_asking(rules, &[("mine", &agent)]).await;
    let body = message("assistant-request", json!({})).to_string();
    assert_eq!(send(&stack, &Delivery::now(&Vapi::SERVER, body)).await.body, bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_of_a_question_that_times_out_all_get_else() {
    let (agent, count, _gate) = held().await;
    let rules = json!({"server": [
        {"when": {"type": "assistant-request"}, "ask": "mine", "within": "1s", "else": {"assistantId": "else"}}
    ]});
    let stack = stack_asking(rules, &[("mine", &agent)]).await;
    let question = message("assistant-request", json!({}));
    let answers = join_all((0..4).map(|_| ask(&stack, &question))).await;
    assert!(answers.iter().all(|(_, answer)| *answer == json!({"assistantId": "else"})), "{answers:?}");
    assert!(answers.iter().all(|(outcome, _)| outcome != "unrecorded"), "{answers:?}");
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn predial_answers_are_compared_by_eligibility() {
    let count = AtomicUsize::new(0);
    let agent = service(move |_| {
        let n = count.fetch_add(1, Ordering::SeqCst);
        Some(response(200, &json!({"eligible": n < 2, "checkedAt": n}).to_string()))
    })
    .await;
    let rules = json!({"server": [{"when": {"type": "campaign.predial"}, "ask": "mine", "once": false}]});
    let stack = stack_asking(rules, &[("mine", &agent)]).await;
    let question = message("campaign.predial", json!({"campaignId": "c", "contact": {"id": "p"}}));
    let mut eligible = Vec::new();
    for _ in 0..3 {
        eligible.push(ask(&stack, &question).await.1["eligible"].clone());
    }
    assert_eq!(eligible, [true, true, false]);
}

#[tokio::test(flavor = "multi_thread")]
async fn client_message_whose_copy_waits_in_vain_is_sent_again() {
    let agent = answering(&json!({"message": {}})).await;
    let rules = json!({"client": [{"when": {"type": "hang"}, "ask": "mine", "within": "300ms"}]});
    let stack = stack_asking(rules, &[("mine", &agent)]).await;
    let delivery = Delivery::now(&Vapi::CLIENT, message("hang", json!({})).to_string());
    // The first copy is killed after it has claimed the question: only its claim is left.
    send(&stack, &delivery).await;
    let scan = stack.dynamodb_client().scan().table_name(&stack.table).send().await.unwrap();
    let mut claim =
        scan.items().iter().find(|item| item["event_id"].as_s().unwrap().starts_with("ask:")).unwrap().clone();
    let id = scan.items().iter().find(|item| item.contains_key("payload")).unwrap()["event_id"].clone();
    let later = aws_sdk_dynamodb::types::AttributeValue::S("2050-01-01T00:00:00.000Z".to_owned());
    claim.insert("lease_until".to_owned(), later);
    let client = stack.dynamodb_client();
    client.put_item().table_name(&stack.table).set_item(Some(claim)).send().await.unwrap();
    client.delete_item().table_name(&stack.table).key("event_id", id).send().await.unwrap();
    assert_eq!(send(&stack, &delivery).await.status, 503);
}

#[tokio::test(flavor = "multi_thread")]
async fn tool_results_become_one_line_of_text() {
    for (given, expected) in [
        (
            r#"{"results":[{"toolCallId":"A","result":"one\ntwo","x":1.50}],"y":1e2}"#,
            r#"{"results":[{"toolCallId":"A","result":"one two","x":1.50}],"y":1e2}"#,
        ),
        (
            r#"{"results":[{"toolCallId":"A","result":{"total": 12.50}}]}"#,
            r#"{"results":[{"toolCallId":"A","result":"{\"total\": 12.50}"}]}"#,
        ),
        (r#"{"results":[{"toolCallId":"A","error":["x"]}]}"#, r#"{"results":[{"toolCallId":"A","error":"[\"x\"]"}]}"#),
        (
            r#"{ "results": [ {"result":"a  b ","toolCallId":"A"} ] }"#,
            r#"{ "results": [ {"result":"a  b ","toolCallId":"A"} ] }"#,
        ),
        (r#"{"error":"not\nnow"}"#, r#"{"error":"not now"}"#),
        (r#"{"results":[{"toolCallId":"A","result":"x\n"}]}"#, r#"{"results":[{"toolCallId":"A","result":"x"}]}"#),
        (r#"{"results":[{"toolCallId":"A","error":"\r\nx"}]}"#, r#"{"results":[{"toolCallId":"A","error":"x"}]}"#),
        (r#"{"error":"caf\ud83d"}"#, r#"{"error":"caf\ud83d"}"#),
        (
            r#"{"messageResponse":{"results":[{"toolCallId":"A","result":7}]}}"#,
            r#"{"messageResponse":{"results":[{"toolCallId":"A","result":"7"}]}}"#,
        ),
        (r#"{"results":[{"toolCallId":"A"}]}"#, "{}"),
        (r#"{"results":[{"toolCallId":"A","result":null}]}"#, "{}"),
        (r#"{"results":{"toolCallId":"A"}}"#, "{}"),
        (r#"{"result":"a"}"#, "{}"),
    ] {
        let agent = service(move |_| Some(response(200, given))).await;
        let rules = json!({"server": [{"when": {"type": "tool-calls"}, "ask": "mine"}]});
        let stack = stack_asking(rules, &[("mine", &agent)]).await;
        let answer = send(&stack, &Delivery::now(&Vapi::SERVER, tool_calls(&["a"]).to_string())).await;
        assert_eq!(answer.body, expected, "{given}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn function_call_gets_its_result_alone() {
    let rules = json!({"server": [{"when": {"type": "tool-calls"}, "ask": "mine"}]});
    let question = message("function-call", json!({"functionCall": {"name": "a", "parameters": {}}}));
    for (given, expected) in [
        (r#"{"result":"x\ny"}"#, json!({"result": "x y"})),
        (r#"{"result":"x"}"#, json!({"result": "x"})),
        (r#"{"error":"x"}"#, json!({"error": "x"})),
    ] {
        let agent = service(move |_| Some(response(200, given))).await;
        let stack = stack_asking(rules.clone(), &[("mine", &agent)]).await;
        assert_eq!(ask(&stack, &question).await.1, expected);
    }
}

/// A service that answers with its number of requests so far, when the gate is opened.
async fn held() -> (Agent, Arc<AtomicUsize>, watch::Sender<bool>) {
    let (count, gate) = (Arc::new(AtomicUsize::new(0)), watch::channel(false).0);
    let (counter, opened) = (Arc::clone(&count), gate.clone());
    let agent = service(move |_| {
        let n = counter.fetch_add(1, Ordering::SeqCst);
        let (sender, answer) = AgentAnswer::stream();
        let mut opened = opened.subscribe();
        tokio::spawn(async move {
            let is_open = opened.wait_for(|is_open| *is_open).await.is_ok();
            let answer = Bytes::from(json!({"assistantId": n.to_string()}).to_string());
            drop(is_open.then(|| sender.send(Piece::Bytes(answer))));
        });
        Some(AgentAnswer { content_type: "application/json", ..answer })
    })
    .await;
    (agent, count, gate)
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_copies_ask_once_and_all_get_the_answer() {
    let (agent, count, gate) = held().await;
    let rules = json!({"server": [{"when": {"type": "assistant-request"}, "ask": "mine"}]});
    let stack = stack_asking(rules, &[("mine", &agent)]).await;
    let question = message("assistant-request", json!({}));
    let (answers, ()) = tokio::join!(join_all((0..8).map(|_| ask(&stack, &question))), async {
        // Each copy claims the question. Until then, the one that asks gets no answer.
        while stack.dynamodb.counts().get("PutItem").is_none_or(|claims| *claims < 8) {
            tokio::task::yield_now().await;
        }
        gate.send_replace(true);
    });
    assert!(answers.iter().all(|(_, answer)| *answer == json!({"assistantId": "0"})), "{answers:?}");
    assert_eq!(answers.iter().filter(|(outcome, _)| outcome == "recorded").count(), 1);
    assert_eq!(answers.iter().filter(|(outcome, _)| outcome == "duplicate").count(), 7);
    assert_eq!(count.load(Ordering::SeqCst), 1);
    // The claim and the record.
    assert_eq!(items(&stack).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn copy_that_waits_in_vain_gets_else_and_is_not_recorded() {
    let agent = answering(&json!({"assistantId": "a"})).await;
    let rules = json!({"server": [
        {"when": {"type": "assistant-request"}, "ask": "mine", "within": "500ms", "else": {"assistantId": "else"}}
    ]});
    let stack = stack_asking(rules, &[("mine", &agent)]).await;
    // The holder of the claim was killed.
    let id = "vapi:server:assistant-request:call_1";
    let key = format!("ask:{id}:mine");
    let put = |until: &str| {
        let s = |text: &str| aws_sdk_dynamodb::types::AttributeValue::S(text.to_owned());
        let bytes = |length| aws_sdk_dynamodb::types::AttributeValue::B(vec![7; length].into());
        let put = stack.dynamodb_client().put_item().table_name(&stack.table).item("event_id", s(&key));
        put.item("nonce", bytes(16)).item("fingerprint", bytes(32)).item("lease_until", s(until)).send()
    };
    put("2050-01-01T00:00:00.000Z").await.unwrap();
    let question = message("assistant-request", json!({}));
    assert_eq!(ask(&stack, &question).await, ("unrecorded".to_owned(), json!({"assistantId": "else"})));
    assert_eq!((agent.requests().len(), record(&stack, id).await), (0, None));
    // After the lease has expired, the next copy asks.
    put("2026-01-01T00:00:00.000Z").await.unwrap();
    assert_eq!(ask(&stack, &question).await, ("recorded".to_owned(), json!({"assistantId": "a"})));
    assert_eq!(agent.requests().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn service_is_asked_without_a_claim_while_dynamodb_is_away() {
    let agent = answering(&json!({"assistantId": "a"})).await;
    let rules = json!({"server": [{"when": {"type": "assistant-request"}, "ask": "mine"}]});
    let stack = stack_asking(rules, &[("mine", &agent)]).await;
    stack.dynamodb.add_rule(Rule::every(Fault::Cut));
    let question = message("assistant-request", json!({}));
    assert_eq!(ask(&stack, &question).await, ("queued".to_owned(), json!({"assistantId": "a"})));
    stack.dynamodb.clear_rules();
    stack.take_batch().await.unwrap();
    assert_eq!(ask(&stack, &question).await, ("duplicate".to_owned(), json!({"assistantId": "a"})));
    let event = record(&stack, "vapi:server:assistant-request:call_1").await.unwrap().event;
    assert_eq!(event.asked.as_deref(), Some("mine"));
}

#[tokio::test(flavor = "multi_thread")]
async fn read_only_service_is_asked_for_each_copy_without_a_claim() {
    let agent = answering(&json!({"assistantId": "a"})).await;
    let rules = json!({"server": [{"when": {"type": "assistant-request"}, "ask": "mine", "once": false}]});
    let stack = stack_asking(rules, &[("mine", &agent)]).await;
    for _ in 0..2 {
        ask(&stack, &message("assistant-request", json!({}))).await;
    }
    assert_eq!((agent.requests().len(), items(&stack).await), (2, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn service_that_is_told_gets_each_recorded_message_once() {
    let agent = answering(&json!({"assistantId": "ignored"})).await;
    let rules = json!({
        "server": [
            {"when": {"type": "*"}, "ask": "mine", "answer": false},
            {"when": {"type": "assistant-request"}, "reply": {"assistantId": "rule"}},
        ],
        "client": [{"when": {"type": "hang"}, "ask": "mine", "answer": false}],
    });
    let stack = stack_asking(rules, &[("mine", &agent)]).await;
    for (outcome, told) in [("recorded", 1), ("duplicate", 1)] {
        let expected = (outcome.to_owned(), json!({"assistantId": "rule"}));
        assert_eq!(ask(&stack, &message("assistant-request", json!({}))).await, expected);
        assert_eq!(agent.requests().len(), told);
    }
    ask(&stack, &message("status-update", json!({"status": "ended"}))).await;
    assert_eq!(agent.requests().len(), 2);
    let delivery = Delivery::now(&Vapi::CLIENT, message("hang", json!({})).to_string());
    assert_eq!(send(&stack, &delivery).await.body, "{}");
    assert_eq!(agent.requests().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn question_of_every_type_is_asked_or_told() {
    let agent = answering(&json!({"message": {"type": "say", "content": "x"}})).await;
    let rules = json!({
        "server": [{"when": {"type": "*"}, "ask": "mine"}],
        "client": [{"when": {"type": "*"}, "ask": "mine"}],
    });
    let stack = stack_asking(rules, &[("mine", &agent)]).await;
    assert_eq!(ask(&stack, &message("status-update", json!({"status": "ended"}))).await.1, json!({}));
    let voice = send(&stack, &Delivery::now(&Vapi::SERVER, message("voice-request", json!({})).to_string())).await;
    assert_eq!((voice.status, agent.requests().len()), (501, 1), "voice-request is not told");
    let delivery = Delivery::now(&Vapi::CLIENT, message("hang", json!({})).to_string());
    let expected = json!({"message": {"type": "say", "content": "x"}});
    assert_eq!(serde_json::from_str::<Value>(&send(&stack, &delivery).await.body).unwrap(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn redacted_values_are_sent_only_if_the_rule_says_so() {
    let url = "https://phone.vapi.ai/c/control";
    for (unredacted, is_sent) in [(false, false), (true, true)] {
        let agent = answering(&json!({"assistantId": "a"})).await;
        let rules = json!({"server": [
            {"when": {"type": "assistant-request"}, "ask": "mine", "unredacted": unredacted}
        ]});
        let stack = stack_asking(rules, &[("mine", &agent)]).await;
        let question = message("assistant-request", json!({"call": {"id": "c", "monitor": {"controlUrl": url}}}));
        ask(&stack, &question).await;
        let body = String::from_utf8(agent.requests()[0].body.to_vec()).unwrap();
        assert_eq!(body.contains(url), is_sent);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn event_that_is_not_stored_is_asked_without_a_claim() {
    let agent = answering(&json!({"assistantId": "a"})).await;
    let rules = json!({"server": [{"when": {"type": "assistant-request"}, "ask": "mine"}]});
    let skip = Skip::read(&|_| Some("vapi:assistant-request".to_owned())).unwrap();
    let options = Options { replies: asking(&rules, &[("mine", &agent)]), skip, ..Options::default() };
    let stack = stack_with(options).await;
    let question = message("assistant-request", json!({}));
    assert_eq!(ask(&stack, &question).await, ("skipped".to_owned(), json!({"assistantId": "a"})));
    assert_eq!(items(&stack).await, 0);
}
