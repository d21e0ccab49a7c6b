//! Measures the commands that read events, with a large table: 20,000 events of one conversation, and a million in all.
//!
//! `cargo bench -p gatehouse --bench commands [-- EVENTS]` (1,000,000 by default, which takes some minutes and 3 GB of
//! disk). Each command is a process that starts, reads the embedded DynamoDB on this machine, and prints to a pipe.
#![allow(clippy::unwrap_used, clippy::cast_precision_loss, clippy::print_stdout, missing_docs)]

use std::process::Command;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeValue, PutRequest, WriteRequest};
use futures_util::future::try_join_all;
use gatehouse_ada::Ada;
use gatehouse_inbox::Store;
use gatehouse_inbox::store::Item;
use gatehouse_local::engine::{Engine, FREE};
use gatehouse_local::template::Template;
use gatehouse_local::{DataDir, Hosts, local_sdk};
use gatehouse_payload::event::Received;
use gatehouse_payload::json::Document;
use gatehouse_payload::time::Timestamp;
use gatehouse_payload::{EventId, Fingerprint, Nonce};
use gatehouse_runtime::Clock;
use gatehouse_vendor::Source;
use tokio::time::Instant;

const TABLE: &str = "EventTable";
/// Events of the large conversation, the latest ones.
const OF_ONE: usize = 20_000;
/// Events of each other conversation.
const OF_OTHERS: usize = 20;
/// The time in which the events of the large conversation were received, and that of all events, in seconds.
const SPANS: (i64, i64) = (1800, 30 * 86_400);
/// Items in a request, and concurrent requests.
const BATCH: (usize, usize) = (25, 8);
/// Runs of each command, of which the median counts.
const RUNS: usize = 5;

/// A body of 800 bytes, as Ada sends it.
const BODY: &str = gatehouse_ada::samples::CONVERSATION_MESSAGE;

#[tokio::main]
async fn main() {
    let events = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(1_000_000_usize);
    let folder = tempfile::tempdir().unwrap();
    let data = DataDir::open(folder.path()).unwrap();
    let engine = Engine::dynamodb_for(Hosts::any(), FREE, Some(&data)).await.unwrap();
    let client = Client::new(&local_sdk(&engine.url()));
    Template::read().unwrap().create_table(&client, TABLE).await.unwrap();
    let started = Instant::now();
    fill(&engine, &client, events.max(OF_ONE)).await;
    println!("{events} events written in {:.0} s\n", started.elapsed().as_secs_f64());

    let last = format!("ada:msg_{}", events.max(OF_ONE) - 1);
    println!("{:<58} {:>9}", "command", "median s");
    for arguments in [
        &["events", "list", "-n", "50"][..],
        &["events", "list", "-n", "50", "--since", "7d", "--until", "6d"],
        &["events", "timeline", "big", "-n", "50"],
        &["events", "show", &last],
        &["show", &last],
        &["conversations", "list", "-n", "50"],
        &["conversations", "list", "-n", "50", "--since", "7d", "--until", "6d"],
        &["conversations", "show", "big"],
        &["events", "export", "--since", "30min"],
        &["search", "no such text", "--since", "30min"],
        &["check-release", "--dry-run", "--since", "30min"],
    ] {
        let mut times: Vec<Duration> = (0..RUNS).map(|_| run(&engine, arguments)).collect();
        times.sort_unstable();
        let median = times[RUNS / 2].as_secs_f64();
        let rate = match arguments[0] {
            "check-release" => format!("  {:.0} events a second", OF_ONE as f64 / median),
            _ => String::new(),
        };
        println!("gatehouse {:<48} {median:>9.2}{rate}", arguments.join(" "));
    }
}

/// Runs a command until it ends. Returns how long that took.
fn run(engine: &Engine, arguments: &[&str]) -> Duration {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gatehouse"));
    let command = command.args(arguments).args(["--table", TABLE, "--endpoint-url", &engine.url()]);
    let started = Instant::now();
    let output = command.output().unwrap();
    let took = started.elapsed();
    // The copies have the body of one event, so check-release finds differences.
    let is_expected = output.status.success() || arguments[0] == "check-release";
    assert!(is_expected && output.stderr.len() < 1000, "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    took
}

/// Writes the events. One is recorded, and the others are copies with other ids, subjects and times.
async fn fill(engine: &Engine, client: &Client, events: usize) {
    let now = Clock::System.now();
    let template = template(engine, client, now).await;
    let at = |n: usize| {
        let before = events - 1 - n;
        let seconds = match before.checked_sub(OF_ONE) {
            None => SPANS.0 as f64 * before as f64 / OF_ONE as f64,
            Some(others) => SPANS.0 as f64 + SPANS.1 as f64 * others as f64 / events as f64,
        };
        #[allow(clippy::cast_possible_truncation)]
        Timestamp::clamped(now.as_millis() - (seconds * 1000.0) as i64)
    };
    let item = |n: usize| {
        let (id, time) = (format!("ada:msg_{n}"), at(n).to_string());
        let is_of_one = n >= events - OF_ONE;
        let conversation = if is_of_one { "big".to_owned() } else { format!("c{}", n / OF_OTHERS) };
        let hour = time.get(..13).unwrap().to_owned();
        let changed = [
            ("event_id", id),
            ("subject", format!("ada:conversation:{conversation}")),
            ("occurred_at", time.clone()),
            ("received_at", time),
            ("source_hour", format!("ada/{hour}")),
        ];
        let mut item = template.clone();
        item.extend(changed.map(|(name, value)| (name.to_owned(), AttributeValue::S(value))));
        let put = PutRequest::builder().set_item(Some(item)).build().unwrap();
        WriteRequest::builder().put_request(put).build()
    };
    let all: Vec<usize> = (0..events).collect();
    for group in all.chunks(BATCH.0 * BATCH.1) {
        let writes = group
            .chunks(BATCH.0)
            .map(|part| client.batch_write_item().request_items(TABLE, part.iter().map(|n| item(*n)).collect()).send());
        for written in try_join_all(writes).await.unwrap() {
            assert!(written.unprocessed_items.unwrap_or_default().is_empty());
        }
    }
}

/// Records an event. Returns its item.
async fn template(engine: &Engine, client: &Client, now: Timestamp) -> Item {
    let body = bytes::Bytes::from_static(BODY.as_bytes());
    let received = Received {
        id: EventId::from_stored("ada:template".to_owned()),
        weak_identity: false,
        nonce: Nonce::random().unwrap(),
        fingerprint: Fingerprint::of(BODY),
        received_at: now,
        verified_by: "svix".to_owned(),
        body: body.clone(),
        answer: None,
        asked: None,
    };
    let event = Ada.event(&Document::read(&body).unwrap(), received);
    Store::new(&local_sdk(&engine.url()), TABLE, 90).record(&event, now).await.unwrap();
    let key = AttributeValue::S("ada:template".to_owned());
    let item = client.get_item().table_name(TABLE).key("event_id", key.clone()).send().await.unwrap().item.unwrap();
    client.delete_item().table_name(TABLE).key("event_id", key).send().await.unwrap();
    item
}
