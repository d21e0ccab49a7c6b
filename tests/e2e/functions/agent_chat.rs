//! The real binary under a Lambda Runtime API host, streaming.

use std::sync::Mutex;

use aws_sdk_dynamodb::types::AttributeValue;
use bytes::Bytes;
use gatehouse_local::agent::{Agent, Answer, Piece};
use gatehouse_local::runtime_api::Invoked;
use gatehouse_local::{Delivery, Fault, Options, Rule, Testbed};
use serde_json::{Value, json};

const STREAM: &str = "data: {\"type\":\"text\",\"content\":\"in confidence\"}\n\ndata: [DONE]\n\n";
const LONG_AGO: &str = "2026-01-01T00:00:00.000Z";
const TOKEN: &str = "client-token-in-confidence";

fn request(token: &str) -> Value {
    delivery(token).to_lambda_event()
}

fn delivery(token: &str) -> Delivery {
    let headers = [("authorization", format!("Bearer {token}")), ("content-type", "application/json".to_owned())];
    Delivery {
        function: agent_chat::FUNCTION.to_owned(),
        path: "v1/aibot/bots/kit/send-message".to_owned(),
        method: "POST".to_owned(),
        headers: headers.map(|(name, value)| (name.to_owned(), value)).to_vec(),
        body: Bytes::from(r#"{"messages":[{"role":"user","content":"in confidence"}]}"#),
    }
}

fn secrets(agent: &Agent) -> String {
    let secrets = json!({"agent_chat": {
        "clients": [{"id": "web", "token": TOKEN, "agents": ["*"]}],
        "agents": {"kit": {"url": format!("{}/x", agent.url), "dialect": "ag-kit"}}}});
    secrets.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_streams_an_answer_records_the_turn_and_logs_it_without_what_was_said() {
    let stack = Testbed::start(Options { poll: false, ..Options::default() }).await.unwrap();
    let agent = Agent::start(|_| Some(Answer::saying([Piece::Says(Bytes::from(STREAM))]))).await.unwrap();
    let secrets = secrets(&agent);
    let more = [("GATEHOUSE_SECRETS", secrets.as_str()), ("RUST_LOG", "trace")];
    let binary = env!("CARGO_BIN_EXE_under-test-agent-chat");
    let mut host = stack.host(binary, agent_chat::TIMEOUT, &more).await.unwrap();
    let Invoked::Answered(answer) = host.invoke(&request(TOKEN)).await.unwrap() else { panic!("failed") };
    assert_eq!((&answer["statusCode"], &answer["body"]), (&json!(200), &json!(STREAM)), "{answer}");
    assert_eq!(answer["headers"]["content-type"], "text/event-stream; charset=utf-8");
    let turn_id = answer["headers"]["gatehouse-turn-id"].as_str().unwrap().to_owned();
    let Invoked::Answered(refused) = host.invoke(&request("someone-else")).await.unwrap() else { panic!("failed") };
    assert_eq!(refused["statusCode"], 401, "{refused}");
    assert!(refused["body"].as_str().unwrap().contains("urn:gatehouse:problem:no-client"));

    let output = host.kill().await.unwrap();
    let line = output.lines().find(|line| line.contains(&turn_id)).unwrap();
    let line: Value = serde_json::from_str(line).unwrap();
    assert_eq!((&line["outcome"], &line["end"], &line["events"]), (&json!("recorded"), &json!("completed"), &json!(2)));
    assert!(!output.contains("in confidence") && !output.contains(TOKEN), "{output}");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_the_middle_it_leaves_the_key_to_the_next_when_its_lease_has_run_out() {
    let stack = Testbed::start(Options { poll: false, ..Options::default() }).await.unwrap();
    let (sender, answer) = Answer::stream();
    let answers = Mutex::new(vec![Answer::saying([Piece::Says(Bytes::from(STREAM))]), answer]);
    let agent = Agent::start(move |_| answers.lock().unwrap().pop()).await.unwrap();
    let secrets = secrets(&agent);
    let more = [("GATEHOUSE_SECRETS", secrets.as_str())];
    let start = || stack.host(env!("CARGO_BIN_EXE_under-test-agent-chat"), agent_chat::TIMEOUT, &more);
    let event = delivery(TOKEN).with_header("idempotency-key", "k").to_lambda_event();

    let mut doomed = start().await.unwrap();
    sender.send(Piece::Says(Bytes::from("data: {}\n\n"))).unwrap();
    tokio::select! {
        invoked = doomed.invoke(&event) => panic!("answered before it was killed: {invoked:?}"),
        () = async { while agent.heard().is_empty() { tokio::task::yield_now().await } } => {}
    }
    doomed.kill().await.unwrap();

    let mut next = start().await.unwrap();
    let Invoked::Answered(in_use) = next.invoke(&event).await.unwrap() else { panic!("failed") };
    assert_eq!(in_use["statusCode"], 409, "{in_use}");
    // Its lease would run out in five minutes.
    let client = stack.dynamodb_client();
    let update = client.update_item().table_name(&stack.table).update_expression("SET lease_until = :past");
    let update = update.key("event_id", AttributeValue::S("claim:web:kit:k".to_owned()));
    update.expression_attribute_values(":past", AttributeValue::S(LONG_AGO.to_owned())).send().await.unwrap();
    for replayed in [Value::Null, json!("true")] {
        let Invoked::Answered(answer) = next.invoke(&event).await.unwrap() else { panic!("failed") };
        assert_eq!((&answer["statusCode"], &answer["body"]), (&json!(200), &json!(STREAM)), "{answer}");
        assert!(answer["headers"]["gatehouse-turn-id"].as_str().unwrap().starts_with("web:kit:k:"), "{answer}");
        assert_eq!(answer["headers"]["idempotency-replayed"], replayed);
    }
    assert_eq!(agent.heard().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_that_neither_the_table_nor_the_queue_takes_is_an_error_with_the_word_the_alarm_counts() {
    let stack = Testbed::start(Options { poll: false, ..Options::default() }).await.unwrap();
    let agent = Agent::start(|_| Some(Answer::saying([Piece::Says(Bytes::from(STREAM))]))).await.unwrap();
    stack.dynamodb.fail(Rule::every(Fault::Cut));
    stack.sqs.fail(Rule::every(Fault::Cut));
    let secrets = secrets(&agent);
    let binary = env!("CARGO_BIN_EXE_under-test-agent-chat");
    let mut host = stack.host(binary, agent_chat::TIMEOUT, &[("GATEHOUSE_SECRETS", &secrets)]).await.unwrap();
    let Invoked::Answered(answer) = host.invoke(&request(TOKEN)).await.unwrap() else { panic!("failed") };
    assert_eq!(answer["body"], STREAM, "the client has its answer");
    let output = host.kill().await.unwrap();
    let line: Value = output.lines().filter_map(|line| serde_json::from_str(line).ok()).next_back().unwrap();
    assert_eq!((&line["level"], &line["outcome"]), (&json!("ERROR"), &json!(gatehouse_edge::log::UNRECORDED)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_is_none_is_named_and_nothing_starts() {
    let stack = Testbed::start(Options { poll: false, ..Options::default() }).await.unwrap();
    let binary = env!("CARGO_BIN_EXE_under-test-agent-chat");
    let host = stack.host(binary, agent_chat::TIMEOUT, &[("CHAT_IDLE_SECONDS", "1h")]).await.unwrap();
    let (succeeded, output) = host.finish().await.unwrap();
    assert!(
        !succeeded && output.contains("CHAT_IDLE_SECONDS") && output.contains("seconds, from 1 to 900"),
        "{output}"
    );
}
