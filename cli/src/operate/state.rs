//! `gatehouse sessions`, `conversations` and `calls`: the state of a subject, computed from its events.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use gatehouse_inbox::fold::{self, State};
use gatehouse_inbox::store::{Page, Record};
use gatehouse_inbox::{Clock, Subject};
use gatehouse_local::Error;
use gatehouse_payload::time::Timestamp;
use serde_json::{Value, json};

use super::deployment::{Deployment, TargetArgs};
use super::listing::Span;
use super::output::{
    KeyValues, OutputArgs, ShowArgs, Table, When, age, counted, escape_control, parse_when, pretty_json, print_json,
};
use super::{NOT_FOUND, Verdict};
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

pub(crate) async fn sessions(command: Sessions) -> Verdict {
    match command {
        Sessions::Show(arguments) => show(arguments, "agntix", "session").await,
        Sessions::List { open, since, output, target } => list(&target.find().await?, output, since, open).await,
    }
}

pub(crate) async fn conversations(Conversations::Show(arguments): Conversations) -> Verdict {
    show(arguments, "ada", "conversation").await
}

pub(crate) async fn calls(Calls::Show(arguments): Calls) -> Verdict {
    show(arguments, "vapi", "call").await
}

/// The state of a session, a conversation or a call.
struct Summary {
    subject: Subject,
    /// Absent for a subject that has no end, such as an end user.
    state: Option<State>,
    started_at: Option<Timestamp>,
    ended_at: Option<Timestamp>,
    ended_by: Option<String>,
    seconds: Option<i64>,
    number: Option<String>,
    cost: Option<String>,
    agent: Option<String>,
    recording_url: Option<String>,
    analysis: Option<Value>,
    messages: Vec<fold::Message>,
    missing: Vec<String>,
    events: usize,
    conflicts: usize,
}

impl Summary {
    fn of(records: &[Record], subject: Subject) -> Summary {
        let value = |text: Option<String>| text.and_then(|text| serde_json::from_str(&text).ok());
        let kind: Vec<&str> = subject.as_str().split(':').take(2).collect();
        let has_state =
            matches!(kind[..], ["ada", "conversation"] | ["agntix", "session"] | ["vapi", "call" | "chat" | "session"]);
        let known = |state| has_state.then_some(state);
        if kind.first() == Some(&"agntix") {
            let session = fold::session(records);
            return Summary {
                state: known(session.state),
                subject,
                started_at: session.created_at,
                ended_at: session.ended_at,
                ended_by: None,
                seconds: None,
                number: None,
                cost: None,
                agent: session.agent_id,
                recording_url: session.recording_url,
                analysis: value(session.analysis),
                messages: Vec::new(),
                missing: session.missing,
                events: session.events,
                conflicts: session.conflicts,
            };
        }
        let conversation = fold::conversation(records);
        Summary {
            state: known(conversation.state),
            subject,
            seconds: conversation.seconds(),
            started_at: conversation.started_at,
            ended_at: conversation.ended_at,
            ended_by: conversation.ended_by,
            number: conversation.number,
            cost: conversation.cost,
            agent: conversation.assistant,
            recording_url: conversation.recording_url,
            analysis: value(conversation.analysis),
            messages: conversation.messages,
            missing: conversation.missing,
            events: conversation.events,
            conflicts: conversation.conflicts,
        }
    }

    /// The first of `pointers` into the analysis that has a value, as text.
    fn analysis_text(&self, pointers: &[&str]) -> Option<String> {
        let analysis = self.analysis.as_ref()?;
        let found = pointers.iter().find_map(|pointer| analysis.pointer(pointer).filter(|value| !value.is_null()))?;
        Some(found.as_str().map_or_else(|| found.to_string(), str::to_owned))
    }

    fn to_json(&self, with_payload: bool) -> Value {
        let mut object = json!({
            "subject": self.subject.as_str(), "state": self.state.map(|state| state.to_string()),
            "started_at": self.started_at, "ended_at": self.ended_at, "ended_by": self.ended_by,
            "seconds": self.seconds, "number": self.number, "cost": self.cost, "agent": self.agent,
            "recording_url": self.recording_url, "intent": self.analysis_text(&INTENT),
            "resolution": self.analysis_text(&RESOLUTION), "sentiment": self.analysis_text(&SENTIMENT),
            "messages": self.messages.len(), "missing": self.missing, "events": self.events,
            "conflicts": self.conflicts,
        });
        if with_payload {
            let message =
                |message: &fold::Message| json!({"at": message.at, "role": message.role, "text": message.text});
            object["analysis"] = self.analysis.clone().unwrap_or_default();
            object["transcript"] = self.messages.iter().map(message).collect();
        }
        object
    }

    /// `flags` selects the deployment in the commands that the text suggests.
    fn to_key_values(&self, with_payload: bool, flags: &str) -> KeyValues {
        let mut lines = KeyValues::default();
        lines.add("subject", self.subject.as_str());
        lines.add("state", self.state.map_or_else(|| "unknown".to_owned(), |state| state.to_string()));
        lines.add_some("started", self.started_at.map(|at| at.to_string()));
        lines.add_some("ended", self.ended_at.map(|at| at.to_string()));
        lines.add_some("ended by", self.ended_by.as_ref());
        lines.add_some("duration", self.seconds.map(|seconds| format!("{} min {} s", seconds / 60, seconds % 60)));
        lines.add_some("number", self.number.as_ref());
        lines.add_some("agent", self.agent.as_ref());
        lines.add_some("cost", self.cost.as_ref().map(|cost| format!("${cost}")));
        lines.add_some("intent", self.analysis_text(&INTENT));
        lines.add_some("resolution", self.analysis_text(&RESOLUTION));
        lines.add_some("sentiment", self.analysis_text(&SENTIMENT));
        lines.add_some("recording", self.recording_url.as_ref());
        lines.add("events", self.events.to_string());
        if self.conflicts > 0 {
            let (conflicts, subject) = (self.conflicts, &self.subject);
            lines.add("conflicts", format!("{conflicts}; to list them: gatehouse events timeline {subject}{flags}"));
        }
        for missing in &self.missing {
            lines.add("missing", missing);
        }
        if with_payload {
            self.add_content(&mut lines);
        } else {
            let messages = counted(self.messages.len(), "message");
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
        let message = |message: &fold::Message| {
            let (role, text) = (message.role.as_deref().unwrap_or("-"), message.text.as_deref().unwrap_or("-"));
            format!("{}  {role}: {}", message.at, escape_control(text))
        };
        if !self.messages.is_empty() {
            lines.block("transcript", &self.messages.iter().map(message).collect::<Vec<_>>().join("\n"));
        }
    }
}

// JSON pointers into an analysis. Where there are two, the first is of agntix and the second of Vapi.
const INTENT: [&str; 1] = ["/intent/conversation/intent"];
const RESOLUTION: [&str; 2] = ["/resolution/classification", "/successEvaluation"];
const SENTIMENT: [&str; 1] = ["/sentiment/conversation/sentiment"];
const SUMMARY: [&str; 1] = ["/summary"];
const EXTRACTED: [&str; 2] = ["/extractedData", "/structuredData"];

async fn show(arguments: StateArgs, source: &str, kind: &str) -> Verdict {
    let StateArgs { id, show: ShowArgs { payload, output, target } } = arguments;
    let deployment = target.find().await?;
    let is_subject = id.split(':').count() > 2;
    let subject = if is_subject { Subject::from_stored(id) } else { Subject::new(source, kind, &id) };
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

/// The events of a session that the index lists.
#[derive(Debug, Clone, Copy)]
struct Activity {
    first: Timestamp,
    last: Timestamp,
    was_created: bool,
    has_ended: bool,
    events: usize,
}

async fn list(deployment: &Deployment, output: OutputArgs, since: When, only_open: bool) -> Verdict {
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

/// The sessions with events since a time.
async fn activities(deployment: &Deployment, since: When) -> Result<BTreeMap<Subject, Activity>, Error> {
    let mut sessions = BTreeMap::<Subject, Activity>::new();
    let listing = Span::of("agntix", since);
    let fold_arrivals = listing.for_each(deployment, async |arrival| {
        let Some(subject) = arrival.subject else { return Ok(true) };
        let at = arrival.received_at;
        let new = Activity { first: at, last: at, was_created: false, has_ended: false, events: 0 };
        let activity = sessions.entry(subject).or_insert(new);
        activity.first = activity.first.min(at);
        activity.last = activity.last.max(at);
        activity.was_created |= arrival.event_type.as_deref() == Some("session.created");
        activity.has_ended |= arrival.event_type.as_deref() == Some("session.ended");
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
        let message = fold::Message { at, role: Some("user".to_owned()), text: Some("hello".to_owned()) };
        Summary {
            subject: Subject::new("vapi", "call", "c1"),
            state: Some(State::Closed),
            started_at: Some(at),
            ended_at: None,
            ended_by: None,
            seconds: Some(61),
            number: None,
            cost: Some("0.12".to_owned()),
            agent: None,
            recording_url: None,
            analysis: Some(json!({"summary": "greeted", "successEvaluation": true})),
            messages: vec![message],
            missing: vec!["end-of-call-report".to_owned()],
            events: 3,
            conflicts: 1,
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
