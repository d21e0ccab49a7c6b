//! `gatehouse sessions`, `conversations` and `calls`: what their events amount to.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use gatehouse_inbox::fold::{self, State};
use gatehouse_inbox::store::{Page, Record};
use gatehouse_inbox::{Clock, Subject};
use gatehouse_payload::time::Timestamp;
use serde_json::{Value, json};

use super::deployment::{Deployment, Which};
use super::listing::Span;
use super::output::{Facts, Form, Moment, Table, age, json as line, moment, shown};
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
pub(crate) struct Shown {
    /// The vendor's id, or the whole subject
    #[arg(value_name = "ID")]
    id: String,
    /// What was said and found out, too: summary, transcript, extracted data
    #[arg(long)]
    payload: bool,
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    form: Form,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Sessions {
    /// The state of an agntix session, and what is missing.
    #[command(after_help = SESSIONS)]
    Show(Shown),
    /// The sessions of which something arrived, latest first.
    #[command(after_help = SESSIONS)]
    List {
        /// Only those whose end has not arrived
        #[arg(long)]
        open: bool,
        /// From when on, such as 90s, 15min, 1h, 7d, or a time
        #[arg(long, value_name = "WHEN", value_parser = moment, default_value = "24h")]
        since: Moment,
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        form: Form,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Conversations {
    /// The state of an Ada conversation, and what is missing.
    #[command(after_help = CONVERSATIONS)]
    Show(Shown),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Calls {
    /// The state of a Vapi call, and what is missing.
    #[command(after_help = CALLS)]
    Show(Shown),
}

pub(crate) async fn sessions(command: Sessions) -> Verdict {
    match command {
        Sessions::Show(shown) => show(shown, "agntix", "session").await,
        Sessions::List { open, since, which, form } => list(&which.find().await?, form, since, open).await,
    }
}

pub(crate) async fn conversations(Conversations::Show(shown): Conversations) -> Verdict {
    show(shown, "ada", "conversation").await
}

pub(crate) async fn calls(Calls::Show(shown): Calls) -> Verdict {
    show(shown, "vapi", "call").await
}

/// What there is to tell of any of them.
#[derive(Default)]
struct Told {
    /// Absent for a subject of which nothing tells whether it has ended, such as an end user.
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

impl Told {
    fn of(records: &[Record], subject: &Subject) -> Told {
        let value = |text: Option<String>| text.and_then(|text| serde_json::from_str(&text).ok());
        let kind: Vec<&str> = subject.as_str().split(':').take(2).collect();
        let has_state =
            matches!(kind[..], ["ada", "conversation"] | ["agntix", "session"] | ["vapi", "call" | "chat" | "session"]);
        let known = |state| has_state.then_some(state);
        if kind.first() == Some(&"agntix") {
            let session = fold::session(records);
            return Told {
                state: known(session.state),
                started_at: session.created_at,
                ended_at: session.ended_at,
                agent: session.agent_id,
                recording_url: session.recording_url,
                analysis: value(session.analysis),
                missing: session.missing,
                events: session.events,
                conflicts: session.conflicts,
                ..Told::default()
            };
        }
        let conversation = fold::conversation(records);
        Told {
            state: known(conversation.state),
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

    /// A word of the analysis: agntix' place for it, else Vapi's.
    fn word(&self, places: &[&str]) -> Option<String> {
        let analysis = self.analysis.as_ref()?;
        let found = places.iter().find_map(|place| analysis.pointer(place).filter(|value| !value.is_null()))?;
        Some(found.as_str().map_or_else(|| found.to_string(), str::to_owned))
    }
}

const INTENT: [&str; 1] = ["/intent/conversation/intent"];
const RESOLUTION: [&str; 2] = ["/resolution/classification", "/successEvaluation"];
const SENTIMENT: [&str; 1] = ["/sentiment/conversation/sentiment"];
const SUMMARY: [&str; 1] = ["/summary"];
const EXTRACTED: [&str; 2] = ["/extractedData", "/structuredData"];

async fn show(asked: Shown, source: &str, kind: &str) -> Verdict {
    let Shown { id, payload, which, form } = asked;
    let deployment = which.find().await?;
    let is_subject = id.split(':').count() > 2;
    let subject = if is_subject { Subject::from_stored(id) } else { Subject::new(source, kind, &id) };
    let Page { records, damaged, .. } = deployment.store.whole_timeline(&subject, Clock::System.now()).await?;
    for (key, damaged) in &damaged {
        eprintln!("{key}: {damaged}");
    }
    if records.is_empty() {
        eprintln!("nothing about {subject}");
        return Ok(NOT_FOUND);
    }
    let told = Told::of(&records, &subject);
    let (intent, resolution, sentiment) = (told.word(&INTENT), told.word(&RESOLUTION), told.word(&SENTIMENT));
    if form.json {
        let said = |message: &fold::Message| json!({"at": message.at, "role": message.role, "text": message.text});
        let mut object = json!({
            "subject": subject.as_str(), "state": told.state.map(|state| state.to_string()), "started_at": told.started_at,
            "ended_at": told.ended_at, "ended_by": told.ended_by, "seconds": told.seconds, "number": told.number,
            "cost": told.cost, "agent": told.agent,
            "recording_url": told.recording_url, "intent": intent, "resolution": resolution, "sentiment": sentiment,
            "messages": told.messages.len(), "missing": told.missing, "events": told.events, "conflicts": told.conflicts,
        });
        if payload {
            object["analysis"] = told.analysis.clone().unwrap_or_default();
            object["transcript"] = told.messages.iter().map(said).collect();
        }
        line(&object)?;
        return Ok(0);
    }
    let mut facts = Facts::default();
    facts.add("subject", subject.as_str());
    facts.add("state", told.state.map_or_else(|| "unknown".to_owned(), |state| state.to_string()));
    facts.add_some("started", told.started_at.map(|at| at.to_string()));
    facts.add_some("ended", told.ended_at.map(|at| at.to_string()));
    facts.add_some("ended by", told.ended_by.as_ref());
    facts.add_some("duration", told.seconds.map(|seconds| format!("{} min {} s", seconds / 60, seconds % 60)));
    facts.add_some("number", told.number.as_ref());
    facts.add_some("agent", told.agent.as_ref());
    facts.add_some("cost", told.cost.as_ref().map(|cost| format!("${cost}")));
    facts.add_some("intent", intent);
    facts.add_some("resolution", resolution);
    facts.add_some("sentiment", sentiment);
    facts.add_some("recording", told.recording_url.as_ref());
    facts.add("events", told.events.to_string());
    if told.conflicts > 0 {
        facts.add(
            "conflicts",
            format!("{}; gatehouse events timeline {subject}{} names them", told.conflicts, deployment.again),
        );
    }
    for missing in &told.missing {
        facts.add("missing", missing);
    }
    if payload {
        facts.add_some("summary", told.word(&SUMMARY));
        if let Some(data) = told.word(&EXTRACTED) {
            facts.block("extracted data", &super::output::pretty(&data));
        }
        let said = |message: &fold::Message| {
            let (role, text) = (message.role.as_deref().unwrap_or("-"), message.text.as_deref().unwrap_or("-"));
            format!("{}  {role}: {}", message.at, shown(text))
        };
        if !told.messages.is_empty() {
            facts.block("transcript", &told.messages.iter().map(said).collect::<Vec<_>>().join("\n"));
        }
    } else {
        let analysis = if told.analysis.is_some() { ", an analysis" } else { "" };
        facts.add("content", format!("{} messages{analysis}; --payload shows it", told.messages.len()));
    }
    facts.print()?;
    Ok(0)
}

/// What the index tells of a session.
#[derive(Debug, Clone, Copy)]
struct Seen {
    first: Timestamp,
    last: Timestamp,
    was_created: bool,
    has_ended: bool,
    events: usize,
}

async fn list(deployment: &Deployment, form: Form, since: Moment, only_open: bool) -> Verdict {
    let mut sessions = BTreeMap::<Subject, Seen>::new();
    let span = Span::of("agntix", since);
    let each = span.each(deployment, async |arrival| {
        let Some(subject) = arrival.subject else { return Ok(true) };
        let at = arrival.received_at;
        let new = Seen { first: at, last: at, was_created: false, has_ended: false, events: 0 };
        let seen = sessions.entry(subject).or_insert(new);
        seen.first = seen.first.min(at);
        seen.last = seen.last.max(at);
        seen.was_created |= arrival.event_type.as_deref() == Some("session.created");
        seen.has_ended |= arrival.event_type.as_deref() == Some("session.ended");
        seen.events += usize::from(!arrival.conflict);
        Ok(true)
    });
    each.await?;
    let mut sessions: Vec<_> = sessions.into_iter().filter(|(_, seen)| !only_open || !seen.has_ended).collect();
    sessions.sort_by(|a, b| (b.1.last, &b.0).cmp(&(a.1.last, &a.0)));
    let mut table = Table::new(["LAST", "STATE", "SESSION", "EVENTS", "MISSING"]);
    let now = Clock::System.now();
    for (subject, seen) in &sessions {
        let state = if seen.has_ended { State::Closed } else { State::Open }.to_string();
        let missing = if seen.was_created { "" } else { "session.created, since then" };
        if form.json {
            line(&json!({"subject": subject.as_str(), "state": state, "first_received_at": seen.first,
                         "last_received_at": seen.last, "events": seen.events, "was_created": seen.was_created}))?;
        } else {
            table.row([age(seen.last, now), state, subject.to_string(), seen.events.to_string(), missing.to_owned()]);
        }
    }
    if !form.json {
        if sessions.is_empty() { print("no sessions\n")? } else { table.print()? }
    }
    Ok(0)
}
