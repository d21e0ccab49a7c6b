//! Vapi calls, chats and sessions. A call may be told on two channels, to the server and to the client.

use std::collections::HashMap;

use gatehouse_payload::time::Timestamp;
use gatehouse_payload::vapi::{EventType, FINAL_TRANSCRIPT};

use super::State;
use super::conversation::{Conversation, Message};
use super::members::Members;
use crate::store::Record;

/// What the events of a call have told so far.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Final transcripts by channel, in order.
    heard: [Vec<Message>; 2],
    /// What the reports say was said: that of the report that says the most.
    reported: Vec<Message>,
    /// The same as one text, where no report lists it.
    transcript: Option<Message>,
}

impl Told {
    /// Takes one event's message in.
    pub(super) fn fold(&mut self, conversation: &mut Conversation, record: &Record, message: Members<'_>) {
        let at = record.event.occurred_at;
        let name = message.text(&["type"]).or_else(|| record.event.event_type.clone()).unwrap_or_default();
        let name = if name == FINAL_TRANSCRIPT { "transcript" } else { name.as_str() };
        let status = message.text(&["status"]);
        facts(conversation, message);
        match EventType::from(name) {
            EventType::Transcript => {
                let is_final = message.text(&["transcriptType"]).as_deref() == Some("final")
                    || message.text(&["type"]).as_deref() == Some(FINAL_TRANSCRIPT);
                if is_final {
                    let channel = usize::from(record.event.id.as_str().starts_with("vapi:client:"));
                    let (role, text) = (message.text(&["role"]), message.text(&["transcript"]));
                    self.heard[channel].push(Message { at, role, text });
                }
            }
            EventType::StatusUpdate if status.as_deref() == Some("ended") => {
                end(conversation, message);
                conversation.ended_at = conversation.ended_at.or(Some(at));
            }
            EventType::StatusUpdate if status.as_deref() == Some("in-progress") => {
                conversation.started_at = conversation.started_at.or(Some(at));
            }
            EventType::EndOfCallReport => {
                end(conversation, message);
                conversation.started_at = message.time(&["startedAt"]).or(conversation.started_at);
                conversation.ended_at = message.time(&["endedAt"]).or(conversation.ended_at).or(Some(at));
                conversation.analysis = fuller(conversation.analysis.take(), message.composite(&["analysis"]));
                let reported = reported(message, at);
                if reported.len() >= self.reported.len() {
                    self.reported = reported;
                }
                let text = message.text(&["artifact", "transcript"]).or_else(|| message.text(&["transcript"]));
                let before = self.transcript.take().and_then(|message| message.text);
                let text = fuller(before, text);
                self.transcript = text.map(|text| Message { at, role: None, text: Some(text) });
            }
            EventType::ChatCreated => chat(conversation, message, at),
            EventType::SessionCreated | EventType::SessionUpdated => session(conversation, message, at),
            EventType::ChatDeleted => {
                chat(conversation, message, at);
                conversation.state = State::Closed;
                conversation.ended_at = Some(at);
            }
            EventType::SessionDeleted => {
                session(conversation, message, at);
                conversation.state = State::Closed;
                conversation.ended_at = conversation.ended_at.or(Some(at));
            }
            _ => {}
        }
    }

    /// Settles what was said when all events are in.
    pub(super) fn end(self, conversation: &mut Conversation) {
        // A final transcript may come under both of its names.
        let [server, client] = self.heard.map(|mut heard| {
            heard.dedup();
            heard
        });
        let heard = told_once(server, client);
        if heard.is_empty() {
            // Transcripts are not sent to everybody: the report has them.
            if self.reported.is_empty() {
                conversation.messages.extend(self.transcript);
            } else {
                conversation.messages.extend(self.reported);
            }
            return;
        }
        let said = self.reported.len();
        let missed = missed(&heard, &self.reported);
        if missed > 0 {
            conversation
                .missing
                .push(format!("transcripts: {} came of the {said} that end-of-call-report has", said - missed));
        }
        conversation.messages.extend(heard);
    }
}

/// What any message may tell of its call. What a message says itself goes before what the snapshots in it say, and a
/// name before an id.
fn facts(conversation: &mut Conversation, message: Members<'_>) {
    let of = |paths: &[&[&str]]| paths.iter().find_map(|path| message.word(path));
    let set = |fact: &mut Option<String>, told: Option<String>, snapshot: Option<String>| {
        *fact = told.or(fact.take()).or(snapshot);
    };
    set(&mut conversation.number, of(&[&["customer", "number"], &["call", "customer", "number"]]), None);
    set(
        &mut conversation.assistant,
        of(&[&["assistant", "name"], &["call", "assistant", "name"]]),
        of(&[&["call", "assistantId"], &["assistant", "id"]]),
    );
    set(&mut conversation.cost, of(&[&["cost"]]), of(&[&["call", "cost"]]));
    let recordings: [&[&str]; 8] = [
        &["artifact", "recording", "mono", "combinedUrl"],
        &["artifact", "recordingUrl"],
        &["recordingUrl"],
        &["artifact", "presignedMonoUrl"],
        &["artifact", "recording", "stereoUrl"],
        &["artifact", "stereoRecordingUrl"],
        &["stereoRecordingUrl"],
        &["artifact", "presignedStereoUrl"],
    ];
    set(&mut conversation.recording_url, of(&recordings), None);
}

/// Of two texts the one that says more; the later one where they say as much.
fn fuller(before: Option<String>, after: Option<String>) -> Option<String> {
    match (before, after) {
        (Some(before), Some(after)) if after.len() < before.len() => Some(before),
        (before, after) => after.or(before),
    }
}

fn end(conversation: &mut Conversation, message: Members<'_>) {
    conversation.state = State::Closed;
    conversation.ended_by = message.text(&["endedReason"]).or(conversation.ended_by.take());
}

fn chat(conversation: &mut Conversation, message: Members<'_>, at: Timestamp) {
    let Some(chat) = message.at(&["chat"]) else { return };
    conversation.started_at = chat.time(&["createdAt"]).or(conversation.started_at);
    let mut messages = entries(chat, "messages", at);
    let (input, output) = (entries(chat, "input", at), entries(chat, "output", at));
    let both = [input.as_slice(), output.as_slice()].concat();
    // `messages` may hold the input, or all of the chat, already.
    if messages.ends_with(&input) && !messages.ends_with(&both) {
        messages.extend(output);
    } else if !messages.ends_with(&both) {
        messages.extend(both);
    }
    if messages.len() >= conversation.messages.len() {
        conversation.messages = messages;
    }
}

fn session(conversation: &mut Conversation, message: Members<'_>, at: Timestamp) {
    let Some(session) = message.at(&["session"]) else { return };
    conversation.started_at = session.time(&["createdAt"]).or(conversation.started_at);
    if session.text(&["status"]).as_deref() == Some("completed") {
        conversation.state = State::Closed;
        conversation.ended_at = session.time(&["updatedAt"]).or(conversation.ended_at).or(Some(at));
    }
    let messages = entries(session, "messages", at);
    if messages.len() >= conversation.messages.len() {
        conversation.messages = messages;
    }
}

/// What a member of a chat or session says: a text, or a list of entries.
fn entries(object: Members<'_>, name: &str, at: Timestamp) -> Vec<Message> {
    if let Some(text) = object.text(&[name]) {
        let role = if name == "output" { "assistant" } else { "user" };
        return vec![Message { at, role: Some(role.to_owned()), text: Some(text) }];
    }
    let entry = |entry: &Members<'_>| {
        let role = entry.text(&["role"])?;
        let text = entry.text(&["content"]).or_else(|| entry.text(&["message"]));
        let is_said = ["user", "assistant", "bot"].contains(&role.as_str());
        is_said.then(|| Message { at: entry.time(&["time"]).unwrap_or(at), role: Some(role), text })
    };
    object.list(&[name]).iter().filter_map(entry).collect()
}

/// What a report says was spoken, by the user and the assistant.
fn reported(report: Members<'_>, at: Timestamp) -> Vec<Message> {
    let mut spoken = |entry: &Members<'_>| {
        // An entry without a time of its own comes with the one before it.
        let own = entry.time(&["time"]);
        let role = match entry.text(&["role"])?.as_str() {
            "user" => "user",
            "bot" | "assistant" => "assistant",
            _ => return None,
        };
        // A text message that was put into the call was not.
        let kind = entry.text(&["metadata", "type"]);
        let is_blank = entry.at(&["message"]).is_some_and(|text| text.0 == "\"\"");
        let text = entry.text(&["message"]).or_else(|| entry.text(&["content"]));
        let is_spoken = kind.is_none_or(|kind| ["voice", "speech", "audio"].contains(&kind.as_str()));
        (is_spoken && !is_blank).then(|| (own, Message { at, role: Some(role.to_owned()), text }))
    };
    let lists: [&[&str]; 2] = [&["artifact", "messages"], &["messages"]];
    let mut lists = lists.map(|list| report.list(list).iter().filter_map(&mut spoken).collect::<Vec<_>>()).into_iter();
    let said = lists.find(|list| !list.is_empty()).unwrap_or_default();
    // What stands before the first time there is came no later.
    let mut last = said.iter().find_map(|(own, _)| *own).unwrap_or(at);
    let in_order = said.into_iter().map(|(own, message)| {
        last = own.unwrap_or(last);
        Message { at: last, ..message }
    });
    in_order.collect()
}

/// What two channels tell, each thing once. On either, something may be missing.
fn told_once(server: Vec<Message>, client: Vec<Message>) -> Vec<Message> {
    let mut on_server: HashMap<(Option<String>, String), usize> = HashMap::new();
    for message in &server {
        *on_server.entry(said(message)).or_default() += 1;
    }
    let mut all = server;
    for message in client {
        match on_server.get_mut(&said(&message)) {
            Some(left) if *left > 0 => *left -= 1,
            _ => all.push(message),
        }
    }
    all
}

fn said(message: &Message) -> (Option<String>, String) {
    (message.role.clone(), normalized(message.text.as_deref().unwrap_or_default()))
}

/// How much text is searched for what a report says, in bytes. A call of an hour takes a hundredth of it.
const SEARCHED_BYTES: usize = 256 * 1024 * 1024;

/// How many of the reported things were not heard. A report may join what came in several transcripts. An entry
/// without a text stands for any transcript of its role that no other entry stands for.
fn missed(heard: &[Message], reported: &[Message]) -> usize {
    #[derive(Default)]
    struct OfRole {
        /// What was heard and not yet found in the report, between spaces.
        words: String,
        spare: usize,
        textless: usize,
    }
    let mut roles: HashMap<Option<&str>, OfRole> = HashMap::new();
    for message in heard {
        let role = roles
            .entry(message.role.as_deref())
            .or_insert_with(|| OfRole { words: " ".to_owned(), ..OfRole::default() });
        role.words.push_str(&format!("{} ", said(message).1));
        role.spare += 1;
    }
    let mut missed = 0;
    let mut budget = SEARCHED_BYTES;
    for message in reported {
        let role = roles.entry(message.role.as_deref()).or_default();
        let Some(text) = message.text.as_deref().map(normalized) else {
            role.textless += 1;
            continue;
        };
        let found = budget.checked_sub(role.words.len());
        budget = found.unwrap_or_default();
        match found.and_then(|_| role.words.find(&format!(" {text} "))) {
            _ if text.is_empty() => {}
            // What is said twice must be heard twice.
            Some(place) => {
                role.words.replace_range(place + 1..place + 1 + text.len(), "\n");
                role.spare = role.spare.saturating_sub(1);
            }
            None => missed += 1,
        }
    }
    missed + roles.values().map(|role| role.textless.saturating_sub(role.spare)).sum::<usize>()
}

/// The words, without case and punctuation.
fn normalized(text: &str) -> String {
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect::<Vec<_>>().join(" ")
}
