//! A message, as far as rules and code look into it.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use gatehouse_inbox::Event;
use gatehouse_payload::json::{self, Document};
use gatehouse_payload::pointer::{Found, Pointer};
use gatehouse_payload::vapi::tool_calls::{ToolCall, ToolCalls};
use gatehouse_payload::vapi::{Envelope, FINAL_TRANSCRIPT, Message};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A message of Vapi's, taken out of its wrapping as soon as someone looks into it: few messages have rules.
#[derive(Debug)]
pub struct Said {
    message: Arc<Whole>,
    tool: Option<Tool>,
}

/// The message itself, and what was found in it: many rules ask for the same places.
#[derive(Debug)]
struct Whole {
    body: Bytes,
    message_type: Option<String>,
    text: OnceLock<String>,
    /// Where the outermost members are; `None` where one stands twice.
    members: OnceLock<HashMap<String, Option<Range<usize>>>>,
    found: Mutex<HashMap<Pointer, Place>>,
}

/// [`Found`], by its place in the text.
#[derive(Debug, Clone)]
enum Place {
    Nothing,
    At(Range<usize>),
    Unclear,
}

/// The tool call a rule is asked about.
#[derive(Debug)]
struct Tool {
    name: String,
    /// What `/tool` points to.
    text: String,
}

impl Said {
    /// What an event says.
    #[must_use]
    pub fn by(event: &Event) -> Self {
        Self::new(event.body.clone(), event.event_type.clone())
    }

    /// What a delivery's body says. A body that is no JSON object says nothing.
    #[must_use]
    pub fn of(body: &[u8]) -> Self {
        let whole = Self::new(Bytes::copy_from_slice(body), None);
        let message_type = whole.message.with_members(|message| message.event_type().map(str::to_owned));
        Self::new(whole.message.body.clone(), message_type)
    }

    fn new(body: Bytes, message_type: Option<String>) -> Self {
        let (text, members, found) = (OnceLock::new(), OnceLock::new(), Mutex::default());
        Said { message: Arc::new(Whole { body, message_type, text, members, found }), tool: None }
    }

    /// The same, as a rule about a tool sees it: with one of its tool calls as `/tool`.
    #[must_use]
    pub fn about(&self, call: &ToolCall) -> Said {
        let (id, name) = (Value::from(call.id.as_str()), Value::from(call.name.as_str()));
        let text = format!(r#"{{"id":{id},"name":{name},"arguments":{}}}"#, call.arguments);
        Said { message: Arc::clone(&self.message), tool: Some(Tool { name: call.name.clone(), text }) }
    }

    /// The message's type; both names of a final transcript are `transcript`.
    #[must_use]
    pub fn message_type(&self) -> Option<&str> {
        self.message.message_type.as_deref()
    }

    /// Reads the whole message as one of the types of [`gatehouse_payload::vapi::message`].
    ///
    /// # Errors
    /// When a member's name is no text; nothing else keeps those types from being read.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.message.text())
    }

    /// The text at a place in the message: a string, or a number or a boolean as written.
    #[must_use]
    pub fn text(&self, pointer: &Pointer) -> Option<String> {
        let found = self.find(pointer).value()?;
        match found.as_bytes().first()? {
            b'"' => string(found),
            b'{' | b'[' | b'n' => None,
            _ => Some(found.to_owned()),
        }
    }

    /// What the message calls.
    #[must_use]
    pub fn tool_calls(&self) -> ToolCalls {
        ToolCalls::of(self.message.text())
    }

    pub(crate) fn find(&self, pointer: &Pointer) -> Found<'_> {
        match (&self.tool, pointer.split_first()) {
            (Some(tool), Some(("tool", rest))) => rest.find(&tool.text),
            _ => self.message.find(pointer),
        }
    }

    pub(crate) fn calls(&self, tool: &str) -> bool {
        self.tool.as_ref().is_some_and(|call| call.name == tool)
    }

    pub(crate) fn is_of(&self, message_type: &str) -> bool {
        match message_type {
            FINAL_TRANSCRIPT => {
                let is_final = || self.message.with_members(|message| message.transcript_type() == Some("final"));
                self.is_of("transcript") && is_final()
            }
            // Rules about tools apply to both messages that call them.
            "tool-calls" => matches!(self.message_type(), Some("tool-calls" | "function-call")),
            other => self.message_type() == Some(other),
        }
    }
}

impl Whole {
    fn with_members<T>(&self, of: impl FnOnce(&Message<'_>) -> T) -> T {
        let readable = Envelope::readable_in(self.text());
        of(&Message::of(&readable))
    }

    /// The message's text: a JSON object.
    fn text(&self) -> &str {
        self.text.get_or_init(|| match Document::read(&self.body) {
            Ok(document) => Envelope::of(&document).text().to_owned(),
            Err(_) => "{}".to_owned(),
        })
    }

    fn find(&self, pointer: &Pointer) -> Found<'_> {
        // Nothing that panics is done while it is held.
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let place = found.entry(pointer.clone()).or_insert_with(|| self.look_up(pointer)).clone();
        match place {
            Place::Nothing => Found::Nothing,
            Place::Unclear => Found::Unclear,
            Place::At(place) => self.text().get(place).map_or(Found::Nothing, Found::Value),
        }
    }

    fn look_up(&self, pointer: &Pointer) -> Place {
        let text = self.text();
        let Some((first, rest)) = pointer.split_first() else { return Place::At(0..text.len()) };
        let members = self.members.get_or_init(|| {
            let mut members = HashMap::new();
            for (name, value) in json::members(text) {
                let place = place_in(text, value.get());
                members.entry(name.into_owned()).and_modify(|place| *place = None).or_insert(Some(place));
            }
            members
        });
        match members.get(first) {
            // A message of very many members is not listed as a whole.
            None if members.is_empty() => match json::pick(text, &[first]).get(first) {
                Some(value) => found_in(text, rest.find(value.get())),
                None => Place::Nothing,
            },
            None => Place::Nothing,
            Some(None) => Place::Unclear,
            Some(Some(place)) => found_in(text, rest.find(text.get(place.clone()).unwrap_or_default())),
        }
    }
}

fn found_in(text: &str, found: Found<'_>) -> Place {
    match found {
        Found::Nothing => Place::Nothing,
        Found::Unclear => Place::Unclear,
        Found::Value(value) => Place::At(place_in(text, value)),
    }
}

/// Where a part of a text is in it.
fn place_in(text: &str, part: &str) -> Range<usize> {
    let start = part.as_ptr().addr() - text.as_ptr().addr();
    start..start + part.len()
}

/// The text of a JSON string; `None` when it is none, or holds a lone surrogate.
pub(crate) fn string(value: &str) -> Option<String> {
    serde_json::from_str(value).ok()
}
