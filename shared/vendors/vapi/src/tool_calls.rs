//! Reads the tool calls of a message from every member in which they occur.

use std::collections::HashSet;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;

use gatehouse_payload::json::{self, Document};
use gatehouse_payload::pointer::Pointer;

use crate::envelope::Envelope;

/// The members that contain tool calls, by precedence: the first one with a valid call is used.
const LISTS: [&str; 3] = ["toolCallList", "toolCalls", "toolWithToolCallList"];
/// The member with the single call of a `function-call`, the message that `tool-calls` replaced.
const FUNCTION_CALL: &str = "functionCall";

/// A call of a tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolCall {
    /// The call's id, which the result must repeat; empty for a `functionCall` without one.
    pub id: String,
    /// The tool's name.
    pub name: String,
    /// The arguments as the text of a JSON object; `{}` if they are missing or not an object.
    pub arguments: String,
    /// The arguments as JSON text of any type; `{}` if they are missing.
    raw_arguments: String,
}

/// The tool calls of a message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ToolCalls {
    /// The calls, in the message's order.
    pub calls: Vec<ToolCall>,
    /// Number of further calls without an id or a name, which no result can refer to.
    pub unidentified: usize,
}

impl ToolCalls {
    /// Reads the calls in a message's text. If a list is null, empty or invalid, the next member is read.
    #[must_use]
    pub fn of(message: &str) -> Self {
        let names = [LISTS[0], LISTS[1], LISTS[2], FUNCTION_CALL];
        let picked = json::pick(message, &names);
        let mut unidentified = 0;
        for list in LISTS.iter().filter_map(|name| picked.get(name)) {
            let list: Vec<&RawValue> = serde_json::from_str(list.get()).unwrap_or_default();
            let calls: Vec<ToolCall> = list.iter().filter_map(|call| ToolCall::of(call.get())).collect();
            if !calls.is_empty() {
                return ToolCalls { unidentified: list.len() - calls.len(), calls };
            }
            unidentified = unidentified.max(list.len());
        }
        let function_call = picked.get(FUNCTION_CALL).and_then(|call| ToolCall::function_call(call.get()));
        match function_call {
            Some(call) => ToolCalls { calls: vec![call], unidentified: 0 },
            None => ToolCalls { calls: Vec::new(), unidentified },
        }
    }

    /// The type of a message without one, derived from its members: `tool-calls` or `function-call`.
    #[must_use]
    pub fn type_of(message: &str) -> Option<&'static str> {
        let names = [LISTS[0], LISTS[1], LISTS[2], FUNCTION_CALL];
        let picked = json::pick(message, &names);
        if LISTS.iter().any(|name| picked.has(name)) {
            return Some("tool-calls");
        }
        picked.has(FUNCTION_CALL).then_some("function-call")
    }
}

impl ToolCall {
    /// Reads the arguments as a `T`.
    ///
    /// # Errors
    /// If the arguments are not a `T`.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(&self.arguments)
    }

    /// JSON text that identifies the call: its id, its tool and its arguments of any type.
    #[must_use]
    pub fn identity(&self) -> String {
        format!("[{},{},{}]", Value::from(self.id.as_str()), Value::from(self.name.as_str()), self.raw_arguments)
    }

    /// Whether the id is unique to this call. Hooks always send `hook-function-call`, and some models number the calls
    /// of each turn by the tool's name: `lookup:0`.
    #[must_use]
    pub fn has_unique_id(&self) -> bool {
        let id = self.id.strip_prefix("functions.").unwrap_or(&self.id);
        let counter = id.strip_prefix(self.name.as_str());
        // More than four digits are a time or another unique number of the model.
        let is_counter = counter.is_some_and(|rest| {
            rest.bytes().all(|byte| !byte.is_ascii_alphabetic()) && rest.bytes().filter(u8::is_ascii_digit).count() <= 4
        });
        !id.is_empty() && id != "hook-function-call" && !is_counter
    }

    /// Reads an element of a list.
    ///
    /// Three forms are documented. The name and the arguments are in `function` or next to the id, and the arguments
    /// may be called `parameters`. They are an object or a string that contains one. An element of
    /// `toolWithToolCallList` has the call in `toolCall`; its own `parameters` belong to the tool and are a schema.
    fn of(element: &str) -> Option<Self> {
        let call = find(element, "/toolCall").unwrap_or(element);
        Some(ToolCall { id: text(call, "/id")?, ..Self::function_call(call)? })
    }

    /// Reads a call whose id may be missing.
    fn function_call(call: &str) -> Option<Self> {
        let object = |pointer| {
            let value: &RawValue = serde_json::from_str(find(call, pointer)?).ok()?;
            Some(Document::from_value(value).ok()?.into_text().into_owned())
        };
        let places = ["/function/arguments", "/function/parameters", "/arguments", "/parameters"];
        let arguments = places.into_iter().find_map(object);
        let raw = || places.into_iter().find_map(|place| find(call, place)).filter(|raw| *raw != "null");
        Some(ToolCall {
            raw_arguments: arguments.clone().unwrap_or_else(|| raw().unwrap_or("{}").to_owned()),
            id: text(call, "/id").or_else(|| text(call, "/toolCallId")).unwrap_or_default(),
            name: text(call, "/function/name").or_else(|| text(call, "/name"))?,
            arguments: arguments.unwrap_or_else(|| "{}".to_owned()),
        })
    }
}

/// Returns a delivery's body in which the lists of tool calls have only the calls with these ids and names. The rest of
/// the text does not change. A body whose message cannot be split into members is returned as it is.
#[must_use]
pub fn reduced_to(body: &Bytes, calls: &[(String, String)]) -> Bytes {
    let Ok(document) = Document::read(body) else { return body.clone() };
    let envelope = Envelope::of(&document);
    let calls: HashSet<(&str, &str)> = calls.iter().map(|(id, name)| (id.as_str(), name.as_str())).collect();
    let Some(message) = reduced_message(envelope.text(), &calls) else { return body.clone() };
    let is_bare = envelope.text().len() == document.text().len();
    let reduced = if is_bare { Some(message) } else { with_member(document.text(), "message", &message) };
    reduced.map_or_else(|| body.clone(), Bytes::from)
}

fn reduced_message(message: &str, calls: &HashSet<(&str, &str)>) -> Option<String> {
    let mut reduced = message.to_owned();
    for name in LISTS {
        let Some(list) = json::pick(message, &[name]).get(name) else { continue };
        let Ok(list) = serde_json::from_str::<Vec<&RawValue>>(list.get()) else { continue };
        let is_kept = |call: &&&RawValue| {
            ToolCall::of(call.get()).is_some_and(|call| calls.contains(&(call.id.as_str(), call.name.as_str())))
        };
        let kept: Vec<&str> = list.iter().filter(is_kept).map(|call| call.get()).collect();
        reduced = with_member(&reduced, name, &format!("[{}]", kept.join(",")))?;
    }
    Some(reduced)
}

/// Returns an object with another value for a member; `None` if the object cannot be split into members.
fn with_member(object: &str, name: &str, value: &str) -> Option<String> {
    let members = json::named_members(object).filter(|members| !members.is_empty())?;
    let member = |(member, old): (String, &RawValue)| {
        format!("{}:{}", Value::from(member.as_str()), if member == name { value } else { old.get() })
    };
    Some(format!("{{{}}}", members.into_iter().map(member).collect::<Vec<_>>().join(",")))
}

fn find<'v>(value: &'v str, pointer: &str) -> Option<&'v str> {
    pointer.parse::<Pointer>().ok()?.find(value).value()
}

fn text(value: &str, pointer: &str) -> Option<String> {
    serde_json::from_str(find(value, pointer)?).ok().filter(|text: &String| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tool_calls_are_read_from_every_documented_member() {
        let call = r#"{"id":"t","type":"function","function":{"name":"find","arguments":{"day":"Monday"}}}"#;
        let arguments = r#"{"day":"Monday"}"#.to_owned();
        let expected =
            ToolCall { id: "t".to_owned(), name: "find".to_owned(), raw_arguments: arguments.clone(), arguments };
        for message in [
            format!(r#"{{"toolCallList":[{call}]}}"#),
            format!(r#"{{"toolCalls":[{call}]}}"#),
            format!(r#"{{"toolCallList":null,"toolCalls":[{call}]}}"#),
            format!(r#"{{"toolCallList":[],"toolCalls":"odd","toolWithToolCallList":[{{"toolCall":{call}}}]}}"#),
            format!(r#"{{"toolCallList":[{{"id":7}}],"toolCalls":[{call}]}}"#),
            r#"{"functionCall":{"id":"t","name":"find","parameters":"{\"day\":\"Monday\"}"}}"#.to_owned(),
        ] {
            assert_eq!(ToolCalls::of(&message).calls, std::slice::from_ref(&expected), "{message}");
        }
        assert_eq!(ToolCalls::of(r#"{"toolCallList":[{"id":"a"},{}]}"#).unidentified, 2);
        assert_eq!(ToolCalls::of("{}"), ToolCalls::default());
    }

    #[test]
    fn lists_are_reduced_to_the_given_calls() {
        let call = |id: &str| format!(r#"{{"id":"{id}","function":{{"name":"f"}}}}"#);
        let (a, b) = (call("a"), call("b"));
        let message = |calls: &str, more: &str| {
            format!(r#"{{"n":1.50,"toolCallList":[{calls}],"toolCalls":[{calls}],"toolWithToolCallList":[{more}]}}"#)
        };
        let with = |call: &str| format!(r#"{{"type":"function","name":"f","toolCall":{call}}}"#);
        let whole = message(&format!("{a},{b}"), &format!("{},{}", with(&a), with(&b)));
        let expected = message(&b, &with(&b));
        let calls = [("b".to_owned(), "f".to_owned()), ("a".to_owned(), "another".to_owned())];
        for (body, expected) in [
            (whole.clone(), expected.clone()),
            (format!(r#"{{"message":{whole},"x":{{}}}}"#), format!(r#"{{"message":{expected},"x":{{}}}}"#)),
            (r#"{"message":{"type":"hang"}}"#.to_owned(), r#"{"message":{"type":"hang"}}"#.to_owned()),
            ("[]".to_owned(), "[]".to_owned()),
        ] {
            assert_eq!(reduced_to(&Bytes::from(body), &calls), Bytes::from(expected));
        }
    }

    #[test]
    fn id_shared_by_many_calls_is_not_unique() {
        let call = |id: &str| ToolCall {
            id: id.to_owned(),
            name: "find_berth".to_owned(),
            arguments: String::new(),
            raw_arguments: String::new(),
        };
        for id in ["hook-function-call", "find_berth:0", "find_berth", "functions.find_berth:12", "find_berth_3", ""] {
            assert!(!call(id).has_unique_id(), "{id}");
        }
        for id in
            ["call_8fK2", "tB", "find_berths", "toolu_01A", "0197-cafe", "find_berth:a7", "find_berth_1790000000123"]
        {
            assert!(call(id).has_unique_id(), "{id}");
        }
    }
}
