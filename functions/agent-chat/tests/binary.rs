//! The real binary under a Lambda Runtime API host, streaming.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use bytes::Bytes;
use gatehouse_local::agent::{Agent, Answer, Piece};
use gatehouse_local::runtime_api::Invoked;
use gatehouse_local::{Delivery, Options, Testbed};
use serde_json::{Value, json};

const STREAM: &str = "data: {\"type\":\"text\",\"content\":\"in confidence\"}\n\ndata: [DONE]\n\n";
const TOKEN: &str = "client-token-in-confidence";

fn request(token: &str) -> Value {
    let headers = [("authorization", format!("Bearer {token}")), ("content-type", "application/json".to_owned())];
    let delivery = Delivery {
        function: agent_chat::FUNCTION.to_owned(),
        path: "v1/aibot/bots/kit/send-message".to_owned(),
        method: "POST".to_owned(),
        headers: headers.map(|(name, value)| (name.to_owned(), value)).to_vec(),
        body: Bytes::from(r#"{"messages":[{"role":"user","content":"in confidence"}]}"#),
    };
    delivery.to_lambda_event()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_streams_an_answer_records_the_turn_and_logs_it_without_what_was_said() {
    let stack = Testbed::start(Options { poll: false, ..Options::default() }).await.unwrap();
    let agent = Agent::start(|_| Some(Answer::saying([Piece::Says(Bytes::from(STREAM))]))).await.unwrap();
    let secrets = json!({"agent_chat": {
        "clients": [{"id": "web", "token": TOKEN, "agents": ["*"]}],
        "agents": {"kit": {"url": format!("{}/x", agent.url), "dialect": "ag-kit"}}}});
    let secrets = secrets.to_string();
    let more = [("GATEHOUSE_SECRETS", secrets.as_str()), ("RUST_LOG", "trace")];
    let binary = env!("CARGO_BIN_EXE_agent-chat");
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
async fn a_limit_that_is_none_is_named_and_nothing_starts() {
    let stack = Testbed::start(Options { poll: false, ..Options::default() }).await.unwrap();
    let binary = env!("CARGO_BIN_EXE_agent-chat");
    let host = stack.host(binary, agent_chat::TIMEOUT, &[("CHAT_IDLE_SECONDS", "1h")]).await.unwrap();
    let (succeeded, output) = host.finish().await.unwrap();
    assert!(
        !succeeded && output.contains("CHAT_IDLE_SECONDS") && output.contains("seconds, from 1 to 900"),
        "{output}"
    );
}
