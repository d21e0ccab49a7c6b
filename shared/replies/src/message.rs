//! A message as rules and hooks see it. Its parts are parsed when they are first needed.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use gatehouse_payload::Event;
use gatehouse_payload::json::{self, Document};
use gatehouse_payload::pointer::{Found, Pointer};
use gatehouse_vapi::tool_calls::{ToolCall, ToolCalls};
use gatehouse_vapi::{Envelope, FINAL_TRANSCRIPT, Message};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::when::EVERY;

/// A message of Vapi. It is parsed lazily, because few messages have rules.
#[derive(Debug)]
pub struct VapiMessage {
    message: Arc<LazyMessage>,
    tool: Option<Tool>,
}

/// The message, and a cache of the values that several rules need.
#[derive(Debug)]
struct LazyMessage {
    body: Bytes,
    message_type: Option<String>,
    text: OnceLock<String>,
    /// The ranges of the outermost members in the text; `None` for a repeated member.
    members: OnceLock<HashMap<String, Option<Range<usize>>>>,
    locations: Mutex<HashMap<Pointer, Location>>,
}

/// A [`Found`] with a range of the text in place of a reference.
#[derive(Debug, Clone)]
enum Location {
    Nothing,
    At(Range<usize>),
    Ambiguous,
}

/// The tool call that a rule is applied to.
#[derive(Debug)]
struct Tool {
    name: String,
    /// The JSON text at `/tool`.
    text: String,
}

impl VapiMessage {
    /// The message of an event.
    #[must_use]
    pub fn by(event: &Event) -> Self {
        Self::new(event.body.clone(), event.event_type.clone())
    }

    /// The message in a delivery's body. A body that is not a JSON object counts as an empty message.
    #[must_use]
    pub fn of(body: &[u8]) -> Self {
        let untyped = Self::new(Bytes::copy_from_slice(body), None);
        let message_type = untyped.message.with_members(|message| message.event_type().map(str::to_owned));
        Self::new(untyped.message.body.clone(), message_type)
    }

    fn new(body: Bytes, message_type: Option<String>) -> Self {
        let (text, members, locations) = (OnceLock::new(), OnceLock::new(), Mutex::default());
        VapiMessage { message: Arc::new(LazyMessage { body, message_type, text, members, locations }), tool: None }
    }

    /// The message with one of its tool calls at `/tool`, for rules about tools.
    #[must_use]
    pub fn about(&self, call: &ToolCall) -> VapiMessage {
        let (id, name) = (Value::from(call.id.as_str()), Value::from(call.name.as_str()));
        let text = format!(r#"{{"id":{id},"name":{name},"arguments":{}}}"#, call.arguments);
        VapiMessage { message: Arc::clone(&self.message), tool: Some(Tool { name: call.name.clone(), text }) }
    }

    /// The message's type; both names of a final transcript are `transcript`.
    #[must_use]
    pub fn message_type(&self) -> Option<&str> {
        self.message.message_type.as_deref()
    }

    /// Reads the complete message as one of the types of `gatehouse_messages::vapi::message`.
    ///
    /// # Errors
    /// For those types, only if the name of a member contains a lone surrogate.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.message.text())
    }

    /// The text at a pointer: a string, or a number or a boolean as written.
    #[must_use]
    pub fn text(&self, pointer: &Pointer) -> Option<String> {
        let found = self.find(pointer).value()?;
        match found.as_bytes().first()? {
            b'"' => string(found),
            b'{' | b'[' | b'n' => None,
            _ => Some(found.to_owned()),
        }
    }

    /// The tool calls of the message.
    #[must_use]
    pub fn tool_calls(&self) -> ToolCalls {
        ToolCalls::of(self.message.text())
    }

    /// The body of the delivery.
    pub(crate) fn body(&self) -> &Bytes {
        &self.message.body
    }

    pub(crate) fn find(&self, pointer: &Pointer) -> Found<'_> {
        match (&self.tool, pointer.split_first()) {
            (Some(tool), Some(("tool", rest))) => rest.find(&tool.text),
            _ => self.message.find(pointer),
        }
    }

    pub(crate) fn is_call_of(&self, tool: &str) -> bool {
        self.tool.as_ref().is_some_and(|call| call.name == tool)
    }

    pub(crate) fn has_type(&self, message_type: &str) -> bool {
        match message_type {
            FINAL_TRANSCRIPT => {
                let is_final = || self.message.with_members(|message| message.transcript_type() == Some("final"));
                self.has_type("transcript") && is_final()
            }
            // A service that makes speech would work for nothing, because its answer is not used.
            EVERY => self.message_type() != Some("voice-request"),
            // Rules for `tool-calls` also apply to its predecessor `function-call`.
            "tool-calls" => matches!(self.message_type(), Some("tool-calls" | "function-call")),
            other => self.message_type() == Some(other),
        }
    }
}

impl LazyMessage {
    fn with_members<T>(&self, read: impl FnOnce(&Message<'_>) -> T) -> T {
        let readable = Envelope::readable_in(self.text());
        read(&Message::of(&readable))
    }

    /// The message's text: a JSON object.
    fn text(&self) -> &str {
        self.text.get_or_init(|| match Document::read(&self.body) {
            Ok(document) => Envelope::of(&document).text().to_owned(),
            Err(_) => "{}".to_owned(),
        })
    }

    fn find(&self, pointer: &Pointer) -> Found<'_> {
        // The cache stays consistent after a panic, so a poisoned lock can be used.
        let mut locations = self.locations.lock().unwrap_or_else(PoisonError::into_inner);
        let location = locations.entry(pointer.clone()).or_insert_with(|| self.locate(pointer)).clone();
        match location {
            Location::Nothing => Found::Nothing,
            Location::Ambiguous => Found::Ambiguous,
            Location::At(range) => self.text().get(range).map_or(Found::Nothing, Found::Value),
        }
    }

    fn locate(&self, pointer: &Pointer) -> Location {
        let text = self.text();
        let Some((first, rest)) = pointer.split_first() else { return Location::At(0..text.len()) };
        let members = self.members.get_or_init(|| {
            let mut members = HashMap::new();
            for (name, value) in json::members(text) {
                let range = range_in(text, value.get());
                members.entry(name.into_owned()).and_modify(|range| *range = None).or_insert(Some(range));
            }
            members
        });
        match members.get(first) {
            // `json::members` lists nothing if a message has too many values.
            None if members.is_empty() => match json::pick(text, &[first]).get(first) {
                Some(value) => location_in(text, rest.find(value.get())),
                None => Location::Nothing,
            },
            None => Location::Nothing,
            Some(None) => Location::Ambiguous,
            Some(Some(range)) => location_in(text, rest.find(text.get(range.clone()).unwrap_or_default())),
        }
    }
}

fn location_in(text: &str, found: Found<'_>) -> Location {
    match found {
        Found::Nothing => Location::Nothing,
        Found::Ambiguous => Location::Ambiguous,
        Found::Value(value) => Location::At(range_in(text, value)),
    }
}

/// The range of a part of a text in the text.
fn range_in(text: &str, part: &str) -> Range<usize> {
    let start = part.as_ptr().addr() - text.as_ptr().addr();
    start..start + part.len()
}

/// The text of a JSON string; `None` if `value` is not a string or contains a lone surrogate.
pub(crate) fn string(value: &str) -> Option<String> {
    serde_json::from_str(value).ok()
}
