//! A turn, accumulated from the events of a response: its messages, its tool calls and its end.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::Deserialize;
use serde_json::value::RawValue;

use gatehouse_payload::json;
use gatehouse_payload::wire::{Field, Item, Raw, read};

use super::{Dialect, kit, ui};

mod calls;
mod interrupts;
mod messages;

pub use calls::Call;
use calls::Calls;
use interrupts::Interrupts;
pub use messages::Message;
use messages::Messages;

/// A turn, accumulated from the events so far.
#[derive(Debug, Clone, PartialEq)]
pub struct Turn {
    dialect: Dialect,
    /// Whether the content is stored, or only the end of the turn.
    stores_content: bool,
    /// The ids of the request's messages.
    history: HashSet<String>,
    messages: Messages,
    calls: Calls,
    interrupts: Interrupts,
    /// The token usage that the agent reports: the elements of `usage`.
    pub usage: Vec<Raw>,
    /// The end of the last run; `None` while it is running.
    pub end: Option<End>,
    /// The agent's error if the last run failed.
    pub error: Option<AgentError>,
    /// Number of events that were not a JSON object or had no documented type.
    pub odd: usize,
    /// Number of events.
    pub events: usize,
}

/// The end of a run. Displayed as one word; for a failure `failed:` and the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The run succeeded.
    Completed,
    /// The run waits for decisions.
    Interrupted,
    /// The run was cancelled.
    Cancelled,
    /// The run failed. Contains a short reason without the agent's text.
    Failed(String),
}

impl End {
    /// The name of the end, without the reason of a failure.
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
        if let End::Failed(reason) = self { write!(f, ":{reason}") } else { Ok(()) }
    }
}

/// An error that an agent reported.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AgentError {
    /// The code, if the agent sent one.
    pub code: Option<String>,
    /// The text, if the agent sent one.
    pub message: Option<String>,
}

/// The change of a turn by an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Neither a text nor a result changed.
    Nothing,
    /// Text was appended to a message.
    Text {
        /// The index of the message in [`Turn::messages`].
        message: usize,
        /// The byte offset of the new text in the message's content.
        from: usize,
    },
    /// A tool call received its result.
    Result {
        /// The index of the call in [`Turn::tool_calls`].
        call: usize,
    },
    /// A snapshot replaced the messages and calls.
    Snapshot,
}

/// The data that ends an AG-Kit response, in place of an event.
pub const DONE: &str = "[DONE]";

impl Turn {
    /// Creates a turn without events.
    #[must_use]
    pub fn new(dialect: Dialect) -> Self {
        Turn {
            dialect,
            stores_content: true,
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

    /// Sets the request that the turn responds to, as JSON text. Snapshots repeat the messages of the request, which
    /// are not part of the response.
    #[must_use]
    pub fn answering(self, request: &str) -> Self {
        let messages = json::pick(request, &["messages"]).get("messages");
        let messages: Option<Vec<&RawValue>> = messages.and_then(|list| serde_json::from_str(list.get()).ok());
        let ids = messages.into_iter().flatten().filter_map(|message| json::text_member(message.get(), "id"));
        Turn { history: ids.collect(), ..self }
    }

    /// Creates a turn that stores its end and no content. Its size does not grow with the response.
    #[must_use]
    pub fn watched(dialect: Dialect) -> Self {
        Turn { stores_content: false, ..Self::new(dialect) }
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

    /// Adds the data of the next event.
    pub fn take(&mut self, data: &str) -> Change {
        self.events += 1;
        if data.trim() == DONE {
            // Older AG-UI servers send it after `RUN_FINISHED`. In that dialect it does not end the run.
            if self.dialect == Dialect::AgKit && self.end.is_none() {
                self.end = Some(if self.interrupts.is_empty() { End::Completed } else { End::Interrupted });
            }
            return Change::Nothing;
        }
        if let Some(change) = self.take_by_type(data) {
            return change;
        }
        let data = reduced(data);
        let change = match self.dialect {
            Dialect::AgKit => read(&data).ok().and_then(|event| self.take_kit(event)),
            Dialect::AgUi => read(&data).ok().and_then(|event| self.take_ui(event)),
        };
        self.odd += usize::from(change.is_none());
        change.unwrap_or(Change::Nothing)
    }

    /// Handles the events that need not be parsed completely; `None` for all others.
    ///
    /// These are the start of a run, which may contain a long history, and snapshots. For a watched turn they are all
    /// events that cannot end a run, which includes most events and the large ones.
    fn take_by_type(&mut self, data: &str) -> Option<Change> {
        let kind = kind_of(data)?;
        let (kinds, ending): (_, &[&str]) = match (self.dialect, kind.as_str()) {
            (Dialect::AgUi, "RUN_STARTED") => {
                self.start();
                return Some(Change::Nothing);
            }
            (Dialect::AgUi, "MESSAGES_SNAPSHOT") if self.stores_content => {
                self.replace(data);
                return Some(Change::Snapshot);
            }
            _ if self.stores_content => return None,
            (Dialect::AgKit, _) => (kit::Event::KINDS, &["interrupt", "error"]),
            (Dialect::AgUi, _) => (ui::Event::KINDS, &["RUN_FINISHED", "RUN_ERROR", "CUSTOM"]),
        };
        let kind = kind.as_str();
        (kinds.contains(&kind) && !ending.contains(&kind)).then_some(Change::Nothing)
    }

    /// Adds an AG-Kit event; `None` if its type is not documented.
    fn take_kit(&mut self, event: kit::Event) -> Option<Change> {
        use kit::Event as E;
        match event {
            // The dialect has no message ids. Text before a tool call and text after it are two messages.
            E::ToolCallStart(event) => {
                self.messages.end(None);
                self.calls.begin(id(&event.tool_call_id).as_deref(), id(&event.tool_call_name).as_deref());
            }
            E::Text(event) => return Some(self.append_text(None, None, &event.content)),
            E::ToolCallArgs(event) => {
                self.calls.append_arguments(id(&event.tool_call_id).as_deref(), &text_or_empty(&event.delta))
            }
            E::ToolCallEnd(event) => self.calls.end(id(&event.tool_call_id).as_deref()),
            E::ToolResult(event) => return Some(self.set_result(id(&event.tool_call_id).as_deref(), &event.result)),
            E::Interrupt(event) => self.wait_for(raw(&event), Interrupts::add),
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
                return Some(self.append_text(id(&event.message_id).as_deref(), None, &event.delta));
            }
            E::TextMessageChunk(event) => {
                return Some(self.append_text(id(&event.message_id).as_deref(), role(&event.role), &event.delta));
            }
            E::TextMessageEnd(event) => self.messages.end(id(&event.message_id).as_deref()),
            E::ToolCallStart(event) => {
                self.messages.end(None);
                self.calls.begin(id(&event.tool_call_id).as_deref(), id(&event.tool_call_name).as_deref());
            }
            E::ToolCallArgs(event) => {
                self.calls.append_arguments(id(&event.tool_call_id).as_deref(), &text_or_empty(&event.delta))
            }
            E::ToolCallEnd(event) => self.calls.end(id(&event.tool_call_id).as_deref()),
            E::ToolCallChunk(event) => {
                self.messages.end(None);
                let (id, name) = (id(&event.tool_call_id), id(&event.tool_call_name));
                self.calls.chunk(id.as_deref(), name.as_deref(), &text_or_empty(&event.delta));
            }
            E::ToolCallResult(event) => {
                return Some(self.set_result(id(&event.tool_call_id).as_deref(), &event.content));
            }
            E::Custom(event) if event.name.get().is_some_and(|name| name == "on_interrupt") => {
                // Some servers omit a value that is `null`.
                let value = event.value.get().cloned().or_else(|| read("null").ok());
                self.wait_for(value, Interrupts::add_custom);
            }
            E::RunFinished(event) => self.finish(&event),
            E::RunError(event) => {
                self.add_usage(&event.usage);
                // A failure counts even if it is reported after the end of the run.
                self.end = self.end.take().filter(|end| matches!(end, End::Failed(_)));
                self.fail("RUN_ERROR", text(&event.code), text(&event.message));
            }
            E::Other(event) => return self.take_unknown(&event),
            _ => {}
        }
        Some(Change::Nothing)
    }

    /// Adds an event without a documented type. If the first event is `{"error": …}`, the agent could not begin. Older
    /// servers of both dialects send it.
    fn take_unknown(&mut self, event: &Raw) -> Option<Change> {
        let failure = event.read::<kit::CouldNotBegin>().ok().filter(|_| !json::has_member(event.text(), "type"))?;
        if self.events > 1 || failure.error.get().is_none() {
            return None;
        }
        self.fail("could not begin", None, text(&failure.error));
        Some(Change::Nothing)
    }

    /// Starts a run. A response may contain several runs, and the last one determines the end of the turn.
    fn start(&mut self) {
        if self.end.take().is_some() {
            self.error = None;
            self.interrupts = Interrupts::default();
            self.messages.end(None);
            self.calls.end_all();
        }
    }

    fn finish(&mut self, event: &ui::RunFinished) {
        self.add_usage(&event.usage);
        let outcome = Outcome::of(event);
        if let Outcome::Interrupt(interrupts) = &outcome {
            let stored = if self.stores_content { interrupts.len() } else { 1 };
            self.interrupts.add_listed(interrupts.iter().take(stored).cloned().collect());
        }
        let end = match outcome {
            Outcome::Success if self.interrupts.is_empty() => End::Completed,
            Outcome::Success | Outcome::Interrupt(_) => End::Interrupted,
            Outcome::Cancelled => End::Cancelled,
            Outcome::Unknown => End::Failed("unknown-outcome".to_owned()),
        };
        // Layered servers report the end twice. The more specific one counts.
        if matches!(self.end, None | Some(End::Completed)) {
            self.end = Some(end);
        }
    }

    /// Adds an interrupt. A watched turn stores only the first one.
    fn wait_for(&mut self, interrupt: Option<Raw>, add: fn(&mut Interrupts, Raw)) {
        if let Some(interrupt) = interrupt.filter(|_| self.stores_content || self.interrupts.is_empty()) {
            add(&mut self.interrupts, interrupt);
        }
    }

    fn add_usage(&mut self, usage: &Field<Vec<Item<ui::Usage>>>) {
        if self.stores_content {
            self.usage.extend(usage.get().into_iter().flatten().filter_map(raw));
        }
    }

    fn append_text(&mut self, id: Option<&str>, role: Option<&str>, delta: &Field<String>) -> Change {
        let text = text_or_empty(delta);
        let message = self.messages.append(id, role, &text);
        let length = self.messages.list.get(message).map_or(0, |message| message.content.len());
        Change::Text { message, from: length - text.len() }
    }

    fn set_result(&mut self, id: Option<&str>, result: &Field<String>) -> Change {
        self.messages.end(None);
        Change::Result { call: self.calls.set_result(id, &text_or_empty(result)) }
    }

    /// Applies a snapshot, whose messages are read one by one. A message that is empty or only calls tools keeps the
    /// text that was received with its id.
    fn replace(&mut self, data: &str) {
        let (mut messages, mut calls) = (Messages::default(), Calls::default());
        let list = json::pick(data, &["messages"]).get("messages");
        let list: Vec<&RawValue> = list.and_then(|list| serde_json::from_str(list.get()).ok()).unwrap_or_default();
        for message in list.into_iter().filter_map(|message| read::<ui::Message>(message.get()).ok()) {
            let content = message.content.get().and_then(|content| text_of(content.text()));
            let (message_id, role) = (id(&message.id), role(&message.role));
            let message_id = message_id.as_deref();
            if message_id.is_some_and(|id| self.history.contains(id) && !self.messages.has(id)) {
                continue;
            }
            match role {
                Some("tool") => {
                    calls.set_result(id(&message.tool_call_id).as_deref(), content.as_deref().unwrap_or_default());
                    continue;
                }
                Some("activity" | "reasoning") => continue,
                _ => {}
            }
            let content = match content.as_deref() {
                None | Some("") => self.messages.text(message_id).or(content.as_deref()),
                content => content,
            };
            if let Some(content) = content {
                let role = role.unwrap_or("assistant").to_owned();
                messages.add(Message { id: message_id.map(str::to_owned), role, content: content.to_owned() });
            }
            for call in message.tool_calls.get().into_iter().flatten().filter_map(Item::get) {
                let function = call.function.get();
                let owned = |field: Option<&Field<String>>| field.and_then(text).unwrap_or_default().into_owned();
                calls.add(Call {
                    id: id(&call.id).unwrap_or_default().into_owned(),
                    name: owned(function.map(|function| &function.name)),
                    arguments: owned(function.map(|function| &function.arguments)),
                    result: None,
                });
            }
        }
        self.messages.replace(messages);
        self.calls.replace(calls);
    }

    fn fail(&mut self, reason: &str, code: Option<Cow<'_, str>>, message: Option<Cow<'_, str>>) {
        self.end.get_or_insert_with(|| End::Failed(reason.to_owned()));
        let owned = |text: Option<Cow<'_, str>>| text.map(Cow::into_owned).filter(|text| !text.is_empty());
        let error = self.error.get_or_insert_default();
        error.code = error.code.take().or_else(|| owned(code));
        error.message = error.message.take().or_else(|| owned(message));
    }
}

/// The outcome of a run according to `RUN_FINISHED`.
enum Outcome {
    Success,
    /// The run waits for these interrupts, which may be an incomplete list.
    Interrupt(Vec<Raw>),
    Cancelled,
    /// An outcome of a later release of the protocol. It does not count as success.
    Unknown,
}

impl Outcome {
    /// Reads an outcome: an object with a type as in AG-UI 1.0, or a string with a member `interrupt` next to it as in
    /// its draft. An absent outcome is a success unless the event has an `interrupt`.
    fn of(event: &ui::RunFinished) -> Outcome {
        let draft_interrupt: Vec<Raw> = event.interrupt.get().cloned().into_iter().collect();
        let name = match &event.outcome {
            Field::Absent | Field::Null if draft_interrupt.is_empty() => return Outcome::Success,
            Field::Absent | Field::Null => return Outcome::Interrupt(draft_interrupt),
            Field::Is(ui::Outcome::Interrupt(outcome)) => {
                let listed: Vec<Raw> = outcome.interrupts.get().into_iter().flatten().filter_map(raw).collect();
                // An interrupt without an id repeats one of the list.
                let is_listed = |interrupt: &Raw| !listed.is_empty() && interrupts::id_of(interrupt).is_none();
                let unlisted: Vec<Raw> =
                    draft_interrupt.into_iter().filter(|interrupt| !is_listed(interrupt)).collect();
                return Outcome::Interrupt([listed, unlisted].concat());
            }
            Field::Is(ui::Outcome::Success(_)) => return Outcome::Success,
            Field::Is(ui::Outcome::Cancelled(_)) => return Outcome::Cancelled,
            Field::Is(ui::Outcome::Other(_)) => return Outcome::Unknown,
            Field::Unexpected(other) => other.read::<String>().ok(),
        };
        match name.as_deref() {
            Some("success") => Outcome::Success,
            Some("interrupt") => Outcome::Interrupt(draft_interrupt),
            Some("cancelled") => Outcome::Cancelled,
            _ => Outcome::Unknown,
        }
    }
}

fn kind_of(event: &str) -> Option<String> {
    json::text_member(event, "type")
}

/// Reduces an event with too many values for the types to the members that are read. A member that still has too many
/// values is replaced by a string with its JSON text.
fn reduced(event: &str) -> Cow<'_, str> {
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
    if !json::has_too_many_parts(event) {
        return Cow::Borrowed(event);
    }
    let picked = json::pick(event, READ);
    let member = |name: &&str| {
        let value = picked.get(name)?.get();
        let text = if json::has_too_many_parts(value) {
            Cow::Owned(serde_json::to_string(value).ok()?)
        } else {
            Cow::Borrowed(value)
        };
        Some(format!("\"{name}\":{text}"))
    };
    Cow::Owned(format!("{{{}}}", READ.iter().filter_map(member).collect::<Vec<_>>().join(",")))
}

/// A value as JSON text.
fn raw(value: &impl serde::Serialize) -> Option<Raw> {
    read(&serde_json::to_string(value).ok()?).ok()
}

/// An id or a name of any type as text; `None` if it is empty.
fn id(field: &Field<String>) -> Option<Cow<'_, str>> {
    text(field).filter(|id| !id.is_empty())
}

fn role(field: &Field<ui::Role>) -> Option<&str> {
    field.get().map(ui::Role::as_str).filter(|role| !role.is_empty())
}

/// The text of a member of any type, as in [`text_of`]. `None` if the member is absent or `null`.
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

/// The text of a value: the content of a string, the joined text of parts that are all text, or the JSON text of any
/// other value. `None` for `null`.
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
