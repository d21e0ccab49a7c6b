//! An incident: a thousand events while the stack is broken in several ways, and what became of each, by commands alone.

use std::collections::BTreeMap;

use futures_util::{StreamExt, stream};
use gatehouse_inbox::Clock;
use gatehouse_local::{Delivery, Fault, Options, Rule};

use super::bed::{Bed, CONVERSATION, MESSAGE, SAID};

/// What is to be found out about an event, by its message id.
type Truth = BTreeMap<String, &'static str>;

/// Sends `count` events whose ids begin with `kind`: their message ids, and the outcomes of the answers.
async fn send(bed: &Bed, kind: &str, count: usize, change: impl Fn(Delivery) -> Delivery) -> BTreeMap<String, String> {
    let one = |n| {
        let id = format!("{kind}_{n}");
        let delivery = change(Delivery::ada(&id, MESSAGE, Clock::System.now()));
        async move {
            let answer = delivery.send(&bed.url).await.unwrap();
            (id, format!("{} {}", answer.status, answer.outcome()))
        }
    };
    stream::iter((0..count).map(one)).buffer_unordered(6).collect().await
}

fn all_are(answers: &BTreeMap<String, String>, expected: &str) {
    let others: Vec<_> = answers.iter().filter(|(_, answer)| *answer != expected).collect();
    assert!(others.is_empty(), "not {expected}: {others:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_thousand_events_in_an_incident_commands_alone_tell_what_became_of_each() {
    let bed = Bed::with(Options::default()).await;
    let mut truth = Truth::new();
    let mut know =
        |answers: &BTreeMap<String, String>, state| truth.extend(answers.keys().map(|id| (id.clone(), state)));

    let plain = send(&bed, "plain", 400, |delivery| delivery).await;
    all_are(&plain, "200 recorded");
    know(&plain, "recorded");
    // Again, and again with another body.
    all_are(&send(&bed, "plain", 100, |delivery| delivery).await, "200 duplicate");
    for n in 100..150 {
        let conflict = Delivery::ada(&format!("plain_{n}"), MESSAGE.replace(SAID, "Monday"), Clock::System.now());
        assert_eq!(conflict.send(&bed.url).await.unwrap().outcome(), "conflict");
    }
    // What the vendor's types cannot read.
    let mut odd = BTreeMap::new();
    for n in 0..50 {
        let answer = bed.send(&format!("odd_{n}"), r#"{"type":7,"data":[]}"#).await;
        odd.insert(format!("odd_{n}"), format!("{} {}", answer.status, answer.outcome()));
    }
    all_are(&odd, "200 recorded");
    know(&odd, "recorded");
    // Nobody's signature.
    let forged = send(&bed, "forged", 100, |delivery| delivery.with_header("svix-signature", "v1,AAAA")).await;
    all_are(&forged, "401 refused");
    know(&forged, "unknown");
    // DynamoDB takes some never.
    bed.poison("\"ada:poison_");
    let poison = send(&bed, "poison", 150, |delivery| delivery).await;
    all_are(&poison, "200 queued");
    know(&poison, "dead");
    // DynamoDB is away for a while; so is SQS for a part of it.
    bed.dynamodb.fail(Rule::every(Fault::THROTTLE));
    let outage = send(&bed, "outage", 200, |delivery| delivery).await;
    all_are(&outage, "200 queued");
    know(&outage, "recorded");
    bed.sqs.fail(Rule::every(Fault::INTERNAL).on("SendMessage"));
    let lost = send(&bed, "unacknowledged", 100, |delivery| delivery).await;
    all_are(&lost, "503 unavailable");
    know(&lost, "unknown");
    bed.sqs.heal();
    bed.dynamodb.heal();
    bed.poison("\"ada:poison_");
    assert_eq!(truth.len(), 1000);

    // Until everything has settled: what is to be retried is, and what is dead is dead.
    let mut batches = bed.batches.clone();
    let waiting = async || bed.run(&["doctor", "--json"]).lines();
    let settled = |lines: &[serde_json::Value]| {
        let found = |check: &str| {
            lines.iter().find(|line| line["check"] == check).unwrap()["found"].as_str().unwrap().to_owned()
        };
        found("retry queue") == "0 to be taken, 0 tried again later" && found("dead letters") == "150 waiting"
    };
    while !settled(&waiting().await) {
        batches.changed().await.unwrap();
    }

    // Three commands for a thousand events.
    let mut told: BTreeMap<String, String> = BTreeMap::new();
    let mut conflicts = 0;
    for line in bed.run(&["events", "list", "--source", "ada", "--since", "1h", "--json"]).lines() {
        let id = line["event_id"].as_str().unwrap().trim_start_matches("ada:").to_owned();
        if line["state"] == "conflict" {
            conflicts += 1;
        } else {
            assert!(told.insert(id, "recorded".to_owned()).is_none(), "listed once");
        }
    }
    for line in bed.run(&["dead-letters", "list", "--json"]).lines() {
        assert_eq!(line["reason"], "refused");
        told.insert(line["event_id"].as_str().unwrap().trim_start_matches("ada:").to_owned(), "dead".to_owned());
    }
    assert_eq!(conflicts, 50);
    let failed = bed.run(&["events", "list", "--failed", "--json"]).lines();
    assert_eq!(failed.len(), 50 + 50 + 150, "conflicts, bodies that could not be read, dead letters");
    for (id, state) in &truth {
        assert_eq!(told.get(id).map_or("unknown", String::as_str), *state, "{id}");
    }
    assert_eq!(told.len(), 800, "and nothing else");
    // One by one, a few of each.
    for (id, state) in truth.iter().step_by(83) {
        let shown = bed.run(&["events", "show", &format!("ada:{id}"), "--json"]);
        assert_eq!(shown.line()["state"], *state, "{id}");
        assert_eq!(shown.code, if *state == "unknown" { 3 } else { 0 });
    }

    // Is it fixed?
    bed.dynamodb.heal();
    let redriven = bed.run(&["dead-letters", "redrive", "--all", "--receipt", "receipt.jsonl"]);
    assert!(redriven.code == 0 && redriven.out.contains("     150  recorded"), "{redriven:?}");
    assert_eq!(bed.run(&["dead-letters", "list"]).out, "no dead letters\n");
    assert_eq!(bed.run(&["doctor"]).code, 0);
    let timeline = bed.run(&["events", "timeline", CONVERSATION, "--json"]).lines();
    assert_eq!(timeline.len(), 750 + 50, "each that says whom it is about once, with the conflicts beside them");
}
