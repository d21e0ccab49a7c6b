//! `gatehouse sessions`, `conversations` and `calls`: the state of a subject, computed from its events.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use gatehouse_inbox::store::{Page, Record};
use gatehouse_local::Error;
use gatehouse_payload::Subject;
use gatehouse_payload::time::Timestamp;
use gatehouse_runtime::Clock;
use gatehouse_timeline::{Conversation, Message, State, fold};
use gatehouse_vendor::Source;
use gatehouse_vendors::{SOURCES, of_vendor};
use serde_json::{Value, json};

use super::deployment::{Deployment, TargetArgs};
use super::listing::Span;
use super::output::{
    KeyValues, OutputArgs, ShowArgs, Table, When, age, counted, escape_control, parse_when, pretty_json, print_json,
};
use super::{ExitStatus, NOT_FOUND};
use crate::shell::print;

pub(crate) const SESSIONS: &str = "\
Examples:
  gatehouse sessions show 7d1c1f6e-57d8-4b62-9d0e-0a5a0c1be9f3
  gatehouse sessions list --open --since 24h";
pub(crate) const CONVERSATIONS: &str = "\
Examples:
  gatehouse conversations show 673da1f0c2b94e5f8a017b11
  gatehouse conversations show 673da1f0c2b94e5f8a017b11 --payload";
pub(crate) const CALLS: &str = "\
Examples:
  gatehouse calls show 2f1f3d3e-0f7c-4a54-a0a3-9a2f4b0c8d11
  gatehouse calls show vapi:chat:… --payload";

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
    /// List the sessions with recent events, latest first.
    #[command(after_help = SESSIONS)]
    List {
        /// Only sessions whose end has not been received
        #[arg(long)]
        open: bool,
        /// Start: a span before now such as 90s, 15min, 1h or 7d, or a time
        #[arg(long, value_name = "WHEN", value_parser = parse_when, default_value = "24h")]
        since: When,
        #[command(flatten)]
        output: OutputArgs,
        #[command(flatten)]
        target: TargetArgs,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Conversations {
    /// Show the state of an Ada conversation and its missing events.
    #[command(after_help = CONVERSATIONS)]
    Show(StateArgs),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Calls {
    /// Show the state of a Vapi call and its missing events.
    #[command(after_help = CALLS)]
    Show(StateArgs),
}

pub(crate) async fn sessions(command: Sessions) -> ExitStatus {
    match command {
        Sessions::Show(arguments) => show(arguments, "sessions").await,
        Sessions::List { open, since, output, target } => list(&target.find().await?, output, since, open).await,
    }
}

pub(crate) async fn conversations(Conversations::Show(arguments): Conversations) -> ExitStatus {
    show(arguments, "conversations").await
}

pub(crate) async fn calls(Calls::Show(arguments): Calls) -> ExitStatus {
    show(arguments, "calls").await
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
            "seconds": self.folded.seconds(), "number": self.folded.number, "cost": self.folded.cost, "agent": self.folded.agent,
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

    /// Returns the summary as text. `flags` selects the deployment in the commands that it suggests.
    fn to_key_values(&self, with_payload: bool, flags: &str) -> KeyValues {
        let mut lines = KeyValues::default();
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
            self.add_content(&mut lines);
        } else {
            let messages = counted(self.folded.messages.len(), "message");
            let analysis = if self.analysis.is_some() { " and an analysis" } else { "" };
            lines.add("content", format!("{messages}{analysis}; pass --payload to show the content"));
        }
        lines
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
    let subject = Subject::parse(&id).map_or_else(|| subject_of(command, &id), Ok)?;
    let Page { records, damaged, .. } = deployment.store.whole_timeline(&subject, Clock::System.now()).await?;
    for (key, damaged) in &damaged {
        eprintln!("{key}: {damaged}");
    }
    if records.is_empty() {
        eprintln!("no events about {subject}");
        return Ok(NOT_FOUND);
    }
    let summary = Summary::of(&records, subject);
    if output.json {
        print_json(&summary.to_json(payload))?;
    } else {
        summary.to_key_values(payload, &deployment.flags).print()?;
    }
    Ok(0)
}

/// Returns the source whose subjects a command shows.
fn source_of(command: &str) -> Result<&'static dyn Source, Error> {
    let is_shown = |source: &&dyn Source| source.profile().command == Some(command);
    Ok(SOURCES.into_iter().find(is_shown).ok_or_else(|| format!("no vendor has {command}"))?)
}

fn subject_of(command: &str, id: &str) -> Result<Subject, Error> {
    let profile = source_of(command)?.profile();
    Ok(Subject::new(profile.vendor, profile.stateful.first().copied().unwrap_or_default(), id))
}

/// The events of a session that the index lists.
#[derive(Debug, Clone, Copy)]
struct Activity {
    first: Timestamp,
    last: Timestamp,
    was_created: bool,
    has_ended: bool,
    events: usize,
}

async fn list(deployment: &Deployment, output: OutputArgs, since: When, only_open: bool) -> ExitStatus {
    let sessions = activities(deployment, since).await?;
    let mut sessions: Vec<_> = sessions.into_iter().filter(|(_, activity)| !only_open || !activity.has_ended).collect();
    sessions.sort_by(|a, b| (b.1.last, &b.0).cmp(&(a.1.last, &a.0)));
    let mut table = Table::new(["LAST", "STATE", "SESSION", "EVENTS", "MISSING"]);
    let now = Clock::System.now();
    for (subject, Activity { first, last, was_created, has_ended, events }) in &sessions {
        let state = if *has_ended { State::Closed } else { State::Open }.to_string();
        let missing = if *was_created { "" } else { "session.created (not seen since --since)" };
        if output.json {
            print_json(&json!({"subject": subject.as_str(), "state": state, "first_received_at": first,
                               "last_received_at": last, "events": events, "was_created": was_created}))?;
        } else {
            table.row([age(*last, now), state, subject.to_string(), events.to_string(), missing.to_owned()]);
        }
    }
    if !output.json {
        if sessions.is_empty() { print("no sessions\n")? } else { table.print()? }
    }
    Ok(0)
}

/// Returns the sessions with events since a time.
async fn activities(deployment: &Deployment, since: When) -> Result<BTreeMap<Subject, Activity>, Error> {
    let mut sessions = BTreeMap::<Subject, Activity>::new();
    let profile = source_of("sessions")?.profile();
    let (created, ended) = profile.lifecycle.map(|types| (types.created, types.ended)).unwrap_or_default();
    let listing = Span::of(profile.vendor, since);
    let fold_arrivals = listing.for_each(deployment, async |arrival| {
        let Some(subject) = arrival.subject else { return Ok(true) };
        let at = arrival.received_at;
        let new = Activity { first: at, last: at, was_created: false, has_ended: false, events: 0 };
        let activity = sessions.entry(subject).or_insert(new);
        activity.first = activity.first.min(at);
        activity.last = activity.last.max(at);
        activity.was_created |= arrival.event_type.as_deref() == Some(created);
        activity.has_ended |= arrival.event_type.as_deref() == Some(ended);
        activity.events += usize::from(!arrival.conflict);
        Ok(true)
    });
    fold_arrivals.await?;
    Ok(sessions)
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let text = summary().to_key_values(false, " --stack x").plain_text();
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
        let text = summary().to_key_values(true, "").plain_text();
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
