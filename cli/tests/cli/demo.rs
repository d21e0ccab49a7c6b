//! `gatehouse demo`.

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
fn demo_succeeds() {
    let (output, text) = gatehouse(&["demo"]);
    let end = "Every outcome was the expected one.\nNext: gatehouse dev\n";
    assert!(output.status.success() && text.ends_with(end), "{text}");
}

#[test]
fn sabotaged_step_alone_fails_and_so_does_demo() {
    let (output, text) = gatehouse(&["demo", "--break", "conflict"]);
    assert_eq!(output.status.code(), Some(1));
    let failed: Vec<&str> = text.lines().filter(|line| line.ends_with("FAILED")).collect();
    assert!(failed.len() == 1 && failed[0].starts_with("conflict "), "{text}");
}

#[test]
fn unknown_step_is_refused_with_list_of_steps() {
    let (output, text) = gatehouse(&["demo", "--break", "nonsense"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text.contains("lost-answer"), "{text}");
}

#[test]
fn demo_logs_each_request_once_and_never_shows_payloads() {
    let word = "c0ffeec0ffee";
    let output = Command::new(env!("CARGO_BIN_EXE_gatehouse"))
        .args(["demo", "--sentinel", word])
        .env("RUST_LOG", "trace")
        .output()
        .unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}");

    // Twelve bytes are encoded as the same sixteen characters at every multiple of three bytes in a key.
    let secrets = ["whsec_", word, &BASE64.encode(word.as_bytes())];
    for line in text.lines() {
        assert!(!secrets.iter().any(|secret| line.contains(secret)), "{line}");
    }

    let lines: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let is_request = |line: &&Value| line["message"] == "request" || line["message"] == "turn";
    let requests: Vec<&Value> = lines.iter().filter(is_request).collect();
    let summary = text.lines().find_map(|line| line.split_once(" deliveries, ")).unwrap();
    assert_eq!(requests.len(), summary.0.parse::<usize>().unwrap());
    let ids: BTreeSet<&str> = requests.iter().filter_map(|line| line["request_id"].as_str()).collect();
    assert_eq!(ids.len(), requests.len(), "request ids are unique");
    let refusals: Vec<&Value> =
        lines.iter().filter(|line| line["type"].is_string() && line["status"].is_u64()).collect();
    assert!(refusals.len() >= 13, "{}", refusals.len());
    for refusal in refusals {
        assert!(ids.contains(refusal["request_id"].as_str().unwrap()), "{refusal}");
    }
}
