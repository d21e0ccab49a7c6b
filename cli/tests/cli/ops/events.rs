//! Tests of `events show`, `timeline` and `list`.

use gatehouse_agntix::Agntix;
use std::io::{BufRead, BufReader};

use gatehouse_local::{Delivery, Rule};
use serde_json::Value;

use super::bed::{Bed, CONVERSATION, MESSAGE, MESSAGE_TEXT, run_command};

fn ids(lines: &[Value]) -> Vec<&str> {
    lines.iter().map(|line| line["event_id"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn show_prints_conflicts_and_only_on_request_payloads() {
    let bed = Bed::start().await;
    bed.send("msg_1", MESSAGE).await;
    bed.send("msg_1", &MESSAGE.replace(MESSAGE_TEXT, "Monday")).await;
    let shown = bed.run(&["events", "show", "ada:msg_1"]);
    assert_eq!(shown.code, 0, "{shown:?}");
    for text in ["recorded", CONVERSATION, "v1.conversation.message", "svix", "1 conflicting delivery is stored too"] {
        assert!(shown.out.contains(text), "{text}: {}", shown.out);
    }
    assert!(!shown.out.contains(MESSAGE_TEXT) && !shown.out.contains("Monday"), "{}", shown.out);

    let shown = bed.run(&["events", "show", "ada:msg_1", "--payload"]);
    assert!(shown.out.contains(MESSAGE_TEXT) && shown.out.contains("Monday"), "{}", shown.out);

    let shown = bed.run(&["events", "show", "ada:msg_1", "--json"]).line();
    assert_eq!((&shown["state"], &shown["conflicts"][0]["state"]), (&"recorded".into(), &"conflict".into()));
    assert!(shown["record"]["payload"].is_null());
    let shown = bed.run(&["events", "show", "ada:msg_1", "--json", "--payload"]).line();
    assert_eq!(shown["record"]["payload"], serde_json::from_str::<Value>(MESSAGE).unwrap());

    let raw = bed.run(&["events", "show", "ada:msg_1", "--raw"]).line();
    assert_eq!((&raw["event_id"]["S"], &raw["v"]["N"]), (&"ada:msg_1".into(), &"1".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn show_finds_conflicts_of_event_without_subject() {
    let bed = Bed::start().await;
    bed.send("msg_1", r#"{"type":"v1.new","timestamp":"2026-11-20T09:00:00"}"#).await;
    bed.send("msg_1", r#"{"type":"v1.new","timestamp":"2026-11-20T10:00:00"}"#).await;
    let shown = bed.run(&["events", "show", "ada:msg_1", "--json"]).line();
    assert_eq!(shown["conflicts"].as_array().unwrap().len(), 1, "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn show_explains_why_an_event_is_not_recorded() {
    let bed = Bed::start().await;
    bed.make_dead_letters(&["dead"]).await;
    let shown = bed.run(&["events", "show", "ada:dead"]);
    assert_eq!(shown.code, 0);
    for text in ["dead: not recorded: refused", "ValidationException", "redrive"] {
        assert!(shown.out.contains(text), "{text}: {}", shown.out);
    }
    assert!(!shown.out.contains(MESSAGE_TEXT), "{}", shown.out);

    let never = bed.run(&["events", "show", "ada:never"]);
    assert_eq!(never.code, 3);
    assert!(never.out.contains("unknown: not found"), "{}", never.out);

    bed.dynamodb.add_rule(Rule::every(gatehouse_local::Fault::THROTTLE));
    assert_eq!(bed.send("waiting", MESSAGE).await.outcome(), "queued");
    let waiting = bed.run(&["events", "show", "ada:waiting", "--json"]);
    assert!(
        waiting.line()["meaning"].as_str().unwrap().contains("the retry queue, which has 1 message"),
        "{}",
        waiting.out
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn timeline_is_ordered_by_occurrence_across_pages() {
    let bed = Bed::start().await;
    let mut sends = Vec::new();
    for n in 0..120 {
        let body = MESSAGE.replace("2026-11-20T", &format!("2026-11-{:02}T", 1 + n % 28));
        sends.push((format!("msg_{n}"), body));
    }
    for (id, body) in &sends {
        bed.send(id, body).await;
    }
    let timeline = bed.run(&["events", "timeline", CONVERSATION, "--json"]);
    let lines = timeline.lines();
    assert_eq!(lines.len(), 120);
    let times: Vec<&str> = lines.iter().map(|line| line["occurred_at"].as_str().unwrap()).collect();
    assert!(times.is_sorted(), "{times:?}");
    assert!(!timeline.out.contains(MESSAGE_TEXT));
    assert_eq!(bed.run(&["events", "timeline", CONVERSATION, "--json", "--limit", "7"]).lines().len(), 7);
    let table = bed.run(&["events", "timeline", CONVERSATION]).out;
    assert_eq!(table.matches("OCCURRED").count(), 1, "one heading for all pages");
    assert_eq!(bed.run(&["events", "timeline", "ada:conversation:unknown"]).code, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn followed_timeline_prints_new_events_even_if_older() {
    let bed = Bed::start().await;
    bed.send("msg_1", MESSAGE).await;
    let mut command = bed.command(&["events", "timeline", CONVERSATION, "--follow", "--json"]);
    let mut following = command.spawn().unwrap();
    let mut lines = BufReader::new(following.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(next()["event_id"], "ada:msg_1");
    bed.send("msg_2", &MESSAGE.replace("2026-11-20T", "2026-11-19T")).await;
    assert_eq!(next()["event_id"], "ada:msg_2");
    bed.send("msg_3", MESSAGE).await;
    assert_eq!(next()["event_id"], "ada:msg_3");
    crate::signal(&following, rustix::process::Signal::INT);
    assert_eq!(following.wait().unwrap().code(), Some(0), "Ctrl-C is the normal end");
}

#[tokio::test(flavor = "multi_thread")]
async fn list_filters_by_vendor_type_and_failure() {
    let bed = Bed::start().await;
    bed.send("msg_1", MESSAGE).await;
    bed.send("msg_1", &MESSAGE.replace(MESSAGE_TEXT, "Monday")).await;
    bed.send("msg_2", r#"{"type":7,"data":[]}"#).await;
    let session = gatehouse_agntix::samples::SESSION_ENDED;
    Delivery::of(&Agntix, "msg_3", session, gatehouse_runtime::Clock::System.now()).send(&bed.url).await.unwrap();
    bed.make_dead_letters(&["msg_4"]).await;

    let all = bed.run(&["events", "list", "--json"]).lines();
    assert_eq!(all.len(), 4, "{all:?}");
    let agntix = bed.run(&["events", "list", "--source", "agntix", "--json"]).lines();
    assert_eq!(ids(&agntix), ["agntix:session.ended:7d1c1f6e-57d8-4b62-9d0e-0a5a0c1be9f3"]);
    let typed = bed.run(&["events", "list", "--type", "session.ended", "--json"]).lines();
    assert_eq!(typed.len(), 1);
    let failed = bed.run(&["events", "list", "--failed", "--json"]).lines();
    let mut states: Vec<_> =
        failed.iter().map(|line| (line["event_id"].as_str().unwrap(), line["state"].as_str().unwrap())).collect();
    states.sort_unstable();
    assert_eq!(states, [("ada:msg_1", "conflict"), ("ada:msg_2", "recorded"), ("ada:msg_4", "dead")]);
    assert_eq!(bed.run(&["events", "list", "--json", "--limit", "2"]).lines().len(), 2);
    let none = bed.run(&["events", "list", "--since", "2020-01-01T00:00:00Z", "--until", "2020-01-01T01:00:00Z"]);
    assert_eq!((none.code, none.out.as_str()), (0, ""));
    assert!(none.err.contains("no events in this time; pass an earlier --since"), "{none:?}");
    let wrong = bed.run(&["events", "list", "--since", "yesterday"]);
    assert!(wrong.code == 2 && wrong.err.contains("2h30m or 7d"), "{wrong:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_make_no_more_requests_than_documented() {
    let bed = Bed::start().await;
    for n in 0..30 {
        bed.send(&format!("msg_{n}"), MESSAGE).await;
    }
    bed.send("msg_0", &MESSAGE.replace(MESSAGE_TEXT, "Monday")).await;
    let units =
        |cost: &str| -> f64 { cost.split(", ").last().unwrap().trim_end_matches(" read units").parse().unwrap() };
    let cost = |arguments: &[&str]| {
        let err = bed.run(&[arguments, &["--cost"]].concat()).err;
        err.lines().find_map(|line| line.strip_prefix("cost: ")).map(str::to_owned).unwrap_or_else(|| panic!("{err}"))
    };
    // One vendor, one or two hours: reading 31 index entries takes one or two read units.
    let listed = cost(&["events", "list", "--source", "ada", "--since", "1s"]);
    assert!(listed.starts_with("1 request (Query 1)") || listed.starts_with("2 requests (Query 2)"), "{listed}");
    assert!(units(&listed) <= 2.0, "{listed}");
    // The record, the keys of its subject, the conflicting copy, the destinations, and the number of dead letters.
    let shown = cost(&["events", "show", "ada:msg_0"]);
    assert!(shown.starts_with("5 requests (BatchGetItem 1, GetItem 1, GetQueueAttributes 1, Query 2)"), "{shown}");
    assert!(units(&shown) <= 3.5, "{shown}");
    let timeline = cost(&["events", "timeline", CONVERSATION]);
    assert!(units(&timeline) <= 32.5, "one unit per event, and half a unit per 4 KB of keys: {timeline}");
    assert!(timeline.starts_with("2 requests (BatchGetItem 1, Query 1)"), "{timeline}");
    let state = cost(&["conversations", "show", "673da1f0c2b94e5f8a017b11"]);
    assert!(state.starts_with("2 requests (BatchGetItem 1, Query 1)"), "{state}");
    assert!(cost(&["dead-letters", "list"]).starts_with("1 request (GetQueueAttributes 1), 0 read units"));
    for missing in [["calls", "show", "unknown"], ["sessions", "show", "unknown"]] {
        assert_eq!(cost(&missing), "1 request (Query 1), 0.5 read units", "{missing:?}");
    }
    // One query for each hour, of the only vendor with sessions.
    let sessions = cost(&["sessions", "list", "--open", "--since", "1s"]);
    assert!(
        ["1 request (Query 1), 0.5", "2 requests (Query 2), 1"].iter().any(|cost| sessions.starts_with(cost)),
        "{sessions}"
    );
    let checked = cost(&["check-release", "ada:msg_1", "ada:msg_2", "--dry-run"]);
    assert_eq!(checked, "1 request (BatchGetItem 1), 2 read units");
    let doctor = cost(&["doctor"]);
    assert!(doctor.ends_with(" 0 read units") && !doctor.contains("GetItem"), "{doctor}");
    // The list of erased subjects, a read and a write for each item, the keys until none are left, and the
    // destinations.
    let erased = cost(&["events", "erase", "--subject", CONVERSATION, "--yes"]);
    assert!(
        erased.contains("GetItem 32") && erased.contains("PutItem 31") && erased.contains("DeleteItem 1"),
        "{erased}"
    );
    assert!(erased.contains("Query 3"), "{erased}");

    // The proxy counts the same requests as the meter.
    bed.send("msg_after", &MESSAGE.replace("673da1f0c2b94e5f8a017b11", "another")).await;
    let before = bed.dynamodb.counts();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_gatehouse"));
    let another = "ada:conversation:another";
    command.args(["events", "timeline", another, "--table", &bed.table, "--endpoint-url", &bed.dynamodb.url()]);
    let output = run_command(command);
    assert_eq!(output.code, 0, "{output:?}");
    let new =
        |operation: &str| bed.dynamodb.counts().get(operation).unwrap_or(&0) - before.get(operation).unwrap_or(&0);
    assert_eq!((new("Query"), new("BatchGetItem"), new("GetItem"), new("Scan")), (1, 1, 0, 0));
}

#[test]
fn unreachable_deployment_error_says_what_to_do() {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_gatehouse"));
    command.args(["events", "list", "--at", "http://127.0.0.1:9"]);
    let output = run_command(command);
    assert_eq!(output.code, 1);
    assert!(output.err.contains("--stack NAME") && output.err.contains("gatehouse dev"), "{}", output.err);
}
