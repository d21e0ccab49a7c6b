//! Runs `gatehouse`, and `gatehouse dev`, as processes.

use std::io::{BufRead, BufReader, Read, empty};
use std::process::{Child, Command, Output, Stdio};

use gatehouse_ada::Ada;
use gatehouse_inbox::Store;
use gatehouse_inbox::store::Record;
use gatehouse_local::{Delivery, local_sdk};
use gatehouse_payload::EventId;
use gatehouse_runtime::Clock;
use rustix::process::Signal;
use serde_json::Value;

/// A signing secret that no vendor has.
pub(crate) const WRONG_SECRET: &str = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

/// Returns the command, without the environment of the tests.
pub(crate) fn gatehouse() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gatehouse"));
    // The signing secrets of `listen` are written there.
    command.env("XDG_STATE_HOME", env!("CARGO_TARGET_TMPDIR"));
    for variable in ["GATEHOUSE_SECRETS", "AWS_ENDPOINT_URL_DYNAMODB", "AWS_ENDPOINT_URL_SQS", "RUST_LOG"] {
        command.env_remove(variable);
    }
    command
}

/// Runs a command until it ends. Returns its output, and standard output and standard error as one text.
pub(crate) fn run(arguments: &[&str], environment: &[(&str, &str)]) -> (Output, String) {
    let output = gatehouse().args(arguments).envs(environment.iter().copied()).output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output, text)
}

/// A running `gatehouse dev --json`.
pub(crate) struct Dev {
    pub(crate) process: Running,
    /// Standard output after the line `ready`.
    pub(crate) stdout: Box<dyn BufRead + Send>,
    pub(crate) ready: Value,
}

impl Dev {
    /// Starts it with free ports.
    pub(crate) fn start(arguments: &[&str], environment: &[(&str, &str)]) -> Dev {
        Dev::start_with(&[&["--port", "0"], arguments].concat(), environment)
    }

    pub(crate) fn start_with(arguments: &[&str], environment: &[(&str, &str)]) -> Dev {
        let mut process = gatehouse();
        let process = process.args(["dev", "--json"]).args(arguments).envs(environment.iter().copied());
        // Standard error is read only by `lines`.
        let mut process = process.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        if line.is_empty() {
            let mut error = String::new();
            process.stderr.take().unwrap().read_to_string(&mut error).unwrap();
            panic!("gatehouse dev did not start: {error}");
        }
        Dev { process: Running(process), stdout: Box::new(stdout), ready: serde_json::from_str(&line).unwrap() }
    }

    pub(crate) fn text(&self, member: &str) -> &str {
        self.ready[member].as_str().unwrap()
    }

    /// `http://127.0.0.1:<port>`
    pub(crate) fn base(&self) -> &str {
        let url = self.ready["functions"]["conversation-webhooks"].as_str().unwrap();
        url.split("/lambda-url").next().unwrap()
    }

    pub(crate) async fn record(&self, event_id: &str) -> Option<Record> {
        let store = Store::new(&local_sdk(self.text("dynamodb")), self.text("table"), 90);
        store.get(&EventId::from_stored(event_id.to_owned()), Clock::System.now()).await.unwrap()
    }

    /// Returns the lines of events as they are written.
    pub(crate) fn events(&mut self) -> impl Iterator<Item = Value> + use<> {
        let stdout = std::mem::replace(&mut self.stdout, Box::new(empty()));
        stdout.lines().map_while(Result::ok).map(|line| serde_json::from_str(&line).unwrap())
    }

    /// Returns the lines of standard error as they are written.
    pub(crate) fn lines(&mut self) -> std::sync::mpsc::Receiver<String> {
        let stderr = BufReader::new(self.process.0.stderr.take().unwrap());
        let (sender, lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        lines
    }

    /// Sends a signal and waits for the end of the process. Returns its exit code.
    pub(crate) fn stop(&mut self, signal: Signal) -> Option<i32> {
        crate::signal(&self.process.0, signal);
        self.process.0.wait().unwrap().code()
    }
}

/// A process that is killed with SIGKILL when dropped.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Returns a delivery of an Ada message.
pub(crate) fn ada(message_id: &str) -> Delivery {
    Delivery::of(&Ada, message_id, gatehouse_ada::samples::CONVERSATION_MESSAGE, Clock::System.now())
}
