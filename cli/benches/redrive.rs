//! Measures a redrive of many dead letters that is interrupted half way and then resumed.
//!
//! `cargo bench -p gatehouse --bench redrive [-- LETTERS]` (10,000 by default). Commands, functions and engines run on
//! the same machine. Fails if a letter is lost, recorded twice, or missing in the receipt.
#![allow(clippy::unwrap_used, clippy::cast_precision_loss, missing_docs)]

use std::collections::BTreeMap;
use std::process::{Command, Output, Stdio};

use aws_sdk_sqs::types::{QueueAttributeName, SendMessageBatchRequestEntry};
use gatehouse_inbox::queue::to_message;
use gatehouse_local::{Options, Testbed};
use gatehouse_payload::event::Received;
use gatehouse_payload::{EventId, Fingerprint, Nonce};
use gatehouse_runtime::Clock;
use serde_json::Value;
use tokio::time::Instant;

const MESSAGE: &str = gatehouse_ada::samples::CONVERSATION_MESSAGE;

#[tokio::main]
async fn main() {
    let letters = std::env::args().filter_map(|argument| argument.parse().ok()).next().unwrap_or(10_000);
    let bed = Testbed::start(Options::default()).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let command = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gatehouse"));
        command.args(arguments).args(["--at", &bed.url, "--cost"]).current_dir(directory.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    fill(&bed, letters).await;

    let started = Instant::now();
    let output = command(&["dead-letters", "list", "--json"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), letters);
    println!("list of {letters}: {:.1} s; {}", started.elapsed().as_secs_f64(), cost(&output));

    let started = Instant::now();
    let rate = "500/s";
    let redrive = ["dead-letters", "redrive", "--all", "--rate", rate, "--receipt", "receipt.jsonl"];
    let running = command(&redrive).spawn().unwrap();
    while count(&bed, &bed.dead_letter_queue).await > letters / 2 || !directory.path().join("receipt.jsonl").exists() {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    rustix::process::kill_process(rustix::process::Pid::from_child(&running), rustix::process::Signal::INT).unwrap();
    let output = running.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let left = count(&bed, &bed.dead_letter_queue).await;
    println!("interrupted after {:.1} s at {rate}: {left} left; {}", started.elapsed().as_secs_f64(), cost(&output));
    print!("{}", String::from_utf8_lossy(&output.stdout));

    let started = Instant::now();
    let resume = ["dead-letters", "redrive", "--resume", "receipt.jsonl", "--wait", "600"];
    let output = command(&resume).output().unwrap();
    println!("resumed for {:.1} s; {}", started.elapsed().as_secs_f64(), cost(&output));
    print!("{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(output.status.code(), Some(0), "{output:?}");

    let receipt = std::fs::read_to_string(directory.path().join("receipt.jsonl")).unwrap();
    let mut outcomes = BTreeMap::<String, usize>::new();
    for line in receipt.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        *outcomes.entry(line["outcome"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    assert_eq!(outcomes, BTreeMap::from([("recorded".to_owned(), letters)]));
    let mut scan = bed.dynamodb_client().scan().table_name(&bed.table).into_paginator().items().send();
    let mut items = 0;
    while let Some(item) = scan.next().await {
        item.unwrap();
        items += 1;
    }
    assert_eq!(items, letters, "each letter is recorded once");
    println!("{items} records, one for each letter");
}

fn cost(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    text.lines().find_map(|line| line.strip_prefix("cost: ")).unwrap_or(&text).to_owned()
}

/// Sends `letters` messages to the dead-letter queue.
async fn fill(bed: &Testbed, letters: usize) {
    let sqs = bed.sqs_client();
    let numbers: Vec<usize> = (0..letters).collect();
    for batch in numbers.chunks(10) {
        let entry = |n: &usize| {
            let received = Received {
                id: EventId::new(&["ada"], &[&format!("msg_{n}")]),
                weak_identity: false,
                nonce: Nonce::random().unwrap(),
                fingerprint: Fingerprint::of(MESSAGE),
                received_at: Clock::System.now(),
                verified_by: "svix".to_owned(),
                body: MESSAGE.into(),
                answer: None,
                asked: None,
            };
            let entry = SendMessageBatchRequestEntry::builder().id(n.to_string());
            entry.message_body(to_message(&received).unwrap()).build().unwrap()
        };
        let entries = batch.iter().map(entry).collect();
        sqs.send_message_batch().queue_url(&bed.dead_letter_queue).set_entries(Some(entries)).send().await.unwrap();
    }
}

async fn count(bed: &Testbed, queue: &str) -> usize {
    let names =
        [QueueAttributeName::ApproximateNumberOfMessages, QueueAttributeName::ApproximateNumberOfMessagesNotVisible];
    let get = bed.sqs_client().get_queue_attributes().queue_url(queue).set_attribute_names(Some(names.to_vec()));
    let attributes = get.send().await.unwrap().attributes.unwrap();
    names.iter().map(|name| attributes[name].parse::<usize>().unwrap()).sum()
}
