//! Checks the answers of services: whether Vapi can use them. Members that are not documented are passed on.

use std::collections::BTreeMap;

use bytes::Bytes;
use gatehouse_payload::json::{named_members, pick, string};
use gatehouse_vapi::response::{EndpointingTimeout, Line};
use gatehouse_vapi::tool_calls::ToolCall;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use crate::answer::Kind;

/// The member in which Vapi's schema wraps every answer. Published servers omit it.
const WRAPPER: &str = "messageResponse";

/// The type of a member of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Text,
    Object,
    List,
    Boolean,
    /// A number of seconds, from 0 to 15.
    Seconds,
}

/// The members by which Vapi decides. An answer needs one of them. `null` counts as absent.
const fn members(kind: Kind) -> &'static [(&'static str, Type)] {
    use Type::{Boolean, List, Object, Seconds, Text};
    match kind {
        // Any object is a message to the client, and tool results are checked one by one.
        Kind::Client | Kind::Tools => &[],
        Kind::Assistant => &[
            ("assistantId", Text),
            ("assistant", Object),
            ("assistantOverrides", Object),
            ("squadId", Text),
            ("squad", Object),
            ("squadOverrides", Object),
            ("workflowId", Text),
            ("workflow", Object),
            ("workflowOverrides", Object),
            ("destination", Object),
            ("error", Text),
        ],
        Kind::Transfer => &[("destination", Object), ("message", Object), ("error", Text)],
        Kind::Handoff => &[("destination", Object), ("result", Text), ("error", Text)],
        Kind::Knowledge => &[("documents", List), ("message", Object)],
        Kind::Endpointing => &[("timeoutSeconds", Seconds)],
        Kind::Predial => &[("eligible", Boolean)],
    }
}

impl Type {
    /// Whether the JSON text of a value has the type. A text that JavaScript reads and Rust does not is passed on.
    fn matches(self, value: &str) -> bool {
        match self {
            Type::Text => value.starts_with('"'),
            Type::Object => value.starts_with('{'),
            Type::List => value.starts_with('['),
            Type::Boolean => matches!(value, "true" | "false"),
            Type::Seconds => value.parse().ok().and_then(EndpointingTimeout::new).is_some(),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Type::Text => "a string",
            Type::Object => "an object",
            Type::List => "a list",
            Type::Boolean => "true or false",
            Type::Seconds => "a number from 0 to 15",
        }
    }
}

fn text_of(answer: Bytes) -> Result<String, String> {
    String::from_utf8(answer.into()).map_err(|_| "not UTF-8".to_owned())
}

/// Returns the object that has the members of the answer.
fn unwrapped(text: &str) -> &str {
    let wrapped = pick(text, &[WRAPPER]).get(WRAPPER).map(RawValue::get);
    wrapped.filter(|wrapped| wrapped.starts_with('{')).unwrap_or(text)
}

/// Returns the text of an answer to a message of this kind, which is a JSON object.
///
/// # Errors
/// Why Vapi cannot use the answer, without its content.
pub(crate) fn checked(kind: Kind, answer: Bytes) -> Result<String, String> {
    let text = text_of(answer)?;
    let members = members(kind);
    let names: Vec<&str> = members.iter().map(|(name, _)| *name).collect();
    let picked = pick(unwrapped(&text), &names);
    let value = |name: &str| picked.get(name).map(RawValue::get).filter(|value| *value != "null");
    let present: Vec<_> = members.iter().filter_map(|(name, expected)| Some((name, expected, value(name)?))).collect();
    if present.is_empty() && !members.is_empty() {
        return Err(format!("none of the members {}", names.join(", ")));
    }
    match present.into_iter().find(|(_, expected, value)| !expected.matches(value)) {
        Some((name, expected, _)) => Err(format!("its member {name} is not {}", expected.name())),
        None => Ok(text),
    }
}

/// The answer of a service to a message with tool calls.
#[derive(Debug)]
pub(crate) struct ToolAnswer {
    /// The answer, in which every result is one line of text.
    text: String,
    results: Results,
}

#[derive(Debug)]
enum Results {
    /// The results by the id of their call. Some ids are shared by several calls, whose results are in order.
    ById(BTreeMap<String, Vec<Box<RawValue>>>),
    /// The result of a `function-call`: an object with `result` or `error`.
    One(Box<RawValue>),
    /// An error for all calls, which is a text.
    Error(Box<RawValue>),
}

impl ToolAnswer {
    /// Reads an answer, which is a JSON object.
    ///
    /// # Errors
    /// Why Vapi cannot use the answer, without its content.
    pub(crate) fn read(answer: Bytes, is_function_call: bool) -> Result<Self, String> {
        let text = text_of(answer)?;
        let inner = unwrapped(&text);
        let picked = pick(inner, &["results", "result", "error"]);
        let is_present = |value: &&RawValue| value.get() != "null";
        let list = picked.get("results").filter(is_present);
        // The object with results in one line; `None` if they are.
        let changed;
        let results = if let Some(list) = list {
            let list: Vec<&RawValue> =
                serde_json::from_str(list.get()).map_err(|_| "its member results is not a list".to_owned())?;
            let lines: Vec<Option<Box<RawValue>>> = list.iter().map(|result| result_in_one_line(result)).collect();
            let is_changed = lines.iter().any(Option::is_some);
            let list: Vec<Box<RawValue>> =
                list.into_iter().zip(lines).map(|(result, line)| line.unwrap_or_else(|| result.to_owned())).collect();
            changed = if is_changed { replaced(inner, "results", &list) } else { None };
            Results::ById(by_id(&list))
        } else if is_function_call && has_outcome(inner) {
            let one = RawValue::from_string(inner.to_owned()).map_err(|_| "not a JSON object".to_owned())?;
            let line = result_in_one_line(&one);
            changed = line.as_ref().map(|line| line.get().to_owned());
            Results::One(line.unwrap_or(one))
        } else if let Some(error) = picked.get("error").filter(|error| error.get().starts_with('"')) {
            let line = in_one_line(error);
            changed = line.as_ref().and_then(|line| replaced(inner, "error", line));
            Results::Error(line.unwrap_or_else(|| error.to_owned()))
        } else {
            return Err("no results".to_owned());
        };
        let is_wrapped = inner.len() != text.len();
        let text = match changed {
            Some(inner) if is_wrapped => format!("{{\"{WRAPPER}\":{inner}}}"),
            Some(inner) => inner,
            None => text,
        };
        Ok(ToolAnswer { text, results })
    }

    /// The whole answer.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Whether the answer has a result for this call.
    pub(crate) fn has(&self, call: &ToolCall) -> bool {
        match &self.results {
            Results::ById(results) => results.contains_key(&call.id),
            Results::One(_) | Results::Error(_) => true,
        }
    }

    /// The result for this call, as an element of `results`. `before` is the number of calls with the same id before it.
    pub(crate) fn result(&self, call: &ToolCall, before: usize) -> Option<Box<RawValue>> {
        match &self.results {
            Results::ById(results) => {
                let results = results.get(&call.id)?;
                results.get(before).or(results.last()).cloned()
            }
            Results::One(one) => Some(one.clone()),
            Results::Error(error) => {
                to_raw_value(&ErrorResult { tool_call_id: &call.id, name: &call.name, error }).ok()
            }
        }
    }
}

/// The result of a call whose service answers with one error for all calls.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ErrorResult<'r> {
    tool_call_id: &'r str,
    name: &'r str,
    /// A text, which may contain lone surrogates.
    error: &'r RawValue,
}

/// Whether an object has a result or an error.
fn has_outcome(object: &str) -> bool {
    let picked = pick(object, &["result", "error"]);
    ["result", "error"].iter().any(|name| picked.get(name).is_some_and(|value| value.get() != "null"))
}

/// Returns the results by the id of their call.
fn by_id(results: &[Box<RawValue>]) -> BTreeMap<String, Vec<Box<RawValue>>> {
    let mut by_id: BTreeMap<String, Vec<Box<RawValue>>> = BTreeMap::new();
    for result in results.iter().filter(|result| has_outcome(result.get())) {
        if let Some(id) = pick(result.get(), &["toolCallId"]).get("toolCallId").and_then(string) {
            by_id.entry(id.into_owned()).or_default().push(result.clone());
        }
    }
    by_id
}

/// Returns the result of a tool call with `result` and `error` in one line of text, because Vapi ignores others. `None`
/// if they are.
fn result_in_one_line(result: &RawValue) -> Option<Box<RawValue>> {
    let mut changed: Option<String> = None;
    for name in ["result", "error"] {
        let text = changed.as_deref().unwrap_or(result.get());
        let line = pick(text, &[name]).get(name).filter(|value| value.get() != "null").and_then(in_one_line);
        changed = line.and_then(|line| replaced(text, name, &line)).or(changed);
    }
    changed.and_then(|text| RawValue::from_string(text).ok())
}

/// Returns a value as one line of text; `None` if it is one.
fn in_one_line(value: &RawValue) -> Option<Box<RawValue>> {
    if !value.get().starts_with('"') {
        return to_raw_value(&Line::of(value.get())).ok();
    }
    // A string with a lone surrogate is passed on.
    let text = string(value)?;
    text.contains(Line::BREAKS).then(|| to_raw_value(&Line::of(&text)).ok())?
}

/// Returns the object with another value for a member; `None` if a name in it is not text.
fn replaced(object: &str, name: &str, value: &(impl Serialize + ?Sized)) -> Option<String> {
    let value = serde_json::to_string(value).ok()?;
    let member = |(member, old): (String, &RawValue)| {
        let value = if member == name { &value } else { old.get() };
        format!("{}:{value}", Value::from(member))
    };
    let members: Vec<String> = named_members(object)?.into_iter().map(member).collect();
    Some(format!("{{{}}}", members.join(",")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn read(answer: &str) -> Option<String> {
        let answer = ToolAnswer::read(Bytes::from(answer.to_owned()), false).ok()?;
        Some(answer.text().to_owned())
    }

    /// A result with a text, an object or a number.
    fn result() -> impl Strategy<Value = Value> {
        let text = "[a-c \\n\\r\u{2028}\"]{0,6}".prop_map(Value::from);
        let object = "[a-c\\n]{0,4}".prop_map(|text| json!({"x": [text]}));
        let value = prop_oneof![text, object, (0..9).prop_map(Value::from)];
        ("[A-C]", value, any::<bool>()).prop_map(|(id, value, is_error)| {
            let name = if is_error { "error" } else { "result" };
            json!({"toolCallId": id, "of_next_year": 1, name: value})
        })
    }

    proptest! {
        #![proptest_config(gatehouse_seeds::cases(256))]

        #[test]
        fn every_result_is_one_line_and_nothing_else_changes(results in prop::collection::vec(result(), 0..5)) {
            let given = json!({"results": results, "of_next_year": {"y": [1, 2]}});
            let text = read(&given.to_string()).unwrap();
            let changed: Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(&changed["of_next_year"], &given["of_next_year"]);
            let lines = changed["results"].as_array().unwrap();
            prop_assert_eq!(lines.len(), results.len());
            for (given, changed) in results.iter().zip(lines) {
                for (name, value) in given.as_object().unwrap() {
                    let is_outcome = ["result", "error"].contains(&name.as_str());
                    let line = changed[name].as_str().unwrap_or_default();
                    if is_outcome {
                        prop_assert!(changed[name].is_string() && !line.contains(Line::BREAKS), "{}", changed);
                    }
                    let is_kept = !is_outcome || value.as_str().is_some_and(|text| !text.contains(Line::BREAKS));
                    prop_assert!(!is_kept || changed[name] == *value, "{} {}", given, changed);
                }
            }
            // An answer that needs no change keeps its bytes.
            prop_assert_eq!(read(&text), Some(text));
        }

        #[test]
        fn any_answer_is_read_without_a_panic(text in "[\\[\\]{}\":,a-d0-9\\\\u ]{0,40}", kind in 0_usize..8) {
            let answer = format!("{{\"results\":[{{{text}}}],\"error\":\"{text}\"}}");
            let _ = read(&answer);
            let kinds = [Kind::Client, Kind::Assistant, Kind::Transfer, Kind::Handoff, Kind::Knowledge,
                Kind::Endpointing, Kind::Predial, Kind::Tools];
            let _ = checked(kinds[kind], Bytes::from(answer));
        }
    }
}
