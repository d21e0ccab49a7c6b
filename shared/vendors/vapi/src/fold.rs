//! Folds the events of Vapi calls, chats and sessions. A call may have events on two channels: server and client.

use std::collections::HashMap;

use gatehouse_payload::Event;
use gatehouse_payload::json::Document;
use gatehouse_payload::time::Timestamp;
use gatehouse_vendor::{Conversation, Members, Message, State};

use crate::envelope::{Envelope, EventType, FINAL_TRANSCRIPT};

/// Folds the events of a call, chat or session. Each member of a message is read separately. A body that cannot be read
/// is counted, and changes nothing else.
pub(crate) fn fold(events: &[&Event]) -> Conversation {
    let mut conversation = Conversation { events: events.len(), ..Conversation::default() };
    let mut spoken = Spoken::default();
    for event in events {
        let Ok(document) = Document::read(&event.body) else { continue };
        let envelope = Envelope::of(&document);
        spoken.add(&mut conversation, event, Members(envelope.text()));
    }
    let is_call = events.iter().any(|event| event.subject.as_ref().is_some_and(|subject| subject.kind() == "call"));
    let has_report = events.iter().any(|event| event.event_type.as_deref() == Some("end-of-call-report"));
    if is_call && conversation.state == State::Closed && !has_report {
        conversation.missing.push("end-of-call-report".to_owned());
    }
    spoken.finish(&mut conversation);
    conversation
}

/// The spoken messages of a call, as far as its events contain them.
#[derive(Debug, Default)]
struct Spoken {
    /// Final transcripts by channel (server, client), in order.
    transcripts: [Vec<Message>; 2],
    /// The messages of the report with the most messages.
    reported: Vec<Message>,
    /// The longest transcript of a report as one text, for calls whose reports list no messages.
    transcript: Option<Message>,
}

impl Spoken {
    /// Adds one event's message.
    fn add(&mut self, conversation: &mut Conversation, event: &Event, message: Members<'_>) {
        let at = event.occurred_at;
        let name = message.text(&["type"]).or_else(|| event.event_type.clone()).unwrap_or_default();
        let name = if name == FINAL_TRANSCRIPT { "transcript" } else { name.as_str() };
        let status = message.text(&["status"]);
        fold_call_data(conversation, message);
        match EventType::from(name) {
            EventType::Transcript => {
                let is_final = message.text(&["transcriptType"]).as_deref() == Some("final")
                    || message.text(&["type"]).as_deref() == Some(FINAL_TRANSCRIPT);
                if is_final {
                    let channel = usize::from(event.id.as_str().starts_with("vapi:client:"));
                    let (role, text) = (message.text(&["role"]), message.text(&["transcript"]));
                    self.transcripts[channel].push(Message { at, role, text });
                }
            }
            EventType::StatusUpdate if status.as_deref() == Some("ended") => {
                close(conversation, message);
                conversation.ended_at = conversation.ended_at.or(Some(at));
            }
            EventType::StatusUpdate if status.as_deref() == Some("in-progress") => {
                conversation.started_at = conversation.started_at.or(Some(at));
            }
            EventType::EndOfCallReport => {
                close(conversation, message);
                conversation.started_at = message.time(&["startedAt"]).or(conversation.started_at);
                conversation.ended_at = message.time(&["endedAt"]).or(conversation.ended_at).or(Some(at));
                conversation.analysis = longer(conversation.analysis.take(), message.composite(&["analysis"]));
                let reported = reported_messages(message, at);
                if reported.len() >= self.reported.len() {
                    self.reported = reported;
                }
                let text = message.text(&["artifact", "transcript"]).or_else(|| message.text(&["transcript"]));
                let before = self.transcript.take().and_then(|message| message.text);
                let text = longer(before, text);
                self.transcript = text.map(|text| Message { at, role: None, text: Some(text) });
            }
            EventType::ChatCreated => fold_chat(conversation, message, at),
            EventType::SessionCreated | EventType::SessionUpdated => fold_session(conversation, message, at),
            EventType::ChatDeleted => {
                fold_chat(conversation, message, at);
                conversation.state = State::Closed;
                conversation.ended_at = Some(at);
            }
            EventType::SessionDeleted => {
                fold_session(conversation, message, at);
                conversation.state = State::Closed;
                conversation.ended_at = conversation.ended_at.or(Some(at));
            }
            _ => {}
        }
    }

    /// Sets the messages of the call, after all events were folded.
    fn finish(self, conversation: &mut Conversation) {
        // Vapi may send a final transcript under both of its names.
        let [server, client] = self.transcripts.map(|mut transcripts| {
            transcripts.dedup();
            transcripts
        });
        let transcripts = merge_channels(server, client);
        if transcripts.is_empty() {
            // Vapi sends transcripts only if they are selected. The report contains them too.
            if self.reported.is_empty() {
                conversation.messages.extend(self.transcript);
            } else {
                conversation.messages.extend(self.reported);
            }
            return;
        }
        let expected = self.reported.len();
        let missing = count_missing(&transcripts, &self.reported);
        if missing > 0 {
            let received = expected - missing;
            conversation
                .missing
                .push(format!("transcripts: received {received} of the {expected} in end-of-call-report"));
        }
        conversation.messages.extend(transcripts);
    }
}

/// Folds the data about the call that any message may contain. A message's own values take precedence over those in its
/// call snapshot, and a name over an id.
fn fold_call_data(conversation: &mut Conversation, message: Members<'_>) {
    let first = |paths: &[&[&str]]| paths.iter().find_map(|path| message.word(path));
    // `fallback` only fills a field that no event has set.
    let set = |field: &mut Option<String>, value: Option<String>, fallback: Option<String>| {
        *field = value.or(field.take()).or(fallback);
    };
    set(&mut conversation.number, first(&[&["customer", "number"], &["call", "customer", "number"]]), None);
    set(
        &mut conversation.agent,
        first(&[&["assistant", "name"], &["call", "assistant", "name"]]),
        first(&[&["call", "assistantId"], &["assistant", "id"]]),
    );
    set(&mut conversation.cost, first(&[&["cost"]]), first(&[&["call", "cost"]]));
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
    set(&mut conversation.recording_url, first(&recordings), None);
}

/// Returns the longer text; the later one if both have the same length.
fn longer(before: Option<String>, after: Option<String>) -> Option<String> {
    match (before, after) {
        (Some(before), Some(after)) if after.len() < before.len() => Some(before),
        (before, after) => after.or(before),
    }
}

fn close(conversation: &mut Conversation, message: Members<'_>) {
    conversation.state = State::Closed;
    conversation.ended_by = message.text(&["endedReason"]).or(conversation.ended_by.take());
}

fn fold_chat(conversation: &mut Conversation, message: Members<'_>, at: Timestamp) {
    let Some(chat) = message.at(&["chat"]) else { return };
    conversation.started_at = chat.time(&["createdAt"]).or(conversation.started_at);
    let mut messages = entries(chat, "messages", at);
    let (input, output) = (entries(chat, "input", at), entries(chat, "output", at));
    let both = [input.as_slice(), output.as_slice()].concat();
    // `messages` may already contain the input, or the whole chat.
    if messages.ends_with(&input) && !messages.ends_with(&both) {
        messages.extend(output);
    } else if !messages.ends_with(&both) {
        messages.extend(both);
    }
    if messages.len() >= conversation.messages.len() {
        conversation.messages = messages;
    }
}

fn fold_session(conversation: &mut Conversation, message: Members<'_>, at: Timestamp) {
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

/// Returns the messages in a member of a chat or session, which is a text or a list of entries.
fn entries(object: Members<'_>, name: &str, at: Timestamp) -> Vec<Message> {
    if let Some(text) = object.text(&[name]) {
        let role = if name == "output" { "assistant" } else { "user" };
        return vec![Message { at, role: Some(role.to_owned()), text: Some(text) }];
    }
    let entry = |entry: &Members<'_>| {
        let role = entry.text(&["role"])?;
        let text = entry.text(&["content"]).or_else(|| entry.text(&["message"]));
        let is_message = ["user", "assistant", "bot"].contains(&role.as_str());
        is_message.then(|| Message { at: entry.time(&["time"]).unwrap_or(at), role: Some(role), text })
    };
    object.list(&[name]).iter().filter_map(entry).collect()
}

/// Returns the spoken messages of the user and the assistant in a report.
fn reported_messages(report: Members<'_>, at: Timestamp) -> Vec<Message> {
    let mut spoken = |entry: &Members<'_>| {
        let time = entry.time(&["time"]);
        let role = match entry.text(&["role"])?.as_str() {
            "user" => "user",
            "bot" | "assistant" => "assistant",
            _ => return None,
        };
        // A text message that was injected into the call was not spoken.
        let kind = entry.text(&["metadata", "type"]);
        let is_blank = entry.at(&["message"]).is_some_and(|text| text.0 == "\"\"");
        let text = entry.text(&["message"]).or_else(|| entry.text(&["content"]));
        let is_spoken = kind.is_none_or(|kind| ["voice", "speech", "audio"].contains(&kind.as_str()));
        (is_spoken && !is_blank).then(|| (time, Message { at, role: Some(role.to_owned()), text }))
    };
    let lists: [&[&str]; 2] = [&["artifact", "messages"], &["messages"]];
    let mut lists = lists.map(|list| report.list(list).iter().filter_map(&mut spoken).collect::<Vec<_>>()).into_iter();
    let entries = lists.find(|list| !list.is_empty()).unwrap_or_default();
    // Entries before the first one with a time get that time. Later entries without a time get the previous entry's.
    let mut last = entries.iter().find_map(|(time, _)| *time).unwrap_or(at);
    let messages = entries.into_iter().map(|(time, message)| {
        last = time.unwrap_or(last);
        Message { at: last, ..message }
    });
    messages.collect()
}

/// Merges the transcripts of two channels, without duplicates. Each channel may lack some.
fn merge_channels(server: Vec<Message>, client: Vec<Message>) -> Vec<Message> {
    let mut on_server: HashMap<(Option<String>, String), usize> = HashMap::new();
    for message in &server {
        *on_server.entry(comparison_key(message)).or_default() += 1;
    }
    let mut all = server;
    for message in client {
        match on_server.get_mut(&comparison_key(&message)) {
            Some(unmatched) if *unmatched > 0 => *unmatched -= 1,
            _ => all.push(message),
        }
    }
    all
}

/// Role and normalized text, by which two messages are compared.
fn comparison_key(message: &Message) -> (Option<String>, String) {
    (message.role.clone(), normalized(message.text.as_deref().unwrap_or_default()))
}

/// Limit of the text that is searched for the messages of a report, in bytes. An hour's call needs a hundredth of it.
const SEARCHED_BYTES: usize = 256 * 1024 * 1024;

/// Counts the reported messages for which there is no transcript. A report may join several transcripts to one message.
/// A reported message without text matches any unmatched transcript of its role.
fn count_missing(transcripts: &[Message], reported: &[Message]) -> usize {
    #[derive(Default)]
    struct Role {
        /// The words of all transcripts that no reported message has matched yet, with a space on both sides.
        words: String,
        /// The number of unmatched transcripts.
        unmatched: usize,
        /// The number of reported messages without text.
        textless: usize,
    }
    let mut roles: HashMap<Option<&str>, Role> = HashMap::new();
    for message in transcripts {
        let role =
            roles.entry(message.role.as_deref()).or_insert_with(|| Role { words: " ".to_owned(), ..Role::default() });
        role.words.push_str(&format!("{} ", comparison_key(message).1));
        role.unmatched += 1;
    }
    let mut missing = 0;
    let mut budget = SEARCHED_BYTES;
    for message in reported {
        let role = roles.entry(message.role.as_deref()).or_default();
        let Some(text) = message.text.as_deref().map(normalized) else {
            role.textless += 1;
            continue;
        };
        let remaining = budget.checked_sub(role.words.len());
        budget = remaining.unwrap_or_default();
        if text.is_empty() {
            continue;
        }
        match remaining.and_then(|_| role.words.find(&format!(" {text} "))) {
            // The match is removed: a text that is reported twice needs two transcripts.
            Some(position) => {
                role.words.replace_range(position + 1..position + 1 + text.len(), "\n");
                role.unmatched = role.unmatched.saturating_sub(1);
            }
            None => missing += 1,
        }
    }
    missing + roles.values().map(|role| role.textless.saturating_sub(role.unmatched)).sum::<usize>()
}

/// Returns the words in lower case, without punctuation.
fn normalized(text: &str) -> String {
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect::<Vec<_>>().join(" ")
}
