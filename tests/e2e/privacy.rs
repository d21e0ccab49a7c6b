//! Tests that log lines and error responses contain no secret, token or payload text.

use gatehouse_ada::Ada;
use gatehouse_local::runtime_api::Invoked;
use gatehouse_local::{Delivery, Fault, Rule};
use gatehouse_vapi::Vapi;

use crate::support::{now, send, stack};

/// Text that these tests put into bodies, headers and tokens.
const MARK: &str = "c0ffee-in-confidence";

#[tokio::test(flavor = "multi_thread")]
async fn refusal_contains_no_text_of_its_request() {
    let stack = stack().await;
    let body = format!(r#"{{"type":"{MARK}","secret":"{MARK}"}}"#);
    for delivery in [
        Delivery::of(&Ada, "msg_1", body.clone(), now()).with_header("svix-signature", MARK),
        Delivery::of(&Ada, "msg_1", body.clone(), now()).with_header("svix-timestamp", MARK),
        Delivery::of(&Ada, "msg_1", body.clone(), now()).with_header("svix-id", MARK),
        Delivery::of(&Ada, "msg_1", format!("{{\"{MARK}\": {MARK}}}"), now()),
        Delivery::of(&Ada, "msg_1", format!("\"{MARK}\""), now()),
        Delivery::now(&Vapi::CLIENT, body.clone()).with_header("authorization", &format!("Bearer {MARK}")),
        Delivery { path: MARK.to_owned(), ..Delivery::of(&Ada, "msg_1", body.clone(), now()) },
        Delivery::of(&Ada, "msg_1", body.clone(), now()).with_header("content-type", MARK),
    ] {
        let answer = send(&stack, &delivery).await;
        assert!((400..500).contains(&answer.status), "{}", answer.body);
        let headers = format!("{:?}", answer.headers);
        assert!(!answer.body.contains(MARK) && !headers.contains(MARK), "{}", answer.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_are_redacted_in_recorded_and_queued_events() {
    let stack = stack().await;
    let call = |id: &str| {
        serde_json::json!({"message": {"type": "hang", "timestamp": 1_795_173_390_500_u64,
            "call": {"id": id, "monitor": {"controlUrl": format!("https://{MARK}/control")}},
            "phoneNumber": {"twilioAuthToken": MARK}}})
    };
    let direct = Delivery::now(&Vapi::CLIENT, call("c1").to_string());
    let outcomes = [send(&stack, &direct).await.outcome().to_owned(), send(&stack, &direct).await.outcome().to_owned()];
    assert_eq!(outcomes, ["recorded", "duplicate"]);
    stack.dynamodb.add_rule(Rule::every(Fault::Cut));
    assert_eq!(send(&stack, &Delivery::now(&Vapi::CLIENT, call("c2").to_string())).await.outcome(), "queued");
    stack.dynamodb.clear_rules();
    stack.take_batch().await.unwrap();
    for id in ["vapi:call:c1", "vapi:call:c2"] {
        let records = crate::support::timeline(&stack, id).await;
        let [record] = records.as_slice() else { panic!("{id}: {records:?}") };
        let body = String::from_utf8_lossy(&record.event.body).into_owned();
        assert!(!body.contains(MARK) && body.matches("[redacted]").count() == 2, "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn log_lines_of_failures_show_no_payload_or_token() {
    let stack = stack().await;
    // Works like event-retry, but panics when it records the queued event.
    let binary = env!("CARGO_BIN_EXE_faulty-retry");
    let mut retry = stack.host(binary, event_retry::TIMEOUT, &[("RUST_LOG", "info")]).await.unwrap();
    let body = format!(r#"{{"type":"v1.x","secret":"{MARK}","data":{{"conversation_id":["{MARK}"]}}}}"#);
    stack.dynamodb.add_rule(Rule::every(Fault::Cut));
    let answer = send(&stack, &Delivery::of(&Ada, "panic", body, now())).await;
    assert_eq!(answer.outcome(), "queued");
    let receive = stack.sqs_client().receive_message().queue_url(&stack.retry_queue).wait_time_seconds(5).send().await;
    let message = receive.unwrap().messages.unwrap().remove(0);
    for body in
        [message.body.as_deref().unwrap(), &format!("{MARK} not an envelope"), &format!(r#"{{"v":1,"x":"{MARK}"}}"#)]
    {
        let batch = serde_json::json!({"Records": [
            {"messageId": "m", "receiptHandle": MARK, "body": body, "attributes": {"ApproximateReceiveCount": "5"}}]});
        assert!(matches!(retry.invoke(&batch).await.unwrap(), Invoked::Answered(_)));
    }
    let output = retry.kill().await.unwrap();
    assert!(output.contains("dead-lettered") && output.contains("\"reason\":\"panic\""), "{output}");
    assert!(!output.contains(MARK), "{output}");
}
