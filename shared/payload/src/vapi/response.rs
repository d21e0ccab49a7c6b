//! What Vapi's server messages are answered with: bare, as every published example and receiver writes them, though the
//! schema wraps them in `messageResponse`. Seven of eight; a `voice-request` is answered with audio.
//!
//! What is required is required by the type; what is not documented cannot be written. Source: `ServerMessageResponse` of
//! Vapi's OpenAPI document (August 2026).

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::inbound::{AssistantDestination, CustomMessage, Destination, NumberDestination, SipDestination};

sent! {
    /// The answer to `assistant-request`, of which the first that applies counts: `error`, `destination`, the rest.
    #[derive(Default)]
    AssistantResponse {} optional {
        /// Where the call goes instead.
        destination: Destination,
        /// A saved assistant.
        assistant_id: String,
        /// An assistant for this call alone.
        assistant: Map<String, Value>,
        /// What differs from the assistant.
        assistant_overrides: Map<String, Value>,
        /// A saved squad.
        squad_id: String,
        /// A squad for this call alone.
        squad: Map<String, Value>,
        /// What differs from the squad.
        squad_overrides: Map<String, Value>,
        /// A saved workflow.
        workflow_id: String,
        /// A workflow for this call alone.
        workflow: Map<String, Value>,
        /// What differs from the workflow.
        workflow_overrides: Map<String, Value>,
        /// Said to the customer before the call ends.
        error: String,
    }
}

sent! {
    /// The answer to `tool-calls`.
    ToolCallsResponse {
        /// A result for each call, in the calls' order.
        results: Vec<ToolResult>,
    }
}

/// A tool's result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(with = "WrittenResult"))]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum ToolOutcome {
    /// It worked.
    Result(Line),
    /// It did not; the model is told so.
    Error(Line),
}

#[derive(Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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

sent! {
    /// The answer to `transfer-destination-request`.
    #[derive(Default)]
    TransferDestinationResponse {} optional {
        /// Whereto.
        destination: AnyDestination,
        /// What is said meanwhile: a message of a tool, whose kinds are not documented here.
        message: Map<String, Value>,
        /// Why there is no destination.
        error: String,
    }
}

/// Whereto a call is handed on, an assistant included; told apart by `type`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum AnyDestination {
    /// Another assistant of the squad.
    Assistant(AssistantDestination),
    /// A telephone number.
    Number(Box<NumberDestination>),
    /// A SIP address.
    Sip(Box<SipDestination>),
}

sent! {
    /// The answer to `handoff-destination-request`.
    HandoffDestinationResponse {
        /// To whom: an object that no page says more about.
        destination: Map<String, Value>,
    } optional {
        /// What the model is told.
        result: String,
        /// Why it failed.
        error: String,
    }
}

/// The answer to `knowledge-base-request`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct KnowledgeBaseResponse {
    /// What was found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub documents: Vec<KnowledgeDocument>,
    /// What is said instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<CustomMessage>,
}

sent! {
    /// A document that was found.
    KnowledgeDocument {
        /// Its text.
        content: String,
        /// How well it fits.
        similarity: f64,
    } optional {
        /// Its UUID.
        uuid: String,
    }
}

sent! {
    /// The answer to `call.endpointing.request`.
    #[derive(Copy)]
    EndpointingResponse {
        /// How long to wait before the customer counts as having finished.
        timeout_seconds: EndpointingTimeout,
    }
}

/// From 0 to 15 seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct EndpointingTimeout(#[cfg_attr(feature = "schema", schemars(range(min = 0, max = 15)))] f64);

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

sent! {
    /// The answer to `campaign.predial`. Anything else, an error or silence means no.
    #[derive(Copy, Eq, Default)]
    PredialResponse {
        /// Whether the contact may be called.
        eligible: bool,
    }
}
