//! `gatehouse chat`, with the agent of `gatehouse dev`.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

struct Dev(Child, String);

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
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
    Dev(process, ready["functions"]["agent-chat"].as_str().unwrap().to_owned())
}

/// What is printed to these lines, and whether every turn ended well.
fn chat(dev: &Dev, agent: &str, lines: &str) -> (bool, String) {
    let mut process = gatehouse();
    let process = process.args(["chat", "--to", &dev.1, "--agent", agent]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut process = process.spawn().unwrap();
    process.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let output = process.wait_with_output().unwrap();
    (output.status.success(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn text_tool_calls_and_decisions_are_shown_in_both_dialects() {
    let dev = dev();
    for agent in ["ag-kit", "ag-ui"] {
        let (good, told) = chat(&dev, agent, "Hello\nWhich tool?\napprove\nyes\n");
        assert!(good, "{told}");
        let parts = [
            "You said: Hello\n",
            "[clock {\"zone\":\"UTC\"} → 09:00]\n",
            "It is nine o'clock.\n",
            "[waits for a decision about ",
            "It is decided, then.\n",
        ];
        let mut rest = told.as_str();
        for part in parts {
            rest = rest.split_once(part).unwrap_or_else(|| panic!("{agent}: {part} is not in its place: {told}")).1;
        }
    }
}

#[test]
fn an_answer_that_is_not_whole_is_told_and_so_is_a_refusal() {
    let dev = dev();
    for (agent, words, told) in [
        ("ag-kit", "cut", "[the answer is not whole]"),
        ("ag-ui", "cut", "[the answer is not whole]"),
        ("ag-kit", "error", "502 the agent could not begin"),
        ("nobody", "Hello", "404 no agent of this id is configured"),
    ] {
        let (good, said) = chat(&dev, agent, words);
        assert!(!good && said.contains(told), "{agent}: {said}");
    }
}
