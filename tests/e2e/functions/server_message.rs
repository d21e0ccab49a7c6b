//! Tests the server-message binary with a local Lambda Runtime API.

use gatehouse_local::runtime_api::{Host, Invoked};
use gatehouse_local::{Delivery, Fault, Options, Rule, Testbed};
use gatehouse_vapi::Vapi;
use serde_json::{Value, json};

async fn invoke(host: &mut Host, message: &Value) -> Value {
    let delivery = Delivery::now(&Vapi::SERVER, message.to_string());
    match host.invoke(&delivery.to_lambda_event()).await.unwrap() {
        Invoked::Answered(answer) => answer,
        Invoked::Failed(error) => panic!("{error}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn server_message_logs_an_unrecorded_event_as_an_error() {
    let stack = Testbed::start(Options { poll: false, ..Options::default() }).await.unwrap();
    let binary = env!("CARGO_BIN_EXE_under-test-server-message");
    let mut host = stack.host(binary, gatehouse_receiver::TIMEOUT, &[]).await.unwrap();
    let message = |id: &str| json!({"message": {"type": "assistant-request", "call": {"id": id}}});
    assert_eq!(invoke(&mut host, &message("call_1")).await["headers"]["gatehouse-outcome"], "recorded");
    stack.dynamodb.add_rule(Rule::every(Fault::Cut));
    stack.sqs.add_rule(Rule::every(Fault::Cut));
    let answer = invoke(&mut host, &message("call_2")).await;
    assert_eq!(answer["statusCode"], 200);
    assert_eq!(answer["headers"]["gatehouse-outcome"], "unrecorded");

    let output = host.kill().await.unwrap();
    let lines: Vec<Value> = output.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let fields = |n: usize| (lines[n]["level"].as_str(), lines[n]["outcome"].as_str(), lines[n]["event_id"].as_str());
    assert_eq!(fields(0), (Some("INFO"), Some("recorded"), Some("vapi:server:assistant-request:call_1")));
    assert_eq!(fields(1), (Some("ERROR"), Some("unrecorded"), Some("vapi:server:assistant-request:call_2")));
    assert!(lines[1]["error"].as_str().unwrap().starts_with("not recorded ("), "{output}");
}
