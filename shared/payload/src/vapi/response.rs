//! What Vapi's server messages are answered with: bare, as every published example and receiver writes them, though the
//! schema wraps them in `messageResponse`. Seven of eight; a `voice-request` is answered with audio.
//!
//! What is required is required by the type; what is not documented cannot be written. Source: `ServerMessageResponse` of
//! Vapi's OpenAPI document (August 2026).

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::inbound::Destination;

/// The answer to `assistant-request`, of which the first that applies counts: `error`, `destination`, the rest.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct AssistantResponse {
    /// Where the call goes instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<Destination>,
    /// A saved assistant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assistant_id: Option<String>,
    /// An assistant for this call alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assistant: Option<Map<String, Value>>,
    /// What differs from the assistant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assistant_overrides: Option<Map<String, Value>>,
    /// A saved squad.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub squad_id: Option<String>,
    /// A squad for this call alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub squad: Option<Map<String, Value>>,
    /// What differs from the squad.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub squad_overrides: Option<Map<String, Value>>,
    /// A saved workflow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow_id: Option<String>,
    /// A workflow for this call alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow: Option<Map<String, Value>>,
    /// What differs from the workflow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow_overrides: Option<Map<String, Value>>,
    /// Said to the customer before the call ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The answer to `tool-calls`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolCallsResponse {
    /// A result for each call, in the calls' order.
    pub results: Vec<ToolResult>,
}

/// A tool's result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "WrittenResult", into = "WrittenResult")]
pub struct ToolResult {
    /// The call's id.
    pub tool_call_id: String,
    /// The tool's name.
    pub name: String,
    /// What came of it.
    pub outcome: ToolOutcome,
}

/// What came of a tool call: written as `result` or as `error`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToolOutcome {
    /// It worked.
    Result(Line),
    /// It did not; the model is told so.
    Error(Line),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct WrittenResult {
    tool_call_id: String,
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    result: Option<Line>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<Line>,
}

impl TryFrom<WrittenResult> for ToolResult {
    type Error = &'static str;

    fn try_from(written: WrittenResult) -> Result<Self, Self::Error> {
        let outcome = match (written.result, written.error) {
            (Some(result), None) => ToolOutcome::Result(result),
            (None, Some(error)) => ToolOutcome::Error(error),
            _ => return Err("either result or error is needed"),
        };
        Ok(ToolResult { tool_call_id: written.tool_call_id, name: written.name, outcome })
    }
}

impl From<ToolResult> for WrittenResult {
    fn from(result: ToolResult) -> Self {
        let (ok, error) = match result.outcome {
            ToolOutcome::Result(line) => (Some(line), None),
            ToolOutcome::Error(line) => (None, Some(line)),
        };
        WrittenResult { tool_call_id: result.tool_call_id, name: result.name, result: ok, error }
    }
}

/// A text without line breaks: Vapi passes over results that have some.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Line(String);

impl Line {
    /// Makes a line of a text: each line break, with the white space around it, becomes one space.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let pieces = text.split(['\n', '\r', '\u{2028}', '\u{2029}']).map(str::trim).filter(|piece| !piece.is_empty());
        Line(pieces.collect::<Vec<_>>().join(" "))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Line {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Line::of(&text))
    }
}

/// The answer to `transfer-destination-request`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransferDestinationResponse {
    /// Whereto; an assistant is written as a plain object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<Map<String, Value>>,
    /// What is said meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<Map<String, Value>>,
    /// Why there is no destination.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The answer to `handoff-destination-request`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HandoffDestinationResponse {
    /// To whom.
    pub destination: Map<String, Value>,
    /// What the model is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The answer to `knowledge-base-request`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnowledgeBaseResponse {
    /// What was found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub documents: Vec<KnowledgeDocument>,
    /// What is said instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<Map<String, Value>>,
}

/// A document that was found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnowledgeDocument {
    /// Its text.
    pub content: String,
    /// How well it fits.
    pub similarity: f64,
    /// Its UUID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
}

/// The answer to `call.endpointing.request`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct EndpointingResponse {
    /// How long to wait before the customer counts as having finished.
    pub timeout_seconds: EndpointingTimeout,
}

/// From 0 to 15 seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(transparent)]
pub struct EndpointingTimeout(f64);

impl EndpointingTimeout {
    /// The bounds.
    pub const SECONDS: std::ops::RangeInclusive<f64> = 0.0..=15.0;

    /// Checks a number of seconds; `None` when it is out of bounds.
    #[must_use]
    pub fn new(seconds: f64) -> Option<Self> {
        Self::SECONDS.contains(&seconds).then_some(EndpointingTimeout(seconds))
    }
}

impl<'de> Deserialize<'de> for EndpointingTimeout {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wrong = || serde::de::Error::custom("a number from 0 to 15 is needed");
        Self::new(f64::deserialize(deserializer)?).ok_or_else(wrong)
    }
}

/// The answer to `campaign.predial`. Anything else, an error or silence means no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PredialResponse {
    /// Whether the contact may be called.
    pub eligible: bool,
}
