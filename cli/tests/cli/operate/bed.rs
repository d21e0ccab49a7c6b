//! A stack with faults to inject, and the command line beside it.

use std::ops::Deref;
use std::process::{Command, Stdio};

use gatehouse_inbox::Clock;
use gatehouse_local::{Answer, Delivery, Fault, Options, Rule, Testbed};
use serde_json::Value;
use tempfile::TempDir;

pub(crate) const MESSAGE: &str = include_str!("../../../../tests/fixtures/ada/conversation-message.json");
/// A text of that message, which no command shows unless it is asked to.
pub(crate) const SAID: &str = "Friday";
/// Whom it is about.
pub(crate) const CONVERSATION: &str = "ada:conversation:673da1f0c2b94e5f8a017b11";

/// A stack whose event source takes batches when told.
pub(crate) struct Bed {
    bed: Testbed,
    /// Where commands run.
    pub(crate) directory: TempDir,
}

impl Deref for Bed {
    type Target = Testbed;

    fn deref(&self) -> &Testbed {
        &self.bed
    }
}

/// What a command came to.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ended {
    /// Its output's lines as JSON.
    pub(crate) fn lines(&self) -> Vec<Value> {
        self.out.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"))).collect()
    }

    /// Its one line.
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

    /// Runs a command to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        ended(self.command(arguments))
    }

    pub(crate) async fn send(&self, message_id: &str, body: &str) -> Answer {
        Delivery::ada(message_id, body.to_owned(), Clock::System.now()).send(&self.url).await.unwrap()
    }

    /// Lets DynamoDB refuse an event for good.
    pub(crate) fn poison(&self, event_id: &str) {
        self.dynamodb.fail(Rule::every(Fault::INVALID).on("PutItem").containing(event_id));
    }

    /// Makes dead letters of the message, by these ids, and heals what they died of.
    pub(crate) async fn kill(&self, message_ids: &[&str]) {
        for id in message_ids {
            self.poison(&format!("\"ada:{id}\""));
            assert_eq!(self.send(id, MESSAGE).await.outcome(), "queued");
        }
        while self.take_batch_within(std::time::Duration::from_secs(0)).await.unwrap().received > 0 {}
        self.dynamodb.heal();
    }
}

pub(crate) fn ended(mut command: Command) -> Ended {
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ended { code: output.status.code().unwrap_or(-1), out: text(&output.stdout), err: text(&output.stderr) }
}
