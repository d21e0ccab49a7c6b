//! Tests of `check-release`.

use gatehouse_local::Delivery;
use gatehouse_vapi::Vapi;

use super::bed::{Bed, MESSAGE};

#[tokio::test(flavor = "multi_thread")]
async fn check_of_unchanged_events_finds_and_changes_nothing() {
    let bed = Bed::start().await;
    bed.send("msg_1", MESSAGE).await;
    let samples = ["end-of-call-report", "transcript-final", "tool-calls", "status-update-ended", "assistant-request"];
    for name in samples {
        let path = format!("{}/../shared/vendors/vapi/samples/{name}.json", env!("CARGO_MANIFEST_DIR"));
        let body = std::fs::read_to_string(path).unwrap();
        assert_eq!(Delivery::now(&Vapi::SERVER, body).send(&bed.url).await.unwrap().status, 200, "{name}");
    }
    let empty = bed.directory.path().join("none.json");
    std::fs::write(&empty, r#"{"server":[],"client":[]}"#).unwrap();
    let scan =
        || async { format!("{:?}", bed.dynamodb_client().scan().table_name(&bed.table).send().await.unwrap().count) };
    let before = scan().await;
    let dry = bed.run(&["check-release", "--dry-run", "--replies", "none.json"]);
    assert!(dry.code == 0 && dry.out.contains("6 events checked, nothing was written; 0 differ"), "{dry:?}");
    let replayed = bed.run(&["check-release", "--replies", "none.json", "--json"]);
    assert_eq!(replayed.code, 0, "{replayed:?}");
    assert!(replayed.lines().iter().all(|line| line["outcome"] == "duplicate"), "{}", replayed.out);
    assert_eq!(scan().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn check_reports_a_changed_reply() {
    let bed = Bed::start().await;
    let body = r#"{"message":{"type":"assistant-request","timestamp":1795173466000,"call":{"id":"c1"}}}"#;
    let sent = Delivery::now(&Vapi::SERVER, body).send(&bed.url).await.unwrap();
    let rules = r#"{"server":[{"when":{"type":"assistant-request"},"reply":{"assistantId":"the-new-one"}}]}"#;
    std::fs::write(bed.directory.path().join("rules.json"), rules).unwrap();
    let replayed = bed.run(&["check-release", sent.event_id(), "--dry-run", "--replies", "rules.json", "--json"]);
    assert_eq!(replayed.code, 1, "{replayed:?}");
    assert_eq!(replayed.line()["differences"][0]["what"], "answer");
    assert!(!replayed.out.contains("the-new-one"), "{}", replayed.out);
    let replay = ["check-release", sent.event_id(), "--dry-run", "--replies", "rules.json", "--json", "--payload"];
    assert!(bed.run(&replay).out.contains("the-new-one"));
    assert_eq!(bed.run(&["check-release", "ada:unknown"]).code, 3);
}
