//! A message, as far as rules look into it.

use std::borrow::Cow;
use std::sync::OnceLock;

use gatehouse_inbox::Event;
use gatehouse_payload::json::{self, Document};
use gatehouse_payload::pointer::Pointer;
use gatehouse_payload::vapi::{Envelope, FINAL_TRANSCRIPT, Message};
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::template::Source;

/// A message of Vapi's, taken out of its wrapping as soon as someone looks into it: few messages have rules.
#[derive(Debug)]
pub struct Said<'a> {
    body: &'a [u8],
    message_type: Option<Cow<'a, str>>,
    text: OnceLock<Cow<'a, str>>,
    tool: Option<Tool>,
}

/// The tool call a rule is asked about.
#[derive(Debug)]
struct Tool {
    name: String,
    /// What `/tool` points to.
    text: String,
}

/// A tool that is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolCall {
    /// The call's id, which the result must carry.
    pub id: String,
    /// The tool's name.
    pub name: String,
    /// What it is called with: a JSON object's text, in whichever of its forms it came; `{}` where it has none.
    pub arguments: String,
}

impl<'a> Said<'a> {
    /// What an event says.
    #[must_use]
    pub fn by(event: &'a Event) -> Self {
        let message_type = event.event_type.as_deref().map(Cow::Borrowed);
        Said { body: &event.body, message_type, text: OnceLock::new(), tool: None }
    }

    /// What a delivery's body says. A body that is no JSON object says nothing.
    #[must_use]
    pub fn of(body: &'a [u8]) -> Self {
        let mut said = Said { body, message_type: None, text: OnceLock::new(), tool: None };
        said.message_type = said.with_message(|message| message.event_type().map(str::to_owned).map(Cow::Owned));
        said
    }

    fn with_message<T>(&self, of: impl FnOnce(&Message<'_>) -> T) -> T {
        let readable = Envelope::readable_in(self.whole());
        of(&Message::of(&readable))
    }

    /// The message's text: a JSON object.
    fn whole(&self) -> &str {
        self.text.get_or_init(|| match Document::read(self.body) {
            Ok(document) => Cow::Owned(Envelope::of(&document).text().to_owned()),
            Err(_) => Cow::Borrowed("{}"),
        })
    }

    /// The same, as a rule about a tool sees it: with one of its tool calls as `/tool`.
    #[must_use]
    pub fn about(&self, call: &ToolCall) -> Said<'_> {
        let (id, name) = (Value::from(call.id.as_str()), Value::from(call.name.as_str()));
        let text = format!(r#"{{"id":{id},"name":{name},"arguments":{}}}"#, call.arguments);
        Said {
            body: self.body,
            message_type: self.message_type.as_deref().map(Cow::Borrowed),
            text: OnceLock::from(Cow::Borrowed(self.whole())),
            tool: Some(Tool { name: call.name.clone(), text }),
        }
    }

    /// The message's type; both names of a final transcript are `transcript`.
    #[must_use]
    pub fn message_type(&self) -> Option<&str> {
        self.message_type.as_deref()
    }

    /// Reads the whole message as one of the types of [`gatehouse_payload::vapi::message`].
    ///
    /// # Errors
    /// When a member's name is no text; nothing else keeps those types from being read.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.whole())
    }

    /// The text at a place in the message: a string, or a number or a boolean as written.
    #[must_use]
    pub fn text(&self, pointer: &Pointer) -> Option<String> {
        let found = self.find(pointer)?;
        match found.get().as_bytes().first()? {
            b'"' => json::string(found).map(Cow::into_owned),
            b'{' | b'[' | b'n' => None,
            _ => Some(found.get().to_owned()),
        }
    }

    /// What the message calls, in its order, as far as a result can be told apart: calls without an id or a name are left
    /// out.
    #[must_use]
    pub fn tool_calls(&self) -> Vec<ToolCall> {
        let list = |pointer: &str| {
            let found = pointer.parse::<Pointer>().ok()?.find(self.whole())?.get();
            serde_json::from_str::<Vec<&RawValue>>(found).ok().filter(|calls| !calls.is_empty())
        };
        let with_tools = || list("/toolWithToolCallList");
        let calls = list("/toolCallList").or_else(with_tools).unwrap_or_default();
        calls.into_iter().filter_map(|call| ToolCall::of(call.get())).collect()
    }

    pub(crate) fn find(&self, pointer: &Pointer) -> Option<&RawValue> {
        match (&self.tool, pointer.split_first()) {
            (Some(tool), Some(("tool", rest))) => rest.find(&tool.text),
            _ => pointer.find(self.whole()),
        }
    }

    pub(crate) fn calls(&self, tool: &str) -> bool {
        self.tool.as_ref().is_some_and(|call| call.name == tool)
    }

    pub(crate) fn is_of(&self, message_type: &str) -> bool {
        match message_type {
            FINAL_TRANSCRIPT => {
                self.is_of("transcript") && self.with_message(|message| message.transcript_type() == Some("final"))
            }
            other => self.message_type() == Some(other),
        }
    }
}

impl Source for Said<'_> {
    fn text(&self, pointer: &Pointer) -> Option<String> {
        self.text(pointer)
    }
}

impl ToolCall {
    /// Reads its arguments.
    ///
    /// # Errors
    /// When they are not of that type.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(&self.arguments)
    }

    /// Three forms are documented, with the name and the arguments in `function` or beside the id; and the arguments are an
    /// object or a string that holds one. An element of `toolWithToolCallList` has the call one level deeper.
    fn of(call: &str) -> Option<Self> {
        let at = |pointers: &[&str]| {
            let find = |pointer: &&str| pointer.parse::<Pointer>().ok()?.find(call);
            pointers.iter().find_map(find)
        };
        let text = |pointers: &[&str]| json::id(at(pointers)).map(Cow::into_owned);
        let arguments = at(&["/function/arguments", "/toolCall/function/arguments", "/arguments", "/parameters"]);
        let arguments =
            arguments.and_then(|arguments| Some(Document::within(arguments).ok()?.into_text().into_owned()));
        Some(ToolCall {
            id: text(&["/toolCall/id", "/id"])?,
            name: text(&["/toolCall/function/name", "/function/name", "/name"])?,
            arguments: arguments.unwrap_or_else(|| "{}".to_owned()),
        })
    }
}
