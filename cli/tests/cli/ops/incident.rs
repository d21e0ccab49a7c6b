//! Tests an incident: a thousand events during several faults, and the state of each as the commands report it.

use gatehouse_ada::Ada;
use std::collections::BTreeMap;

use futures_util::{StreamExt, stream};
use gatehouse_local::{Delivery, Fault, Rule};
use gatehouse_runtime::Clock;

use super::bed::{Bed, CONVERSATION, MESSAGE, MESSAGE_TEXT};

/// The expected state of each event, by message id.
type ExpectedStates = BTreeMap<String, &'static str>;

/// Sends `count` events whose message ids begin with `kind`. Returns the status and the outcome of each by message id.
async fn send(bed: &Bed, kind: &str, count: usize, change: impl Fn(Delivery) -> Delivery) -> BTreeMap<String, String> {
    let send_one = |n| {
        let id = format!("{kind}_{n}");
        let delivery = change(Delivery::of(&Ada, &id, MESSAGE, Clock::System.now()));
        async move {
            let answer = delivery.send(&bed.url).await.unwrap();
            (id, format!("{} {}", answer.status, answer.outcome()))
        }
    };
    stream::iter((0..count).map(send_one)).buffer_unordered(6).collect().await
}

fn all_are(answers: &BTreeMap<String, String>, expected: &str) {
    let others: Vec<_> = answers.iter().filter(|(_, answer)| *answer != expected).collect();
    assert!(others.is_empty(), "not {expected}: {others:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_report_the_state_of_each_event_in_an_incident() {
    let bed = Bed::start().await;
    let mut expected_states = ExpectedStates::new();
    let mut expect = |answers: &BTreeMap<String, String>, state| {
        expected_states.extend(answers.keys().map(|id| (id.clone(), state)))
    };

    let plain = send(&bed, "plain", 400, |delivery| delivery).await;
    all_are(&plain, "200 recorded");
    expect(&plain, "recorded");
    // Resends, some with another body.
    all_are(&send(&bed, "plain", 100, |delivery| delivery).await, "200 duplicate");
    for n in 100..150 {
        let conflict =
            Delivery::of(&Ada, &format!("plain_{n}"), MESSAGE.replace(MESSAGE_TEXT, "Monday"), Clock::System.now());
        assert_eq!(conflict.send(&bed.url).await.unwrap().outcome(), "conflict");
    }
    // Bodies that do not match the vendor's types.
    let mut unparsed = BTreeMap::new();
    for n in 0..50 {
        let answer = bed.send(&format!("unparsed_{n}"), r#"{"type":7,"data":[]}"#).await;
        unparsed.insert(format!("unparsed_{n}"), format!("{} {}", answer.status, answer.outcome()));
    }
    all_are(&unparsed, "200 recorded");
    expect(&unparsed, "recorded");
    // Forged signatures.
    let forged = send(&bed, "forged", 100, |delivery| delivery.with_header("svix-signature", "v1,AAAA")).await;
    all_are(&forged, "401 refused");
    expect(&forged, "unknown");
    // Events that DynamoDB always rejects.
    bed.poison("\"ada:poison_");
    let poison = send(&bed, "poison", 150, |delivery| delivery).await;
    all_are(&poison, "200 queued");
    expect(&poison, "dead");
    // An outage of DynamoDB, and of SQS for part of the time.
    bed.dynamodb.add_rule(Rule::every(Fault::THROTTLE));
    let outage = send(&bed, "outage", 200, |delivery| delivery).await;
    all_are(&outage, "200 queued");
    expect(&outage, "recorded");
    bed.sqs.add_rule(Rule::every(Fault::INTERNAL).on("SendMessage"));
    let lost = send(&bed, "unacknowledged", 100, |delivery| delivery).await;
    all_are(&lost, "503 unavailable");
    expect(&lost, "unknown");
    bed.sqs.clear_rules();
    bed.dynamodb.clear_rules();
    bed.poison("\"ada:poison_");
    assert_eq!(expected_states.len(), 1000);

    // The retry queue is consumed only now: how often an event is retried in the outage must not depend on the machine.
    while bed.take_batch().await.unwrap().received > 0 {}
    let checks = bed.run(&["doctor", "--json"]).lines();
    let found = |name: &str| checks.iter().find(|line| line["check"] == name).unwrap()["found"].as_str().unwrap();
    assert_eq!([found("retry queue"), found("dead letters")], ["0 visible, 0 delayed", "150 waiting"]);

    // Three commands for a thousand events.
    let mut reported: BTreeMap<String, String> = BTreeMap::new();
    let mut conflicts = 0;
    for line in bed.run(&["events", "list", "--source", "ada", "--since", "1h", "--json"]).lines() {
        let id = line["event_id"].as_str().unwrap().trim_start_matches("ada:").to_owned();
        if line["state"] == "conflict" {
            conflicts += 1;
        } else {
            assert!(reported.insert(id, "recorded".to_owned()).is_none(), "listed once");
        }
    }
    for line in bed.run(&["dead-letters", "list", "--json"]).lines() {
        // On a busy machine, an attempt may last longer than the message is hidden. SQS then moves the message.
        assert!(["refused", "never-finished"].contains(&line["reason"].as_str().unwrap()), "{line}");
        reported.insert(line["event_id"].as_str().unwrap().trim_start_matches("ada:").to_owned(), "dead".to_owned());
    }
    assert_eq!(conflicts, 50);
    let failed = bed.run(&["events", "list", "--failed", "--json"]).lines();
    assert_eq!(failed.len(), 50 + 50 + 150, "conflicts, bodies that could not be read, dead letters");
    for (id, state) in &expected_states {
        assert_eq!(reported.get(id).map_or("unknown", String::as_str), *state, "{id}");
    }
    assert_eq!(reported.len(), 800, "and no others");
    // Check a few events of each kind, one by one.
    for (id, state) in expected_states.iter().step_by(83) {
        let shown = bed.run(&["events", "show", &format!("ada:{id}"), "--json"]);
        assert_eq!(shown.line()["state"], *state, "{id}");
        assert_eq!(shown.code, if *state == "unknown" { 3 } else { 0 });
    }

    // The fault is removed: redrive, and check that nothing is left.
    bed.dynamodb.clear_rules();
    let (consumer, _) = bed.event_source().clone().poll();
    let redriven = bed.run(&["dead-letters", "redrive", "--all", "--receipt", "receipt.jsonl"]);
    assert!(redriven.code == 0 && redriven.out.contains("     150  recorded"), "{redriven:?}");
    consumer.abort();
    assert_eq!(bed.run(&["dead-letters", "list"]).err, "no dead letters\n");
    assert_eq!(bed.run(&["doctor"]).code, 0);
    let timeline = bed.run(&["events", "timeline", CONVERSATION, "--json"]).lines();
    assert_eq!(timeline.len(), 750 + 50, "each event with a subject once, and its conflicts");
}
