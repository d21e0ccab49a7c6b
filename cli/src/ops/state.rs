//! `gatehouse sessions`, `conversations` and `calls`: the state of a subject, computed from its events.

use clap::{Args, Subcommand};
use gatehouse_inbox::store::{Content, Record};
use gatehouse_local::Error;
use gatehouse_payload::Subject;
use gatehouse_timeline::{Conversation, Message, State, fold};
use gatehouse_vendor::Source;
use gatehouse_vendors::{SOURCES, of_vendor};
use serde_json::{Value, json};

use super::deployment::Deployment;
use super::listing::contents;
use super::output::{KeyValues, OutputArgs, ShowArgs, counted, escape_control, pretty_json, print_json};
use super::{ExitStatus, NOT_FOUND, progress, subjects};
use crate::shell::note;

mod list;

pub(crate) const SESSIONS: &str = "\
Examples:
  gatehouse sessions show 7d1c1f6e-57d8-4b62-9d0e-0a5a0c1be9f3
  gatehouse sessions list --open --since 24h";
pub(crate) const CONVERSATIONS: &str = "\
Examples:
  gatehouse conversations show 673da1f0c2b94e5f8a017b11
  gatehouse conversations show 673da1f0c2b94e5f8a017b11 --payload
  gatehouse conversations list --open --since 7d";
pub(crate) const CALLS: &str = "\
Examples:
  gatehouse calls show 2f1f3d3e-0f7c-4a54-a0a3-9a2f4b0c8d11
  gatehouse calls show vapi:chat:… --payload
  gatehouse calls list -n 20

The state in a list is that of the last ten events. Takes the queries of `events list`, one for each row, and one read
unit for each of up to twelve events of a row.";

#[derive(Debug, Args)]
pub(crate) struct StateArgs {
    /// The vendor's id, or a whole subject
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    show: ShowArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Sessions {
    /// Show the state of an agntix session and its missing events.
    #[command(after_help = SESSIONS)]
    Show(StateArgs),
    /// List the sessions whose latest event is in a time span, latest first.
    #[command(after_help = SESSIONS)]
    List(list::Arguments),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Conversations {
    /// Show the state of a conversation of Ada or of a chat, and its missing events.
    #[command(after_help = CONVERSATIONS)]
    Show(StateArgs),
    /// List the conversations whose latest event is in a time span, latest first.
    #[command(after_help = CONVERSATIONS)]
    List(list::Arguments),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Calls {
    /// Show the state of a Vapi call and its missing events.
    #[command(after_help = CALLS)]
    Show(StateArgs),
    /// List the calls, chats and sessions of Vapi whose latest event is in a time span, latest first.
    #[command(after_help = CALLS)]
    List(list::Arguments),
}

pub(crate) async fn sessions(command: Sessions) -> ExitStatus {
    match command {
        Sessions::Show(arguments) => show(arguments, "sessions").await,
        Sessions::List(arguments) => list::list(arguments, "sessions").await,
    }
}

pub(crate) async fn conversations(command: Conversations) -> ExitStatus {
    match command {
        Conversations::Show(arguments) => show(arguments, "conversations").await,
        Conversations::List(arguments) => list::list(arguments, "conversations").await,
    }
}

pub(crate) async fn calls(command: Calls) -> ExitStatus {
    match command {
        Calls::Show(arguments) => show(arguments, "calls").await,
        Calls::List(arguments) => list::list(arguments, "calls").await,
    }
}

/// The state of a session, a conversation or a call, as it is printed.
struct Summary {
    subject: Subject,
    /// Absent for a subject that has no end, such as an end user.
    state: Option<State>,
    folded: Conversation,
    analysis: Option<Value>,
}

impl Summary {
    fn of(records: &[Record], subject: Subject) -> Summary {
        let mut folded = fold(records);
        let stateful = of_vendor(subject.vendor()).map(|source| source.profile().stateful).unwrap_or_default();
        let state = stateful.contains(&subject.kind()).then_some(folded.state);
        let analysis = folded.analysis.take().and_then(|text| serde_json::from_str(&text).ok());
        Summary { subject, state, folded, analysis }
    }

    /// Returns the first value of the analysis at one of `pointers`, as text.
    fn analysis_text(&self, pointers: &[&str]) -> Option<String> {
        let analysis = self.analysis.as_ref()?;
        let found = pointers.iter().find_map(|pointer| analysis.pointer(pointer).filter(|value| !value.is_null()))?;
        Some(found.as_str().map_or_else(|| found.to_string(), str::to_owned))
    }

    fn to_json(&self, with_payload: bool) -> Value {
        let mut object = json!({
            "subject": self.subject.as_str(), "state": self.state.map(|state| state.to_string()),
            "started_at": self.folded.started_at, "ended_at": self.folded.ended_at, "ended_by": self.folded.ended_by,
            "seconds": self.folded.seconds(), "number": self.folded.number, "cost": self.folded.cost,
            "agent": self.folded.agent,
            "recording_url": self.folded.recording_url, "intent": self.analysis_text(&INTENT),
            "resolution": self.analysis_text(&RESOLUTION), "sentiment": self.analysis_text(&SENTIMENT),
            "messages": self.folded.messages.len(), "missing": self.folded.missing, "events": self.folded.events,
            "conflicts": self.folded.conflicts,
        });
        if with_payload {
            let message = |message: &Message| json!({"at": message.at, "role": message.role, "text": message.text});
            object["analysis"] = self.analysis.clone().unwrap_or_default();
            object["transcript"] = self.folded.messages.iter().map(message).collect();
        }
        object
    }

    /// Adds the summary as text. `flags` selects the deployment in the commands that it suggests.
    fn describe(&self, lines: &mut KeyValues, with_payload: bool, flags: &str) {
        lines.add("subject", self.subject.as_str());
        lines.add("state", self.state.map_or_else(|| "unknown".to_owned(), |state| state.to_string()));
        lines.add_some("started", self.folded.started_at.map(|at| at.to_string()));
        lines.add_some("ended", self.folded.ended_at.map(|at| at.to_string()));
        lines.add_some("ended by", self.folded.ended_by.as_ref());
        lines.add_some(
            "duration",
            self.folded.seconds().map(|seconds| format!("{} min {} s", seconds / 60, seconds % 60)),
        );
        lines.add_some("number", self.folded.number.as_ref());
        lines.add_some("agent", self.folded.agent.as_ref());
        lines.add_some("cost", self.folded.cost.as_ref().map(|cost| format!("${cost}")));
        lines.add_some("intent", self.analysis_text(&INTENT));
        lines.add_some("resolution", self.analysis_text(&RESOLUTION));
        lines.add_some("sentiment", self.analysis_text(&SENTIMENT));
        lines.add_some("recording", self.folded.recording_url.as_ref());
        lines.add("events", self.folded.events.to_string());
        if self.folded.conflicts > 0 {
            let (conflicts, subject) = (self.folded.conflicts, &self.subject);
            lines.add("conflicts", format!("{conflicts}; to list them: gatehouse events timeline {subject}{flags}"));
        }
        for missing in &self.folded.missing {
            lines.add("missing", missing);
        }
        if with_payload {
            self.add_content(lines);
        } else {
            let messages = counted(self.folded.messages.len(), "message");
            let analysis = if self.analysis.is_some() { " and an analysis" } else { "" };
            lines.add("content", format!("{messages}{analysis}; pass --payload to show the content"));
        }
    }

    fn add_content(&self, lines: &mut KeyValues) {
        lines.add_some("summary", self.analysis_text(&SUMMARY));
        if let Some(data) = self.analysis_text(&EXTRACTED) {
            lines.block("extracted data", &pretty_json(&data));
        }
        let message = |message: &Message| {
            let (role, text) = (message.role.as_deref().unwrap_or("-"), message.text.as_deref().unwrap_or("-"));
            format!("{}  {role}: {}", message.at, escape_control(text))
        };
        if !self.folded.messages.is_empty() {
            lines.block("transcript", &self.folded.messages.iter().map(message).collect::<Vec<_>>().join("\n"));
        }
    }
}

// JSON pointers into an analysis. Where there are two, the first is of agntix and the second of Vapi.
const INTENT: [&str; 1] = ["/intent/conversation/intent"];
const RESOLUTION: [&str; 2] = ["/resolution/classification", "/successEvaluation"];
const SENTIMENT: [&str; 1] = ["/sentiment/conversation/sentiment"];
const SUMMARY: [&str; 1] = ["/summary"];
const EXTRACTED: [&str; 2] = ["/extractedData", "/structuredData"];

/// Shows the subject that `command` is for, or any other subject whose whole name is given.
async fn show(arguments: StateArgs, command: &str) -> ExitStatus {
    let StateArgs { id, show: ShowArgs { payload, output, target } } = arguments;
    let deployment = target.find().await?;
    let candidates = match subjects::parse(&id) {
        Some(subject) => vec![subject],
        None => subjects::usual(&id, sources_of(command).map(|source| source.profile())),
    };
    for subject in &candidates {
        if let Some(code) = show_if_found(&deployment, output, subject, payload, None).await? {
            return Ok(code);
        }
    }
    let subjects: Vec<&str> = candidates.iter().map(Subject::as_str).collect();
    let (subjects, flags) = (subjects.join(" or "), &deployment.flags);
    note(format!("no events about {subjects}; gatehouse {command} list{flags} shows the ids"));
    Ok(NOT_FOUND)
}

/// Shows a subject, if it has events. `kind` is what an id turned out to be. Returns the exit code.
pub(crate) async fn show_if_found(
    deployment: &Deployment,
    output: OutputArgs,
    subject: &Subject,
    payload: bool,
    kind: Option<&str>,
) -> Result<Option<u8>, Error> {
    let records = records_of(deployment, subject).await?;
    if records.is_empty() {
        return Ok(None);
    }
    let summary = Summary::of(&records, subject.clone());
    if output.json {
        let mut object = summary.to_json(payload);
        if let Some(kind) = kind {
            object["kind"] = kind.into();
        }
        print_json(&object)?;
    } else {
        let mut lines = KeyValues::default();
        lines.add_some("kind", kind);
        summary.describe(&mut lines, payload, &deployment.flags);
        lines.print()?;
    }
    Ok(Some(0))
}

/// Reads all records of a subject, several batches at the same time. Notes the damaged ones on standard error.
async fn records_of(deployment: &Deployment, subject: &Subject) -> Result<Vec<Record>, Error> {
    let keys = deployment.store.keys(subject).await?;
    let bar = progress("reading events");
    bar.set_length(keys.len() as u64);
    let mut records = Vec::with_capacity(keys.len());
    for keys in keys.chunks(PROGRESS_EVERY) {
        for (key, content) in contents(deployment, keys.to_vec()).await? {
            match content {
                Content::Record(record)
                    if record.event.subject.iter().any(|of| subject.names().any(|name| name == *of)) =>
                {
                    records.push(*record);
                }
                Content::Damaged(damaged) => note(format!("{key}: {damaged}")),
                // The index may still list an item under its former subject.
                Content::Record(_) | Content::Empty | Content::Erased(_) => {}
            }
        }
        bar.inc(keys.len() as u64);
    }
    bar.finish_and_clear();
    Ok(records)
}

/// The number of records after which the progress is shown.
const PROGRESS_EVERY: usize = 400;

/// Returns the sources whose subjects a command shows.
fn sources_of(command: &str) -> impl Iterator<Item = &'static dyn Source> {
    SOURCES.into_iter().filter(move |source| source.profile().command == Some(command))
}

#[cfg(test)]
mod tests {
    use gatehouse_payload::time::Timestamp;

    use super::*;

    fn text_of(with_payload: bool, flags: &str) -> String {
        let mut lines = KeyValues::default();
        summary().describe(&mut lines, with_payload, flags);
        lines.plain_text()
    }

    fn summary() -> Summary {
        let at = Timestamp::parse("2026-11-21T17:00:00Z").unwrap();
        let message = Message { at, role: Some("user".to_owned()), text: Some("hello".to_owned()) };
        Summary {
            subject: Subject::new("vapi", "call", "c1"),
            state: Some(State::Closed),
            folded: Conversation {
                started_at: Some(at),
                ended_at: Some(at.plus_secs(61)),
                cost: Some("0.12".to_owned()),
                messages: vec![message],
                missing: vec!["end-of-call-report".to_owned()],
                events: 3,
                conflicts: 1,
                ..Conversation::default()
            },
            analysis: Some(json!({"summary": "greeted", "successEvaluation": true})),
        }
    }

    #[test]
    fn summary_text_has_content_only_with_payload() {
        let text = text_of(false, " --stack x");
        for line in [
            "subject      vapi:call:c1",
            "state        CLOSED",
            "duration     1 min 1 s",
            "cost         $0.12",
            "resolution   true",
            "conflicts    1; to list them: gatehouse events timeline vapi:call:c1 --stack x",
            "missing      end-of-call-report",
            "content      1 message and an analysis; pass --payload to show the content",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
        assert!(!text.contains("hello") && !text.contains("greeted"), "{text}");
        let text = text_of(true, "");
        assert!(
            text.contains("summary      greeted") && text.contains("  2026-11-21T17:00:00.000Z  user: hello"),
            "{text}"
        );
    }

    #[test]
    fn summary_json_has_transcript_only_with_payload() {
        let object = summary().to_json(false);
        assert_eq!((&object["messages"], &object["resolution"]), (&1.into(), &"true".into()));
        assert!(object.get("transcript").is_none() && object.get("analysis").is_none());
        assert_eq!(summary().to_json(true)["transcript"][0]["text"], "hello");
    }
}
