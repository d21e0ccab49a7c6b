//! Tests the client-message binary with a local Lambda Runtime API.

use gatehouse_local::runtime_api::Invoked;
use gatehouse_local::{Delivery, Options, Testbed};
use gatehouse_vapi::Vapi;
use serde_json::Value;

const STARTED: &str = gatehouse_vapi::samples::WORKFLOW_NODE_STARTED;

#[tokio::test(flavor = "multi_thread")]
async fn client_message_is_recorded_and_answered_with_json() {
    let stack = Testbed::start(Options { poll: false, ..Options::default() }).await.unwrap();
    let binary = env!("CARGO_BIN_EXE_under-test-client-message");
    let mut host = stack.host(binary, gatehouse_receiver::TIMEOUT, &[]).await.unwrap();
    for outcome in ["recorded", "duplicate"] {
        let delivery = Delivery::now(&Vapi::CLIENT, STARTED);
        let Invoked::Answered(answer) = host.invoke(&delivery.to_lambda_event()).await.unwrap() else {
            panic!("failed")
        };
        // The object depends on the rules that the binary was built with.
        assert!(serde_json::from_str::<Value>(answer["body"].as_str().unwrap()).unwrap().is_object(), "{answer}");
        assert_eq!(answer["statusCode"], 200);
        assert_eq!(answer["headers"]["gatehouse-outcome"], outcome);
        assert_eq!(answer["headers"]["content-type"], "application/json");
    }
}
