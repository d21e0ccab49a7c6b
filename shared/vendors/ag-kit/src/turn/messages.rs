//! The messages of a turn.

use std::collections::HashMap;

/// The role of a message without one.
const ASSISTANT: &str = "assistant";

/// A message of a turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The agent's id for the message. AG-Kit has no message ids.
    pub id: Option<String>,
    /// `assistant`, `user`, `system` or `developer`.
    pub role: String,
    /// The text received so far.
    pub content: String,
}

/// Messages in the order in which they began.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Messages {
    pub(super) list: Vec<Message>,
    by_id: HashMap<String, usize>,
    /// The message that text without an id is appended to.
    open: Option<usize>,
    /// Whether an assistant message has text.
    has_answer: bool,
}

impl Messages {
    /// Begins a message, or continues the one with the same id and role.
    pub(super) fn begin(&mut self, id: Option<&str>, role: Option<&str>) -> usize {
        let has_role =
            |at: &usize| self.list.get(*at).is_some_and(|message| role.is_none_or(|role| role == message.role));
        let known = id.and_then(|id| self.by_id.get(id).copied()).filter(has_role);
        let at = known.unwrap_or_else(|| {
            let at = self.list.len();
            if let Some(id) = id {
                self.by_id.insert(id.to_owned(), at);
            }
            let role = role.unwrap_or(ASSISTANT).to_owned();
            self.list.push(Message { id: id.map(str::to_owned), role, content: String::new() });
            at
        });
        self.open = Some(at);
        at
    }

    /// Appends text to the message with this id, or to the open message if `id` is `None`. Begins a message if none
    /// exists.
    pub(super) fn append(&mut self, id: Option<&str>, role: Option<&str>, text: &str) -> usize {
        let at = match (id, self.open) {
            (None, Some(open)) => open,
            _ => self.begin(id, role),
        };
        if let Some(message) = self.list.get_mut(at) {
            message.content.push_str(text);
            self.has_answer |= message.role == ASSISTANT && !message.content.is_empty();
        }
        at
    }

    /// Ends the open message if it has this id, or if `id` is `None`.
    pub(super) fn end(&mut self, id: Option<&str>) {
        if id.is_none_or(|id| self.by_id.get(id).copied() == self.open) {
            self.open = None;
        }
    }

    /// Adds a complete message from a snapshot.
    pub(super) fn add(&mut self, message: Message) {
        if let Some(id) = &message.id {
            self.by_id.insert(id.clone(), self.list.len());
        }
        self.has_answer |= message.role == ASSISTANT && !message.content.is_empty();
        self.list.push(message);
    }

    /// Whether a message with this id has begun.
    pub(super) fn has(&self, id: &str) -> bool {
        self.by_id.contains_key(id)
    }

    /// The text that was received for an id, if it is not empty.
    pub(super) fn text(&self, id: Option<&str>) -> Option<&str> {
        let message = self.list.get(*self.by_id.get(id?)?)?;
        Some(message.content.as_str()).filter(|text| !text.is_empty())
    }

    /// Replaces the messages by a snapshot. A snapshot without text of the assistant does not replace messages with
    /// such text.
    pub(super) fn replace(&mut self, snapshot: Messages) {
        if snapshot.has_answer || !self.has_answer {
            *self = snapshot;
        }
    }

    /// The texts of the assistant messages, joined by a blank line.
    pub(super) fn answer(&self) -> String {
        let texts = self.list.iter().filter(|message| message.role == ASSISTANT && !message.content.is_empty());
        texts.map(|message| message.content.as_str()).collect::<Vec<_>>().join("\n\n")
    }
}
