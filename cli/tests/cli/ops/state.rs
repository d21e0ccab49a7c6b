//! Tests of `sessions`, `conversations` and `calls`.

use gatehouse_agntix::Agntix;
use gatehouse_local::Delivery;
use gatehouse_runtime::Clock;
use gatehouse_vapi::Vapi;

use super::bed::{Bed, MESSAGE, MESSAGE_TEXT};

const CREATED: &str = gatehouse_agntix::samples::SESSION_CREATED;
const ENDED: &str = gatehouse_agntix::samples::SESSION_ENDED;
const SESSION: &str = "7d1c1f6e-57d8-4b62-9d0e-0a5a0c1be9f3";

async fn send_agntix(bed: &Bed, body: &str) {
    let id = format!("msg_{}", gatehouse_payload::Nonce::random().unwrap());
    Delivery::of(&Agntix, &id, body.to_owned(), Clock::System.now()).send(&bed.url).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn session_has_state_analysis_and_missing_events() {
    let bed = Bed::start().await;
    send_agntix(&bed, ENDED).await;
    let shown = bed.run(&["sessions", "show", SESSION, "--json"]).line();
    assert_eq!(
        (&shown["state"], &shown["resolution"], &shown["sentiment"]),
        (&"CLOSED".into(), &"RESOLVED".into(), &"POSITIVE".into())
    );
    assert_eq!(shown["missing"], serde_json::json!(["session.created"]));
    assert!(shown.get("analysis").is_none());
    send_agntix(&bed, CREATED).await;
    let text = bed.run(&["sessions", "show", SESSION]).out;
    assert!(text.contains("CLOSED") && !text.contains("missing") && !text.contains("berth"), "{text}");
    let with_payload = bed.run(&["sessions", "show", SESSION, "--payload"]).out;
    assert!(
        with_payload.contains("\"berth\": \"C14\"") && with_payload.contains("moved the booking"),
        "{with_payload}"
    );
    assert_eq!(bed.run(&["sessions", "show", "unknown"]).code, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn open_sessions_are_those_without_an_end() {
    let bed = Bed::start().await;
    send_agntix(&bed, CREATED).await;
    send_agntix(&bed, ENDED).await;
    send_agntix(&bed, &CREATED.replace(SESSION, "open-one")).await;
    send_agntix(&bed, &ENDED.replace(SESSION, "ended-without-a-beginning")).await;
    let open = bed.run(&["sessions", "list", "--open", "--json"]).line();
    assert_eq!((&open["subject"], &open["state"]), (&"agntix:session:open-one".into(), &"OPEN".into()));
    let all = bed.run(&["sessions", "list", "--json"]).lines();
    assert_eq!(all.len(), 3);
    assert!(
        all.iter()
            .any(|line| line["subject"] == "agntix:session:ended-without-a-beginning" && line["was_created"] == false)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn conversation_shows_transcript_only_with_payload() {
    let bed = Bed::start().await;
    bed.send("msg_1", MESSAGE).await;
    bed.send("msg_2", gatehouse_ada::samples::CONVERSATION_ENDED).await;
    let shown = bed.run(&["conversations", "show", "673da1f0c2b94e5f8a017b11"]);
    for text in ["CLOSED", "1 message;", "v1.conversation.created"] {
        assert!(shown.out.contains(text), "{text}: {}", shown.out);
    }
    assert!(!shown.out.contains(MESSAGE_TEXT), "{}", shown.out);
    let with_payload = bed.run(&["conversations", "show", "673da1f0c2b94e5f8a017b11", "--payload", "--json"]).line();
    assert!(with_payload["transcript"][0]["text"].as_str().unwrap().contains(MESSAGE_TEXT), "{with_payload}");
}

#[tokio::test(flavor = "multi_thread")]
async fn call_reports_missing_transcripts() {
    let bed = Bed::start().await;
    let report = r#"{"message":{"type":"end-of-call-report","timestamp":1795173466000,
        "endedReason":"customer-ended-call","call":{"id":"c1"},"analysis":{"summary":"s","successEvaluation":"true"},
        "artifact":{"messages":[{"role":"system"},{"role":"user"},{"role":"bot"},{"role":"user"}]}}}"#;
    let transcript = r#"{"message":{"type":"transcript","transcriptType":"final","role":"user","transcript":"hello",
        "timestamp":1795173400000,"call":{"id":"c1"}}}"#;
    Delivery::now(&Vapi::CLIENT, transcript).send(&bed.url).await.unwrap();
    let open = bed.run(&["calls", "show", "c1", "--json"]).line();
    assert_eq!((&open["state"], &open["messages"]), (&"OPEN".into(), &1.into()));
    Delivery::now(&Vapi::SERVER, report).send(&bed.url).await.unwrap();
    let shown = bed.run(&["calls", "show", "vapi:call:c1", "--json"]).line();
    assert_eq!((&shown["state"], &shown["resolution"]), (&"CLOSED".into(), &"true".into()));
    assert_eq!(shown["missing"], serde_json::json!(["transcripts: received 1 of the 3 in end-of-call-report"]));
}
