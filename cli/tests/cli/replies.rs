//! `gatehouse replies`, as a user runs it.

use std::path::{Path, PathBuf};
use std::process::Command;

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
fn a_right_file_is_counted_and_a_wrong_one_told_by_rule_and_member() {
    assert_eq!(gatehouse(&["replies", "check", DEVELOPMENT]), (true, format!("{DEVELOPMENT}: 6 rules\n")));
    let (right, told) = gatehouse(&["replies", "check"]);
    assert!(right && told.starts_with("functions/replies.json: "), "{told}");

    let folder = tempfile::tempdir().unwrap();
    let wrong = file(&folder, r#"{"client":[{"when":{"type":"hang"},"reply":{"say":"bye"}}]}"#);
    let (right, told) = gatehouse(&["replies", "check", wrong.to_str().unwrap()]);
    assert!(!right && told.contains("mine.json: client rule 1: reply: say: unknown field `say`"), "{told}");
    let doubtful = file(&folder, r#"{"client":[{"when":{"type":"hangs"},"act":{"type":"end-call"}}]}"#);
    let (right, told) = gatehouse(&["replies", "check", doubtful.to_str().unwrap()]);
    assert!(right && told.contains("Vapi documents no client message of the type hangs"), "{told}");
    assert!(gatehouse(&["replies", "check", "no-such-file"]).1.contains("no-such-file cannot be read"));
}

#[test]
fn trying_a_message_shows_which_rule_says_what() {
    let try_message = |message: &str| gatehouse(&["replies", "try", DEVELOPMENT, "--message", message]);
    let (tried, told) = try_message("tests/fixtures/vapi/workflow-node-started.json");
    assert!(
        tried && told.starts_with("workflow.node.started, as a client message: client rule 1\n  answer  {\""),
        "{told}"
    );
    assert_eq!(told.lines().count(), 2, "{told}");

    let (_, told) = try_message("tests/fixtures/vapi/tool-calls.json");
    let (client, server) = told.split_once("tool-calls, as a server message: server rule 3\n").unwrap();
    assert_eq!(client, "tool-calls, as a client message: no rule applies\n  answer  {}\n");
    assert!(server.contains("Berth C14 is free on Friday."), "{told}");

    let folder = tempfile::tempdir().unwrap();
    let hang = file(&folder, r#"{"message":{"type":"hang"}}"#);
    let arguments = ["replies", "try", DEVELOPMENT, "--as", "server", "--message", hang.to_str().unwrap()];
    let (_, told) = gatehouse(&arguments);
    assert!(told.contains("server rule 5") && told.contains("act     {\"type\":\"say\""), "{told}");
    assert!(told.contains("not done in AWS: the message has no control URL"), "{told}");

    let (tried, told) = try_message("tests/fixtures/ada/end-user-updated.json");
    assert!(tried && told.contains("no rule applies"), "{told}");
    for (body, why) in
        [("not json", "line 1"), ("[]", "an array"), ("{}", "it is no message of Vapi's: it has no type")]
    {
        let (tried, told) = try_message(file(&folder, body).to_str().unwrap());
        assert!(!tried && told.contains(why), "{told}");
    }
    let voice = file(&folder, r#"{"type":"voice-request"}"#);
    assert!(try_message(voice.to_str().unwrap()).1.contains("answer  501"));
    let forged = file(&folder, r#"{"type":"a\u001b[31m\nserver rule 9"}"#);
    assert!(try_message(forged.to_str().unwrap()).1.starts_with(r#""a\u{1b}[31m\nserver rule 9", as a client"#));
}

#[test]
fn dev_refuses_to_start_with_a_wrong_file() {
    let folder = tempfile::tempdir().unwrap();
    let wrong = file(&folder, r#"{"server":[{"when":{"type":"hang"},"reply":{}}]}"#);
    let (started, told) = gatehouse(&["dev", "--port", "0", "--replies", wrong.to_str().unwrap()]);
    assert!(!started && told.contains("mine.json: server rule 1: reply: Vapi expects no answer"), "{told}");
}
