//! A turn, folded from the events of an answer: its messages and tool calls, and how it ended.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::json;
use crate::wire::{Field, Item, Raw, read};

use super::{Dialect, kit, ui};

mod calls;
mod interrupts;
mod messages;

pub use calls::Call;
use calls::Calls;
use interrupts::Interrupts;
pub use messages::Message;
use messages::Messages;

/// A turn, as far as its events have come.
#[derive(Debug, Clone, PartialEq)]
pub struct Turn {
    dialect: Dialect,
    /// Whether the content is kept, or only how the turn ends.
    keeps: bool,
    /// The ids of the request's messages.
    history: HashSet<String>,
    messages: Messages,
    calls: Calls,
    interrupts: Interrupts,
    /// The tokens used, where the agent reports them: the elements of `usage`.
    pub usage: Vec<Raw>,
    /// How the last run ended; `None` while it has not.
    pub end: Option<End>,
    /// The agent's own words about the failure of the last run.
    pub error: Option<AgentError>,
    /// Number of events that were no JSON object, or of no documented type.
    pub odd: usize,
    /// Number of events.
    pub events: usize,
}

/// How a run ended. Written as one word, with the reason behind `failed:`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// It ended well.
    Completed,
    /// It waits for decisions.
    Interrupted,
    /// It was stopped on purpose.
    Cancelled,
    /// It failed. Holds a word or two, without the agent's text.
    Failed(String),
}

impl End {
    /// The word without the reason.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            End::Completed => "completed",
            End::Interrupted => "interrupted",
            End::Cancelled => "cancelled",
            End::Failed(_) => "failed",
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())?;
        if let End::Failed(why) = self { write!(f, ":{why}") } else { Ok(()) }
    }
}

/// An agent's error, in its own words.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AgentError {
    /// The code, where the agent names one.
    pub code: Option<String>,
    /// The text, where there is one.
    pub message: Option<String>,
}

/// What an event changed in a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Neither a text nor a result.
    Nothing,
    /// A message has more text.
    Text {
        /// The message's place in [`Turn::messages`].
        message: usize,
        /// Where the new text begins in its content, in bytes.
        from: usize,
    },
    /// A tool call has its result.
    Result {
        /// The call's place in [`Turn::tool_calls`].
        call: usize,
    },
    /// A snapshot replaced messages and calls.
    Snapshot,
}

/// The mark that ends an answer of AG-Kit, in place of an event.
pub const DONE: &str = "[DONE]";

impl Turn {
    /// A turn without events.
    #[must_use]
    pub fn new(dialect: Dialect) -> Self {
        Turn {
            dialect,
            keeps: true,
            history: HashSet::new(),
            messages: Messages::default(),
            calls: Calls::default(),
            interrupts: Interrupts::default(),
            usage: Vec::new(),
            end: None,
            error: None,
            odd: 0,
            events: 0,
        }
    }

    /// The answer to a request, which is JSON. Snapshots restate the request's messages; they are no part of the
    /// answer.
    #[must_use]
    pub fn answering(self, request: &str) -> Self {
        let messages = json::pick(request, &["messages"]).get("messages");
        let messages: Option<Vec<&RawValue>> = messages.and_then(|list| serde_json::from_str(list.get()).ok());
        let ids = messages.into_iter().flatten().filter_map(|message| json::text_member(message.get(), "id"));
        Turn { history: ids.collect(), ..self }
    }

    /// A turn that keeps no content and learns how it ends. Its size does not grow with the answer.
    #[must_use]
    pub fn watched(dialect: Dialect) -> Self {
        Turn { keeps: false, ..Self::new(dialect) }
    }

    /// The messages, in the order in which they began.
    #[must_use]
    pub fn messages(&self) -> &[Message] {
        &self.messages.list
    }

    /// The texts of the assistant messages, joined by a blank line.
    #[must_use]
    pub fn content(&self) -> String {
        self.messages.answer()
    }

    /// The tool calls, in the order in which they began.
    #[must_use]
    pub fn tool_calls(&self) -> &[Call] {
        &self.calls.list
    }

    /// The interrupts that the last run waits for: AG-Kit's `interrupt` events, the interrupts of an AG-UI outcome, or
    /// the values of `on_interrupt`.
    pub fn interrupts(&self) -> impl Iterator<Item = &Raw> {
        self.interrupts.iter()
    }

    /// Takes the data of the next event.
    pub fn take(&mut self, data: &str) -> Change {
        self.events += 1;
        if data.trim() == DONE {
            // Older AG-UI servers send it after their own end; it is no end in that dialect.
            if self.dialect == Dialect::AgKit && self.end.is_none() {
                self.end = Some(if self.interrupts.is_empty() { End::Completed } else { End::Interrupted });
            }
            return Change::Nothing;
        }
        if let Some(change) = self.glance(data) {
            return change;
        }
        let data = lean(data);
        let change = match self.dialect {
            Dialect::AgKit => read(&data).ok().and_then(|event| self.take_kit(event)),
            Dialect::AgUi => read(&data).ok().and_then(|event| self.take_ui(event)),
        };
        self.odd += usize::from(change.is_none());
        change.unwrap_or(Change::Nothing)
    }

    /// Takes an event by its type alone, where its other members are not read as a whole: a run that begins with a long
    /// history, a snapshot, and for a watched turn everything that decides nothing. Most events are of the last kind,
    /// and so are the large ones.
    fn glance(&mut self, data: &str) -> Option<Change> {
        let kind = kind_of(data)?;
        let (kinds, deciding): (_, &[&str]) = match (self.dialect, kind.as_str()) {
            (Dialect::AgUi, "RUN_STARTED") => {
                self.start();
                return Some(Change::Nothing);
            }
            (Dialect::AgUi, "MESSAGES_SNAPSHOT") if self.keeps => {
                self.replace(data);
                return Some(Change::Snapshot);
            }
            _ if self.keeps => return None,
            (Dialect::AgKit, _) => (kit::Event::KINDS, &["interrupt", "error"]),
            (Dialect::AgUi, _) => (ui::Event::KINDS, &["RUN_FINISHED", "RUN_ERROR", "CUSTOM"]),
        };
        let kind = kind.as_str();
        (kinds.contains(&kind) && !deciding.contains(&kind)).then_some(Change::Nothing)
    }

    /// `None` where the event is of no documented type.
    fn take_kit(&mut self, event: kit::Event) -> Option<Change> {
        use kit::Event as E;
        match event {
            // Text before a tool call and text after it are two messages: the dialect has no ids to tell them apart by.
            E::ToolCallStart(event) => {
                self.messages.end(None);
                self.calls.begin(id(&event.tool_call_id).as_deref(), id(&event.tool_call_name).as_deref());
            }
            E::Text(event) => return Some(self.say(None, None, &event.content)),
            E::ToolCallArgs(event) => {
                self.calls.argue(id(&event.tool_call_id).as_deref(), &text_or_empty(&event.delta))
            }
            E::ToolCallEnd(event) => self.calls.end(id(&event.tool_call_id).as_deref()),
            E::ToolResult(event) => return Some(self.answer(id(&event.tool_call_id).as_deref(), &event.result)),
            E::Interrupt(event) => self.wait_for(raw(&event), Interrupts::event),
            E::Failure(event) => self.fail("error", text(&event.code), text(&event.error)),
            E::Other(event) => return self.take_unknown(&event),
        }
        Some(Change::Nothing)
    }

    fn take_ui(&mut self, event: ui::Event) -> Option<Change> {
        use ui::Event as E;
        match event {
            E::TextMessageStart(event) => {
                self.messages.begin(id(&event.message_id).as_deref(), role(&event.role));
            }
            E::TextMessageContent(event) => {
                return Some(self.say(id(&event.message_id).as_deref(), None, &event.delta));
            }
            E::TextMessageChunk(event) => {
                return Some(self.say(id(&event.message_id).as_deref(), role(&event.role), &event.delta));
            }
            E::TextMessageEnd(event) => self.messages.end(id(&event.message_id).as_deref()),
            E::ToolCallStart(event) => {
                self.messages.end(None);
                self.calls.begin(id(&event.tool_call_id).as_deref(), id(&event.tool_call_name).as_deref());
            }
            E::ToolCallArgs(event) => {
                self.calls.argue(id(&event.tool_call_id).as_deref(), &text_or_empty(&event.delta))
            }
            E::ToolCallEnd(event) => self.calls.end(id(&event.tool_call_id).as_deref()),
            E::ToolCallChunk(event) => {
                self.messages.end(None);
                let (id, name) = (id(&event.tool_call_id), id(&event.tool_call_name));
                self.calls.chunk(id.as_deref(), name.as_deref(), &text_or_empty(&event.delta));
            }
            E::ToolCallResult(event) => return Some(self.answer(id(&event.tool_call_id).as_deref(), &event.content)),
            E::Custom(event) if event.name.get().is_some_and(|name| name == "on_interrupt") => {
                // Some servers leave a value out that is `null`.
                let value = event.value.get().cloned().or_else(|| read("null").ok());
                self.wait_for(value, Interrupts::custom);
            }
            E::RunFinished(event) => self.finish(&event),
            E::RunError(event) => {
                self.used(&event.usage);
                // A failure may be told after the run's end, and counts then too.
                self.end = self.end.take().filter(|end| matches!(end, End::Failed(_)));
                self.fail("RUN_ERROR", text(&event.code), text(&event.message));
            }
            E::Other(event) => return self.take_unknown(&event),
            _ => {}
        }
        Some(Change::Nothing)
    }

    /// Takes an event without a type. As the first one, `{"error": …}` says that the agent could not begin; older
    /// servers of both dialects send it.
    fn take_unknown(&mut self, event: &Raw) -> Option<Change> {
        let failure = event.read::<kit::CouldNotBegin>().ok().filter(|_| !json::has_member(event.text(), "type"))?;
        if self.events > 1 || failure.error.get().is_none() {
            return None;
        }
        self.fail("could not begin", None, text(&failure.error));
        Some(Change::Nothing)
    }

    /// Several runs may follow each other in one answer. The last one decides how the turn ended.
    fn start(&mut self) {
        if self.end.take().is_some() {
            self.error = None;
            self.interrupts = Interrupts::default();
            self.messages.end(None);
            self.calls.end_all();
        }
    }

    fn finish(&mut self, event: &ui::RunFinished) {
        self.used(&event.usage);
        let outcome = Outcome::of(event);
        if let Outcome::Interrupt(interrupts) = &outcome {
            let kept = if self.keeps { interrupts.len() } else { 1 };
            self.interrupts.listed(interrupts.iter().take(kept).cloned().collect());
        }
        let end = match outcome {
            Outcome::Success if self.interrupts.is_empty() => End::Completed,
            Outcome::Success | Outcome::Interrupt(_) => End::Interrupted,
            Outcome::Cancelled => End::Cancelled,
            Outcome::Unknown => End::Failed("unknown-outcome".to_owned()),
        };
        // Servers in layers say the end twice: the one that tells more counts.
        if matches!(self.end, None | Some(End::Completed)) {
            self.end = Some(end);
        }
    }

    /// A watched turn keeps one interrupt, whatever the number.
    fn wait_for(&mut self, what: Option<Raw>, tell: fn(&mut Interrupts, Raw)) {
        if let Some(what) = what.filter(|_| self.keeps || self.interrupts.is_empty()) {
            tell(&mut self.interrupts, what);
        }
    }

    fn used(&mut self, usage: &Field<Vec<Item<ui::Usage>>>) {
        if self.keeps {
            self.usage.extend(usage.get().into_iter().flatten().filter_map(raw));
        }
    }

    fn say(&mut self, id: Option<&str>, role: Option<&str>, delta: &Field<String>) -> Change {
        let text = text_or_empty(delta);
        let message = self.messages.append(id, role, &text);
        let length = self.messages.list.get(message).map_or(0, |message| message.content.len());
        Change::Text { message, from: length - text.len() }
    }

    fn answer(&mut self, id: Option<&str>, result: &Field<String>) -> Change {
        self.messages.end(None);
        Change::Result { call: self.calls.answer(id, &text_or_empty(result)) }
    }

    /// Takes a snapshot, whose messages are read one by one. A message that is empty, or that only calls tools, keeps
    /// the text that was received under its id.
    fn replace(&mut self, data: &str) {
        let (mut messages, mut calls) = (Messages::default(), Calls::default());
        let list = json::pick(data, &["messages"]).get("messages");
        let list: Vec<&RawValue> = list.and_then(|list| serde_json::from_str(list.get()).ok()).unwrap_or_default();
        for message in list.into_iter().filter_map(|message| read::<ui::Message>(message.get()).ok()) {
            let content = message.content.get().and_then(|content| text_of(content.text()));
            let (own, role) = (id(&message.id), role(&message.role));
            let own = own.as_deref();
            if own.is_some_and(|id| self.history.contains(id) && !self.messages.has(id)) {
                continue;
            }
            match role {
                Some("tool") => {
                    calls.answer(id(&message.tool_call_id).as_deref(), content.as_deref().unwrap_or_default());
                    continue;
                }
                Some("activity" | "reasoning") => continue,
                _ => {}
            }
            let content = match content.as_deref() {
                None | Some("") => self.messages.text(own).or(content.as_deref()),
                content => content,
            };
            if let Some(content) = content {
                let role = role.unwrap_or("assistant").to_owned();
                messages.add(Message { id: own.map(str::to_owned), role, content: content.to_owned() });
            }
            for call in message.tool_calls.get().into_iter().flatten().filter_map(Item::get) {
                let function = call.function.get();
                let own = |field: Option<&Field<String>>| field.and_then(text).unwrap_or_default().into_owned();
                calls.add(Call {
                    id: id(&call.id).unwrap_or_default().into_owned(),
                    name: own(function.map(|function| &function.name)),
                    arguments: own(function.map(|function| &function.arguments)),
                    result: None,
                });
            }
        }
        self.messages.replace(messages);
        self.calls.replace(calls);
    }

    fn fail(&mut self, why: &str, code: Option<Cow<'_, str>>, message: Option<Cow<'_, str>>) {
        self.end.get_or_insert_with(|| End::Failed(why.to_owned()));
        let own = |text: Option<Cow<'_, str>>| text.map(Cow::into_owned).filter(|text| !text.is_empty());
        let error = self.error.get_or_insert_default();
        error.code = error.code.take().or_else(|| own(code));
        error.message = error.message.take().or_else(|| own(message));
    }
}

/// What `RUN_FINISHED` says of its run.
enum Outcome {
    Success,
    /// The run waits for these, as far as they are listed.
    Interrupt(Vec<Raw>),
    Cancelled,
    /// A later release's outcome. It is not taken for success.
    Unknown,
}

impl Outcome {
    /// Reads an outcome: an object with a type, as AG-UI 1.0 has it, or a word beside an `interrupt`, as its draft had
    /// it. An absent one is success, unless an interrupt stands beside it.
    fn of(event: &ui::RunFinished) -> Outcome {
        let beside: Vec<Raw> = event.interrupt.get().cloned().into_iter().collect();
        let word = match &event.outcome {
            Field::Absent | Field::Null if beside.is_empty() => return Outcome::Success,
            Field::Absent | Field::Null => return Outcome::Interrupt(beside),
            Field::Is(ui::Outcome::Interrupt(waits)) => {
                let listed: Vec<Raw> = waits.interrupts.get().into_iter().flatten().filter_map(raw).collect();
                // Without an id it is one of those listed.
                let is_listed = |beside: &Raw| !listed.is_empty() && interrupts::id_of(beside).is_none();
                let beside: Vec<Raw> = beside.into_iter().filter(|beside| !is_listed(beside)).collect();
                return Outcome::Interrupt([listed, beside].concat());
            }
            Field::Is(ui::Outcome::Success(_)) => return Outcome::Success,
            Field::Is(ui::Outcome::Cancelled(_)) => return Outcome::Cancelled,
            Field::Is(ui::Outcome::Other(_)) => return Outcome::Unknown,
            Field::Unexpected(other) => other.read::<String>().ok(),
        };
        match word.as_deref() {
            Some("success") => Outcome::Success,
            Some("interrupt") => Outcome::Interrupt(beside),
            Some("cancelled") => Outcome::Cancelled,
            _ => Outcome::Unknown,
        }
    }
}

fn kind_of(event: &str) -> Option<String> {
    json::text_member(event, "type")
}

/// An event as it is read. The types read nothing of an event with very many values, since one of its members may hold
/// as many: such a member is read as the text of its JSON.
fn lean(event: &str) -> Cow<'_, str> {
    const READ: &[&str] = &[
        "type",
        "messageId",
        "role",
        "delta",
        "content",
        "toolCallId",
        "toolCallName",
        "result",
        "name",
        "value",
        "id",
        "payload",
        "outcome",
        "interrupt",
        "usage",
        "message",
        "code",
        "error",
    ];
    if !json::is_vast(event) {
        return Cow::Borrowed(event);
    }
    let picked = json::pick(event, READ);
    let member = |name: &&str| {
        let value = picked.get(name)?.get();
        let text =
            if json::is_vast(value) { Cow::Owned(serde_json::to_string(value).ok()?) } else { Cow::Borrowed(value) };
        Some(format!("\"{name}\":{text}"))
    };
    Cow::Owned(format!("{{{}}}", READ.iter().filter_map(member).collect::<Vec<_>>().join(",")))
}

/// A value as JSON text.
fn raw(value: &impl serde::Serialize) -> Option<Raw> {
    read(&serde_json::to_string(value).ok()?).ok()
}

/// An id or a name, of whatever type; `None` where it is empty.
fn id(field: &Field<String>) -> Option<Cow<'_, str>> {
    text(field).filter(|id| !id.is_empty())
}

fn role(field: &Field<ui::Role>) -> Option<&str> {
    field.get().map(ui::Role::as_str).filter(|role| !role.is_empty())
}

/// The text of a member, whatever its type: see [`text_of`]. `None` where it is absent or `null`.
fn text(field: &Field<String>) -> Option<Cow<'_, str>> {
    match field {
        Field::Is(text) => Some(Cow::Borrowed(text)),
        Field::Unexpected(other) => text_of(other.text()),
        Field::Absent | Field::Null => None,
    }
}

fn text_or_empty(field: &Field<String>) -> Cow<'_, str> {
    text(field).unwrap_or_default()
}

/// The text of a value: a string as it is, parts that are all text joined, anything else as its JSON. `None` for
/// `null`.
fn text_of(value: &str) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Part {
        r#type: String,
        text: String,
    }
    match value.as_bytes().first() {
        Some(b'n') => None,
        Some(b'"') => {
            let literal = serde_json::from_str::<&RawValue>(value).ok();
            literal.and_then(json::lossy_string).map(|text| Cow::Owned(text.into_owned()))
        }
        Some(b'[') => {
            let parts: Option<Vec<Part>> = serde_json::from_str(value).ok();
            let parts = parts.filter(|parts| parts.iter().all(|part| part.r#type == "text"));
            Some(parts.map_or(Cow::Borrowed(value), |parts| parts.into_iter().map(|part| part.text).collect()))
        }
        _ => Some(Cow::Borrowed(value)),
    }
}

#[cfg(test)]
mod tests;
