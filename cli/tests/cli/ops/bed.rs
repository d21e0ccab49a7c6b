//! A local stack with fault injection, and the command line that runs against it.

use gatehouse_ada::Ada;
use std::ops::Deref;
use std::process::{Command, Stdio};

use gatehouse_local::{Answer, Delivery, Fault, Options, Rule, Testbed};
use gatehouse_runtime::Clock;
use serde_json::Value;
use tempfile::TempDir;

pub(crate) const MESSAGE: &str = gatehouse_ada::samples::CONVERSATION_MESSAGE;
/// Text in the body of [`MESSAGE`]. Commands print it only with --payload.
pub(crate) const MESSAGE_TEXT: &str = "Friday";
/// The subject of [`MESSAGE`].
pub(crate) const CONVERSATION: &str = "ada:conversation:673da1f0c2b94e5f8a017b11";

/// A stack that consumes the retry queue only when a test asks for it.
pub(crate) struct Bed {
    bed: Testbed,
    /// The working directory of the commands.
    pub(crate) directory: TempDir,
}

impl Deref for Bed {
    type Target = Testbed;

    fn deref(&self) -> &Testbed {
        &self.bed
    }
}

/// The exit code and the output of a command.
#[derive(Debug)]
pub(crate) struct CommandOutput {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl CommandOutput {
    /// Returns the lines of standard output, parsed as JSON.
    pub(crate) fn lines(&self) -> Vec<Value> {
        self.out.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}"))).collect()
    }

    /// Returns the only line of standard output, parsed as JSON.
    pub(crate) fn line(&self) -> Value {
        let [line] = self.lines().try_into().unwrap_or_else(|_| panic!("not one line: {self:?}"));
        line
    }
}

impl Bed {
    pub(crate) async fn start() -> Bed {
        Self::with(Options { poll: false, ..Options::default() }).await
    }

    pub(crate) async fn with(options: Options) -> Bed {
        Bed { bed: Testbed::start(options).await.unwrap(), directory: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gatehouse"));
        command.args(arguments).args(["--at", &self.url]).current_dir(self.directory.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs a command and waits for its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> CommandOutput {
        run_command(self.command(arguments))
    }

    pub(crate) async fn send(&self, message_id: &str, body: &str) -> Answer {
        Delivery::of(&Ada, message_id, body.to_owned(), Clock::System.now()).send(&self.url).await.unwrap()
    }

    /// Makes DynamoDB reject an event permanently.
    pub(crate) fn poison(&self, event_id: &str) {
        self.dynamodb.add_rule(Rule::every(Fault::INVALID).on("PutItem").containing(event_id));
    }

    /// Makes a dead letter of [`MESSAGE`] for each message id, and then removes the fault that caused them.
    pub(crate) async fn make_dead_letters(&self, message_ids: &[&str]) {
        for id in message_ids {
            self.poison(&format!("\"ada:{id}\""));
            assert_eq!(self.send(id, MESSAGE).await.outcome(), "queued");
        }
        while self.take_batch_within(std::time::Duration::from_secs(0)).await.unwrap().received > 0 {}
        self.dynamodb.clear_rules();
    }
}

pub(crate) fn run_command(mut command: Command) -> CommandOutput {
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    CommandOutput { code: output.status.code().unwrap_or(-1), out: text(&output.stdout), err: text(&output.stderr) }
}
