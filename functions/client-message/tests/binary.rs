//! The real binary under a Lambda Runtime API host.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use gatehouse_local::runtime_api::{Host, Invoked};
use gatehouse_local::{Delivery, Options, Testbed};
use serde_json::Value;

const STARTED: &str = include_str!("../../../tests/fixtures/vapi/workflow-node-started.json");
const REPLY: &str = include_str!("../../../tests/fixtures/vapi/add-message.json");

async fn start(stack: &Testbed, replies: &str) -> Host {
    let binary = env!("CARGO_BIN_EXE_client-message");
    stack.host(binary, client_message::TIMEOUT, &[("CLIENT_REPLIES", replies)]).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configured_reply_answers_its_message_and_an_empty_object_every_other() {
    let stack = Testbed::start(Options { poll: false, ..Options::default() }).await.unwrap();
    let mut host = start(&stack, &format!(r#"{{"workflow.node.started":{REPLY}}}"#)).await;
    let mut body = async |sent: &str| {
        let delivery = Delivery::vapi_client(sent.to_owned());
        let Invoked::Answered(answer) = host.invoke(&delivery.to_lambda_event()).await.unwrap() else {
            panic!("failed")
        };
        assert_eq!(answer["statusCode"], 200, "{answer}");
        assert_eq!(answer["headers"]["content-type"], "application/json");
        serde_json::from_str::<Value>(answer["body"].as_str().unwrap()).unwrap()
    };
    let reply: Value = serde_json::from_str(REPLY).unwrap();
    assert_eq!(body(STARTED).await, reply);
    assert_eq!(body(STARTED).await, reply, "a duplicate is answered like the first");
    assert_eq!(body(r#"{"message":{"type":"hang"}}"#).await, serde_json::json!({}));
}

#[tokio::test(flavor = "multi_thread")]
async fn replies_that_cannot_be_used_are_named_in_the_log_and_cost_no_event() {
    let stack = Testbed::start(Options { poll: false, ..Options::default() }).await.unwrap();
    let mut host = start(&stack, r#"{"hang":{"say":"bye"}}"#).await;
    let delivery = Delivery::vapi_client(r#"{"message":{"type":"hang"}}"#);
    let Invoked::Answered(answer) = host.invoke(&delivery.to_lambda_event()).await.unwrap() else { panic!("failed") };
    assert_eq!((&answer["statusCode"], &answer["body"]), (&Value::from(200), &Value::from("{}")));
    let output = host.kill().await.unwrap();
    assert!(output.contains("CLIENT_REPLIES") && output.contains("the reply to hang"), "{output}");
}
