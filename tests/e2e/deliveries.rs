//! Tests deliveries and the responses to them.

use std::path::Path;

use gatehouse_ada::Ada;
use gatehouse_agntix::Agntix;
use gatehouse_local::{Delivery, Options};
use gatehouse_receiver::Skip;
use gatehouse_timeline::{State, fold};
use gatehouse_vapi::Vapi;
use serde_json::{Value, json};

use crate::support::{MESSAGE, items, now, record, replies, send, send_message, stack, stack_with, timeline};

#[tokio::test(flavor = "multi_thread")]
async fn new_event_and_duplicate_cost_one_dynamodb_request_each() {
    let stack = stack().await;
    for (outcome, puts) in [("recorded", 1), ("duplicate", 2)] {
        assert_eq!(send_message(&stack, "msg_1").await.outcome(), outcome);
        assert_eq!(stack.dynamodb.counts().into_iter().collect::<Vec<_>>(), [("PutItem".to_owned(), puts)]);
        assert!(stack.sqs.counts().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn response_names_outcome_and_event_in_headers_and_body() {
    let stack = stack().await;
    let answer = send_message(&stack, "msg_1").await;
    assert_eq!((answer.status, answer.outcome(), answer.event_id()), (200, "recorded", "ada:msg_1"));
    assert_eq!(answer.header("content-type"), "application/json");
    let body: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(body, json!({"status": "recorded", "event_id": "ada:msg_1"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn undocumented_body_is_recorded_unchanged() {
    let stack = stack().await;
    let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(20_000), "]".repeat(20_000));
    let bodies = [
        "{}",
        r#"{"type":null}"#,
        r#"{"type":"v1.conversation.message","type":"v1.conversation.ended"}"#,
        r#"{"type":{"nested":true},"data":[]}"#,
        r#"{"data":{"conversation_id":17}}"#,
        r#"{"type":"\udfff","\ud800":1}"#,
        r#"{"n":1e999,"m":-0,"o":123456789012345678901234567890.1}"#,
        r#""{\"type\":\"v1.conversation.message\"}""#,
        " \r\n{ \"type\" : \"x\" }\t",
        "{\"type\":\"v1.\u{1F4A9}\"}",
        &deep,
    ];
    for (n, body) in bodies.iter().enumerate() {
        for delivery in [
            Delivery::of(&Ada, &format!("msg_{n}"), (*body).to_owned(), now()),
            Delivery::of(&Agntix, &format!("msg_{n}"), (*body).to_owned(), now()),
            Delivery::now(&Vapi::CLIENT, (*body).to_owned()),
        ] {
            let answer = send(&stack, &delivery).await;
            assert_eq!((answer.status, answer.outcome()), (200, "recorded"), "{n} to {}", delivery.function);
            let record = record(&stack, answer.event_id()).await.unwrap();
            assert_eq!(record.event.body, delivery.body);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn event_with_extremely_long_or_odd_members_is_recorded() {
    let stack = stack().await;
    let long = "x".repeat(300_000);
    let bodies = [
        format!(r#"{{"type":"{long}","data":{{"conversation_id":"{long}"}}}}"#),
        r#"{"type":"","timestamp":"","data":{"conversation_id":"","end_user_id":""}}"#.to_owned(),
        r#"{"type":"v1.x","timestamp":"9999-12-31T23:59:59Z","data":{"conversation_id":"a:b/\u0000\n"}}"#.to_owned(),
    ];
    for (n, body) in bodies.into_iter().enumerate() {
        let answer = send(&stack, &Delivery::of(&Ada, &format!("msg_{n}"), body, now())).await;
        assert_eq!((answer.status, answer.outcome()), (200, "recorded"), "{n}");
    }
    let long_id = "m".repeat(3000);
    assert_eq!(send(&stack, &Delivery::of(&Ada, &long_id, "{}", now())).await.outcome(), "recorded");
    assert_eq!(send(&stack, &Delivery::of(&Ada, &long_id, "{}", now())).await.outcome(), "duplicate");
    assert_eq!(send(&stack, &Delivery::of(&Ada, &(long_id + "n"), "{}", now())).await.outcome(), "recorded");
}

#[tokio::test(flavor = "multi_thread")]
async fn vapi_message_is_one_event_wrapped_bare_or_as_a_string() {
    let stack = stack().await;
    let wrapped = gatehouse_vapi::samples::STATUS_UPDATE_ENDED;
    let bare = serde_json::from_str::<Value>(wrapped).unwrap()["message"].to_string();
    let mut outcomes = Vec::new();
    for body in [wrapped.to_owned(), bare.clone(), json!(wrapped).to_string(), json!(bare).to_string()] {
        let answer = send(&stack, &Delivery::now(&Vapi::CLIENT, body)).await;
        assert!(
            answer
                .event_id()
                .starts_with("vapi:client:status-update:2f1f3d3e-0f7c-4a54-a0a3-9a2f4b0c8d11:1795173464913:")
        );
        outcomes.push(answer.outcome().to_owned());
    }
    assert_eq!(outcomes, ["recorded", "duplicate", "duplicate", "duplicate"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn vapi_call_folds_into_a_conversation() {
    let stack = stack().await;
    for body in [
        gatehouse_vapi::samples::END_OF_CALL_REPORT,
        gatehouse_vapi::samples::TRANSCRIPT_FINAL,
        gatehouse_vapi::samples::TOOL_CALLS,
        gatehouse_vapi::samples::STATUS_UPDATE_ENDED,
    ] {
        assert_eq!(send(&stack, &Delivery::now(&Vapi::CLIENT, body)).await.outcome(), "recorded");
    }
    let records = timeline(&stack, "vapi:call:2f1f3d3e-0f7c-4a54-a0a3-9a2f4b0c8d11").await;
    let types: Vec<_> = records.iter().map(|record| record.event.event_type.as_deref().unwrap()).collect();
    assert_eq!(types, ["transcript", "tool-calls", "status-update", "end-of-call-report"]);
    let conversation = fold(&records);
    assert_eq!((conversation.state, conversation.messages.len()), (State::Closed, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn duplicate_gets_the_configured_reply() {
    let reply = gatehouse_vapi::samples::ADD_MESSAGE;
    let rules = format!(r#"{{"client":[{{"when":{{"type":"tool-calls"}},"reply":{reply}}}]}}"#);
    let stack = stack_with(Options { replies: replies(&rules), ..Options::default() }).await;
    let delivery = Delivery::now(&Vapi::CLIENT, gatehouse_vapi::samples::TOOL_CALLS);
    for outcome in ["recorded", "duplicate"] {
        let answer = send(&stack, &delivery).await;
        assert_eq!(answer.outcome(), outcome);
        assert_eq!(serde_json::from_str::<Value>(&answer.body).unwrap(), serde_json::from_str::<Value>(reply).unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unverified_delivery_is_not_stored() {
    let stack = stack().await;
    let good = Delivery::of(&Ada, "msg_1", MESSAGE, now());
    let of_agntix = Delivery { function: good.function.clone(), ..Delivery::of(&Agntix, "msg_1", MESSAGE, now()) };
    let mixed = good.clone().without_header("svix-id").with_header("webhook-id", "msg_1");
    for delivery in [
        good.clone().with_body("{}"),
        good.clone().with_header("svix-id", "msg_2"),
        good.clone().with_header("svix-timestamp", "1"),
        good.clone().with_header("svix-signature", "v1,"),
        good.without_header("svix-signature"),
        of_agntix,
        mixed,
        Delivery::of(&Ada, "msg_1", MESSAGE, now().plus_secs(-302)),
        Delivery::now(&Vapi::CLIENT, "{}").with_header("authorization", "Bearer "),
        Delivery::now(&Vapi::CLIENT, "{}").without_header("authorization").with_header("x-vapi-secret", ""),
        Delivery::now(&Vapi::SERVER, "{}").without_header("authorization"),
        Delivery::now(&Vapi::SERVER, "{}").with_header("authorization", "Bearer another-token"),
        Delivery::now(&Vapi::SERVER, "{}").without_header("authorization").with_header("x-vapi-secret", "another"),
    ] {
        let answer = send(&stack, &delivery).await;
        assert_eq!((answer.status, answer.outcome(), answer.event_id()), (401, "refused", ""));
        assert_eq!(answer.header("content-type"), "application/problem+json");
    }
    assert_eq!(items(&stack).await, 0);
    assert!(stack.dynamodb.counts().is_empty() && stack.sqs.counts().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn refusal_names_the_expected_value() {
    let stack = stack().await;
    let good = || Delivery::of(&Ada, "msg_1", MESSAGE, now());
    let with_path = |path: &str| Delivery { path: path.to_owned(), ..good() };
    let with_method = |method: &str| Delivery { method: method.to_owned(), ..good() };
    let cases = [
        (with_path("client"), 404, "/"),
        (with_method("GET"), 405, "POST"),
        (with_method("PUT"), 405, "POST"),
        (good().with_header("content-type", "text/plain"), 415, "application/json"),
        (Delivery::of(&Ada, "msg_1", "not json", now()), 400, "line 1"),
        (Delivery::of(&Ada, "msg_1", vec![b'{', 0xff], now()), 400, "byte 1"),
        (Delivery::of(&Ada, "msg_1", vec![b' '; 6 * 1024 * 1024 + 1], now()), 413, "6291456"),
    ];
    for (delivery, status, detail) in cases {
        let answer = send(&stack, &delivery).await;
        let problem: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!((answer.status, &problem["status"]), (status, &json!(status)));
        assert!(problem["type"].as_str().unwrap().starts_with("urn:gatehouse:problem:"));
        assert!(problem["detail"].as_str().unwrap().contains(detail), "{problem}");
        assert_eq!(answer.header("allow"), if status == 405 { "POST" } else { "" });
    }
    assert_eq!(items(&stack).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_24_concurrent_copies_is_recorded() {
    let stack = stack().await;
    let delivery = Delivery::of(&Ada, "msg_1", MESSAGE, now());
    let answers = futures_util::future::join_all((0..24).map(|_| send(&stack, &delivery))).await;
    let count = |outcome| answers.iter().filter(|answer| answer.outcome() == outcome).count();
    assert_eq!((count("recorded"), count("duplicate")), (1, 23));
    assert_eq!(items(&stack).await, 1);
}

/// Sends every sample in the folder `../shared/samples`, which is outside the repository. Passes if there is no such
/// folder.
#[tokio::test(flavor = "multi_thread")]
async fn every_collected_sample_is_recorded_and_parsed() {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/samples");
    let stack = stack().await;
    for vendor in ["ada", "agntix", "vapi"] {
        let Ok(files) = std::fs::read_dir(samples.join(vendor)) else { return };
        for path in files.map(|file| file.unwrap().path()) {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let body = std::fs::read(&path).unwrap();
            let delivery = match vendor {
                "ada" => Delivery::of(&Ada, &name, body, now()),
                "agntix" => Delivery::of(&Agntix, &name, body, now()),
                _ => Delivery::now(&Vapi::CLIENT, body),
            };
            let answer = send(&stack, &delivery).await;
            assert_eq!(answer.status, 200, "{name}: {}", answer.body);
            // Two samples contain the same tool call, one as a client message and one as a server message: a conflict.
            assert!(["recorded", "duplicate", "conflict"].contains(&answer.outcome()), "{name}: {}", answer.outcome());
            assert!(!record(&stack, answer.event_id()).await.unwrap().event.flags.unparsed, "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn skipped_event_is_verified_and_answered_but_not_stored() {
    let skip = Skip::read(&|_| Some("vapi:hang, ada:v1.conversation.message".to_owned())).unwrap();
    let stack = stack_with(Options { skip, ..Options::default() }).await;
    let hang = Delivery::now(&Vapi::SERVER, r#"{"message":{"type":"hang","call":{"id":"c"}}}"#);
    let answer = send(&stack, &hang).await;
    assert_eq!((answer.status, answer.outcome(), answer.body.as_str()), (200, "skipped", "{}"));
    let answer = send_message(&stack, "msg_1").await;
    assert_eq!((answer.status, answer.outcome()), (200, "skipped"));
    assert_eq!(serde_json::from_str::<Value>(&answer.body).unwrap()["status"], "skipped");
    assert_eq!(send(&stack, &hang.without_header("authorization").without_header("x-vapi-secret")).await.status, 401);
    assert_eq!(items(&stack).await, 0);
    let other =
        Delivery::now(&Vapi::SERVER, r#"{"message":{"type":"status-update","call":{"id":"c"},"status":"ended"}}"#);
    assert_eq!(send(&stack, &other).await.outcome(), "recorded");
}
