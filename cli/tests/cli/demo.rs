//! `gatehouse demo`, as a user runs it.

use std::collections::BTreeSet;
use std::process::{Command, Output};

use data_encoding::BASE64;
use serde_json::Value;

fn gatehouse(arguments: &[&str]) -> (Output, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_gatehouse")).args(arguments).output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output, text)
}

#[test]
fn the_demo_ends_as_expected() {
    let (output, text) = gatehouse(&["demo"]);
    assert!(output.status.success() && text.ends_with("Every outcome was the expected one.\n"), "{text}");
}

#[test]
fn a_sabotaged_step_fails_alone_and_the_demo_with_it() {
    let (output, text) = gatehouse(&["demo", "--break", "conflict"]);
    assert_eq!(output.status.code(), Some(1));
    let failed: Vec<&str> = text.lines().filter(|line| line.ends_with("FAILED")).collect();
    assert!(failed.len() == 1 && failed[0].starts_with("conflict "), "{text}");
}

#[test]
fn an_unknown_step_is_refused_with_the_known_ones() {
    let (output, text) = gatehouse(&["demo", "--break", "nonsense"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text.contains("lost-answer"), "{text}");
}

#[test]
fn whatever_a_whole_day_brings_each_request_has_its_line_and_no_line_or_answer_shows_what_was_sent() {
    let word = "c0ffeec0ffee";
    let output = Command::new(env!("CARGO_BIN_EXE_gatehouse"))
        .args(["demo", "--sentinel", word])
        .env("RUST_LOG", "trace")
        .output()
        .unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}");

    // Twelve bytes are sixteen characters of base64, wherever in a key they stand.
    let hidden = ["whsec_", word, &BASE64.encode(word.as_bytes())];
    for line in text.lines() {
        assert!(!hidden.iter().any(|hidden| line.contains(hidden)), "{line}");
    }

    let lines: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let of_requests = |line: &&Value| line["message"] == "request" || line["message"] == "turn";
    let requests: Vec<&Value> = lines.iter().filter(of_requests).collect();
    let summary = text.lines().find_map(|line| line.split_once(" deliveries, ")).unwrap();
    assert_eq!(requests.len(), summary.0.parse::<usize>().unwrap());
    let ids: BTreeSet<&str> = requests.iter().filter_map(|line| line["request_id"].as_str()).collect();
    assert_eq!(ids.len(), requests.len(), "each has an id of its own");
    let refusals: Vec<&Value> =
        lines.iter().filter(|line| line["type"].is_string() && line["status"].is_u64()).collect();
    assert!(refusals.len() >= 13, "{}", refusals.len());
    for refusal in refusals {
        assert!(ids.contains(refusal["request_id"].as_str().unwrap()), "{refusal}");
    }
}
