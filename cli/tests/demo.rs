//! `gatehouse demo`, as a user runs it.
#![allow(clippy::unwrap_used, missing_docs)]

use std::process::{Command, Output};

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
