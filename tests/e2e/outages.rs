//! Tests the recording of events while DynamoDB or SQS fails.

use std::time::Duration;

use gatehouse_ada::Ada;
use gatehouse_agntix::Agntix;
use gatehouse_local::delivery::noise;
use gatehouse_local::{Delivery, Fault, Rule};
use gatehouse_vapi::Vapi;

use crate::support::{MESSAGE, items, messages, now, record, send, send_message, stack, timeline};

/// The promised response time, also during outages.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn dynamodb_failure_queues_the_event_and_records_it_later() {
    let stack = stack().await;
    for (n, fault) in [
        Fault::Cut,
        Fault::Hang,
        Fault::THROTTLE,
        Fault::Refuse(400, "AccessDeniedException"),
        Fault::Refuse(400, "ResourceNotFoundException"),
        Fault::INTERNAL,
        Fault::INVALID,
    ]
    .into_iter()
    .enumerate()
    {
        let message_id = format!("msg_{n}");
        stack.dynamodb.add_rule(Rule::every(fault.clone()));
        let answer = send_message(&stack, &message_id).await;
        assert_eq!((answer.status, answer.outcome()), (200, "queued"), "{fault:?}");
        assert!(answer.took < ANSWER_WITHIN, "{fault:?}: {:?}", answer.took);
        assert!(record(&stack, answer.event_id()).await.is_none());
        stack.dynamodb.clear_rules();
        assert_eq!(stack.take_batch().await.unwrap().failed, Vec::<String>::new());
        let record = record(&stack, answer.event_id()).await.unwrap();
        assert_eq!((&*record.event.body, record.event.verified_by.as_str()), (MESSAGE.as_bytes(), "svix"));
        assert_eq!(messages(&stack, &stack.retry_queue).await, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn queued_event_equals_the_directly_recorded_event() {
    let stack = stack().await;
    let deliveries = [
        Delivery::of(&Ada, "msg_1", MESSAGE, now()),
        Delivery::of(&Agntix, "msg_1", gatehouse_agntix::samples::SESSION_ENDED, now()),
        Delivery::now(&Vapi::CLIENT, gatehouse_vapi::samples::END_OF_CALL_REPORT),
        Delivery::now(&Vapi::CLIENT, r#"{"message":{"type":"hang"}}"#),
        Delivery::of(&Ada, "msg_2", r#"{"type":7}"#, now()),
    ];
    let healthy = crate::support::stack().await;
    for delivery in deliveries {
        let expected = record(&healthy, send(&healthy, &delivery).await.event_id()).await.unwrap().event;
        stack.dynamodb.add_rule(Rule::every(Fault::Cut));
        let answer = send(&stack, &delivery).await;
        stack.dynamodb.clear_rules();
        stack.take_batch().await.unwrap();
        let got = record(&stack, answer.event_id()).await.unwrap().event;
        let (received_at, nonce, occurred_at) = (expected.received_at, expected.nonce, expected.occurred_at);
        let undated = got.flags.undated;
        let got = gatehouse_payload::Event {
            received_at,
            nonce,
            occurred_at: if undated { occurred_at } else { got.occurred_at },
            ..got
        };
        assert_eq!(got, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn total_outage_acknowledges_nothing_and_retry_is_recorded() {
    let stack = stack().await;
    let delivery = Delivery::of(&Ada, "msg_1", MESSAGE, now());
    for (dynamodb, sqs) in
        [(Fault::Cut, Fault::Cut), (Fault::Hang, Fault::Hang), (Fault::Refuse(500, "x"), Fault::Refuse(503, "x"))]
    {
        stack.dynamodb.add_rule(Rule::every(dynamodb));
        stack.sqs.add_rule(Rule::every(sqs));
        let answer = send(&stack, &delivery).await;
        assert_eq!((answer.status, answer.outcome(), answer.event_id()), (503, "unavailable", "ada:msg_1"));
        assert!(answer.took < ANSWER_WITHIN, "{:?}", answer.took);
        assert!(!answer.header("retry-after").is_empty());
        stack.dynamodb.clear_rules();
        stack.sqs.clear_rules();
    }
    assert_eq!(items(&stack).await, 0);
    assert_eq!(send(&stack, &delivery).await.outcome(), "recorded");
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_recognizes_its_own_write_after_a_lost_response() {
    let stack = stack().await;
    stack.dynamodb.add_rule(Rule::every(Fault::DropResponse).on("PutItem"));
    assert_eq!(send_message(&stack, "msg_1").await.outcome(), "queued");
    stack.dynamodb.clear_rules();
    let written = record(&stack, "ada:msg_1").await.unwrap();
    stack.take_batch().await.unwrap();
    assert_eq!(record(&stack, "ada:msg_1").await.unwrap(), written);
    assert_eq!((items(&stack).await, messages(&stack, &stack.retry_queue).await), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn conflict_with_failed_write_is_queued_and_then_stored() {
    let stack = stack().await;
    assert_eq!(send_message(&stack, "msg_1").await.outcome(), "recorded");
    let other = Delivery::of(&Ada, "msg_1", MESSAGE.replace("Friday", "Monday"), now());
    stack.dynamodb.add_rule(Rule::every(Fault::Cut).containing("conflict:"));
    assert_eq!(send(&stack, &other).await.outcome(), "queued");
    stack.dynamodb.clear_rules();
    stack.take_batch().await.unwrap();
    let records = timeline(&stack, "ada:conversation:673da1f0c2b94e5f8a017b11").await;
    let stored: Vec<_> = records.iter().map(|record| (record.conflict, &*record.event.body)).collect();
    assert_eq!(stored, [(false, MESSAGE.as_bytes()), (true, &*other.body)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn large_event_cut_before_its_head_is_recorded_on_retry() {
    let stack = stack().await;
    let body = format!(r#"{{"noise":"{}"}}"#, noise(1, 1_500_000));
    let delivery = Delivery::of(&Ada, "msg_1", body.clone(), now());
    // The head is the only item that names the event.
    stack.dynamodb.add_rule(Rule::every(Fault::Cut).on("PutItem").containing("ada:msg_1"));
    let answer = send(&stack, &delivery).await;
    assert_eq!((answer.status, answer.outcome()), (503, "unavailable"), "its envelope exceeds the queue's size limit");
    assert!(answer.took < ANSWER_WITHIN);
    assert!(record(&stack, "ada:msg_1").await.is_none());
    assert!(items(&stack).await > 0, "orphan chunks, which expire");
    stack.dynamodb.clear_rules();
    assert_eq!(send(&stack, &delivery).await.outcome(), "recorded");
    assert_eq!(record(&stack, "ada:msg_1").await.unwrap().event.body, body);
}

#[tokio::test(flavor = "multi_thread")]
async fn compressible_large_event_fits_the_queue() {
    let stack = stack().await;
    let body = format!(r#"{{"noise":"{}"}}"#, "abcdefgh".repeat(200_000));
    stack.dynamodb.add_rule(Rule::every(Fault::Cut));
    let delivery = Delivery::of(&Ada, "msg_1", body.clone(), now());
    assert_eq!(send(&stack, &delivery).await.outcome(), "queued");
    stack.dynamodb.clear_rules();
    stack.take_batch().await.unwrap();
    assert_eq!(record(&stack, "ada:msg_1").await.unwrap().event.body, body);
}
