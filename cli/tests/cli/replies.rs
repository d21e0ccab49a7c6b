//! `gatehouse replies`.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs a command in the root of the repository. Returns whether it succeeded, and its output.
fn gatehouse(arguments: &[&str]) -> (bool, String) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let output = Command::new(env!("CARGO_BIN_EXE_gatehouse")).args(arguments).current_dir(root).output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.success(), text)
}

fn file(folder: &tempfile::TempDir, text: &str) -> PathBuf {
    let path = folder.path().join("mine.json");
    std::fs::write(&path, text).unwrap();
    path
}

const DEVELOPMENT: &str = "functions/replies.dev.json";

#[test]
fn check_counts_rules_and_names_rule_and_member_of_errors() {
    assert_eq!(gatehouse(&["replies", "check", DEVELOPMENT]), (true, format!("{DEVELOPMENT}: 6 rules\n")));
    let (is_valid, output) = gatehouse(&["replies", "check"]);
    assert!(is_valid && output.starts_with("functions/replies.json: "), "{output}");

    let folder = tempfile::tempdir().unwrap();
    let wrong = file(&folder, r#"{"client":[{"when":{"type":"hang"},"reply":{"say":"bye"}}]}"#);
    let (is_valid, output) = gatehouse(&["replies", "check", wrong.to_str().unwrap()]);
    assert!(!is_valid && output.contains("mine.json: client rule 1: reply: say: unknown field `say`"), "{output}");
    let doubtful = file(&folder, r#"{"client":[{"when":{"type":"hangs"},"act":{"type":"end-call"}}]}"#);
    let (is_valid, output) = gatehouse(&["replies", "check", doubtful.to_str().unwrap()]);
    assert!(is_valid && output.contains("Vapi documents no client message of the type hangs"), "{output}");
    assert!(gatehouse(&["replies", "check", "no-such-file"]).1.contains("no-such-file cannot be read"));
}

#[test]
fn try_shows_applied_rules_and_answer_for_each_channel() {
    let try_message = |message: &str| gatehouse(&["replies", "try", DEVELOPMENT, "--message", message]);
    let (succeeded, output) = try_message("shared/vendors/vapi/samples/workflow-node-started.json");
    let expected = "workflow.node.started, as a client message: client rule 1\n  answer  {\"";
    assert!(succeeded && output.starts_with(expected), "{output}");
    assert_eq!(output.lines().count(), 2, "{output}");

    let (_, output) = try_message("shared/vendors/vapi/samples/tool-calls.json");
    let (client, server) = output.split_once("tool-calls, as a server message: server rule 3\n").unwrap();
    assert_eq!(client, "tool-calls, as a client message: no rule applies\n  answer  {}\n");
    assert!(server.contains("Berth C14 is free on Friday."), "{output}");

    let folder = tempfile::tempdir().unwrap();
    let hang = file(&folder, r#"{"message":{"type":"hang"}}"#);
    let arguments = ["replies", "try", DEVELOPMENT, "--as", "server", "--message", hang.to_str().unwrap()];
    let (_, output) = gatehouse(&arguments);
    assert!(output.contains("server rule 5") && output.contains("act     {\"type\":\"say\""), "{output}");
    assert!(output.contains("not done in AWS: the message has no control URL"), "{output}");

    let (succeeded, output) = try_message("shared/vendors/ada/samples/end-user-updated.json");
    assert!(succeeded && output.contains("no rule applies"), "{output}");
    for (body, error) in
        [("not json", "line 1"), ("[]", "an array"), ("{}", "not a message of Vapi, because it has no type")]
    {
        let (succeeded, output) = try_message(file(&folder, body).to_str().unwrap());
        assert!(!succeeded && output.contains(error), "{output}");
    }
    let voice = file(&folder, r#"{"type":"voice-request"}"#);
    assert!(try_message(voice.to_str().unwrap()).1.contains("answer  501"));
    let forged = file(&folder, r#"{"type":"a\u001b[31m\nserver rule 9"}"#);
    assert!(try_message(forged.to_str().unwrap()).1.starts_with(r#""a\u{1b}[31m\nserver rule 9", as a client"#));
}

#[test]
fn dev_does_not_start_with_invalid_rules() {
    let folder = tempfile::tempdir().unwrap();
    let wrong = file(&folder, r#"{"server":[{"when":{"type":"hang"},"reply":{}}]}"#);
    let (started, output) = gatehouse(&["dev", "--port", "0", "--replies", wrong.to_str().unwrap()]);
    assert!(!started && output.contains("mine.json: server rule 1: reply: Vapi "), "{output}");
}
