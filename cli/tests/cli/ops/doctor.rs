//! Tests of `doctor`.

use aws_sdk_sqs::types::QueueAttributeName;
use serde_json::Value;

use super::bed::Bed;

fn state<'l>(lines: &'l [Value], check: &str) -> &'l str {
    lines.iter().find(|line| line["check"] == check).unwrap_or_else(|| panic!("{check}: {lines:?}"))["state"]
        .as_str()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_finds_nothing_wrong_in_a_healthy_deployment() {
    let bed = Bed::start().await;
    let doctor = bed.run(&["doctor"]);
    assert!(doctor.code == 0 && doctor.out.ends_with("nothing is wrong\n"), "{doctor:?}");
    let lines = bed.run(&["doctor", "--json"]).lines();
    for check in ["table", "index by-subject", "index by-source", "expiry", "redrive policy", "agent-chat", "clock"] {
        assert_eq!(state(&lines, check), "ok", "{check}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_gives_advice_on_each_problem() {
    let bed = Bed::start().await;
    bed.make_dead_letters(&["msg_1"]).await;
    let set = bed.sqs_client().set_queue_attributes().queue_url(&bed.retry_queue);
    set.attributes(QueueAttributeName::RedrivePolicy, "").send().await.unwrap();
    let doctor = bed.run(&["doctor", "--json"]);
    assert_eq!(doctor.code, 1);
    let lines = doctor.lines();
    assert_eq!((state(&lines, "redrive policy"), state(&lines, "dead letters")), ("wrong", "wrong"));
    for line in lines.iter().filter(|line| line["state"] != "ok") {
        assert!(!line["advice"].as_str().unwrap().is_empty(), "{line}");
    }
}
