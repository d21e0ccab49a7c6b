//! `doctor` and `stats`.

use aws_sdk_sqs::types::QueueAttributeName;
use serde_json::Value;

use super::bed::Bed;

fn state<'l>(lines: &'l [Value], check: &str) -> &'l str {
    lines.iter().find(|line| line["check"] == check).unwrap_or_else(|| panic!("{check}: {lines:?}"))["state"]
        .as_str()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_deployment_has_nothing_wrong() {
    let bed = Bed::start().await;
    let looked = bed.run(&["doctor"]);
    assert!(looked.code == 0 && looked.out.ends_with("nothing is wrong\n"), "{looked:?}");
    let lines = bed.run(&["doctor", "--json"]).lines();
    for check in ["table", "index by-subject", "index by-source", "expiry", "redrive policy", "agent-chat", "clock"] {
        assert_eq!(state(&lines, check), "ok", "{check}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_broken_is_named_with_what_to_do() {
    let bed = Bed::start().await;
    bed.kill(&["msg_1"]).await;
    let set = bed.sqs_client().set_queue_attributes().queue_url(&bed.retry_queue);
    set.attributes(QueueAttributeName::RedrivePolicy, "").send().await.unwrap();
    let looked = bed.run(&["doctor", "--json"]);
    assert_eq!(looked.code, 1);
    let lines = looked.lines();
    assert_eq!((state(&lines, "redrive policy"), state(&lines, "dead letters")), ("wrong", "wrong"));
    for line in lines.iter().filter(|line| line["state"] != "ok") {
        assert!(!line["advice"].as_str().unwrap().is_empty(), "{line}");
    }
}
