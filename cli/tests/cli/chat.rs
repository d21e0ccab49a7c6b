//! `gatehouse chat` with the test agent of `gatehouse dev`.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

/// A running `gatehouse dev`.
struct Dev {
    process: Child,
    /// Function URL of agent-chat.
    url: String,
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn gatehouse() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gatehouse"));
    for variable in ["GATEHOUSE_SECRETS", "GATEHOUSE_CHAT_TOKEN", "RUST_LOG"] {
        command.env_remove(variable);
    }
    command
}

fn dev() -> Dev {
    let mut process = gatehouse();
    let process = process.args(["dev", "--port", "0", "--json"]).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut process = process.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let ready: Value = serde_json::from_str(&line).unwrap();
    Dev { process, url: ready["functions"]["agent-chat"].as_str().unwrap().to_owned() }
}

/// Runs `gatehouse chat` with these input lines. Returns whether it succeeded, and its output.
fn chat(dev: &Dev, agent: &str, lines: &str) -> (bool, String) {
    let mut process = gatehouse();
    let process =
        process.args(["chat", "--to", &dev.url, "--agent", agent]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut process = process.spawn().unwrap();
    process.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let output = process.wait_with_output().unwrap();
    (output.status.success(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn chat_shows_text_tool_calls_and_decisions_in_both_dialects() {
    let dev = dev();
    for agent in ["ag-kit", "ag-ui"] {
        let (succeeded, output) = chat(&dev, agent, "Hello\nWhich tool?\napprove\nyes\n");
        assert!(succeeded, "{output}");
        let parts = [
            "You said: Hello\n",
            "[clock {\"zone\":\"UTC\"} → 09:00]\n",
            "It is nine o'clock.\n",
            "[waits for a decision about ",
            "It is decided, then.\n",
        ];
        let mut rest = output.as_str();
        for part in parts {
            rest = rest.split_once(part).unwrap_or_else(|| panic!("{agent}: {part} is missing here: {rest}")).1;
        }
    }
}

#[test]
fn chat_fails_and_shows_reason_of_cut_answer_or_refusal() {
    let dev = dev();
    for (agent, text, expected) in [
        ("ag-kit", "cut", "[answer cut off: "),
        ("ag-ui", "cut", "[answer cut off: "),
        ("ag-kit", "error", "502 the agent could not begin"),
        ("nobody", "Hello", "404 no agent of this id is configured"),
    ] {
        let (succeeded, output) = chat(&dev, agent, text);
        assert!(!succeeded && output.contains(expected), "{agent}: {output}");
    }
}
