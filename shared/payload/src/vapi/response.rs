//! What Vapi's server messages are answered with: bare, as every published example and receiver writes them, though the
//! schema wraps them in `messageResponse`.
//!
//! | message | answer |
//! |---|---|
//! | `assistant-request` | [`AssistantResponse`] |
//! | `tool-calls` | [`ToolCallsResponse`] |
//! | `transfer-destination-request` | [`TransferDestinationResponse`] |
//! | `handoff-destination-request` | [`HandoffDestinationResponse`] |
//! | `knowledge-base-request` | [`KnowledgeBaseResponse`] |
//! | `call.endpointing.request` | [`EndpointingResponse`] |
//! | `campaign.predial` | [`PredialResponse`] |
//! | `voice-request` | [`VoiceResponse`]: audio, no JSON |
//!
//! What is required is required by the type; what is not documented cannot be written. Source: `ServerMessageResponse` of
//! Vapi's OpenAPI document (<https://api.vapi.ai/api-json>, August 2026), <https://docs.vapi.ai/server-url/events>.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::strict::Finite;

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

/// The answer to `tool-calls`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum ToolCallsResponse {
    /// A result for each call, in the calls' order.
    Results(Vec<ToolResult>),
    /// Why there is none for any.
    Error(Line),
}

/// A tool's result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(with = "WrittenResult"))]
#[serde(try_from = "WrittenResult", into = "WrittenResult")]
pub struct ToolResult {
    /// The call's id.
    pub tool_call_id: String,
    /// The tool's name.
    pub name: String,
    /// What came of it.
    pub outcome: ToolOutcome,
    /// What is said about it: a message of a tool.
    pub message: Option<ToolMessage>,
    /// The integrator's own.
    pub metadata: Option<Map<String, Value>>,
}

/// A message of a tool, such as `request-start`. Its kinds have members of their own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ToolMessage {
    /// Which kind.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind's own members.
    #[serde(flatten)]
    pub own: Map<String, Value>,
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    message: Option<ToolMessage>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    metadata: Option<Map<String, Value>>,
}

impl TryFrom<WrittenResult> for ToolResult {
    type Error = &'static str;

    fn try_from(written: WrittenResult) -> Result<Self, Self::Error> {
        let outcome = match (written.result, written.error) {
            (Some(result), None) => ToolOutcome::Result(result),
            (None, Some(error)) => ToolOutcome::Error(error),
            _ => return Err("either result or error is needed"),
        };
        let WrittenResult { tool_call_id, name, message, metadata, .. } = written;
        Ok(ToolResult { tool_call_id, name, outcome, message, metadata })
    }
}

impl From<ToolResult> for WrittenResult {
    fn from(result: ToolResult) -> Self {
        let ToolResult { tool_call_id, name, outcome, message, metadata } = result;
        let (result, error) = match outcome {
            ToolOutcome::Result(line) => (Some(line), None),
            ToolOutcome::Error(line) => (None, Some(line)),
        };
        WrittenResult { tool_call_id, name, result, error, message, metadata }
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
        let breaks = ['\n', '\u{b}', '\u{c}', '\r', '\u{85}', '\u{2028}', '\u{2029}'];
        let pieces = text.split(breaks).map(str::trim).filter(|piece| !piece.is_empty());
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
        /// What is said meanwhile.
        message: ToolMessage,
        /// Why there is no destination.
        error: String,
    }
}

/// Whereto a call is handed on, an assistant included; told apart by `type`.
#[derive(Debug, Clone, PartialEq, Serialize)]
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

told_apart! {
    AnyDestination by "type" {
        "assistant" => Assistant(AssistantDestination),
        "number" => Number(NumberDestination),
        "sip" => Sip(SipDestination),
    }
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

/// The answer to `knowledge-base-request`: documents, a message, or both.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(try_from = "UncheckedKnowledge", into = "UncheckedKnowledge")]
pub struct KnowledgeBaseResponse(UncheckedKnowledge);

impl KnowledgeBaseResponse {
    /// What was found, which may be nothing, and perhaps what is said.
    #[must_use]
    pub fn found(documents: Vec<KnowledgeDocument>, message: Option<CustomMessage>) -> Self {
        KnowledgeBaseResponse(UncheckedKnowledge { documents: Some(documents), message })
    }

    /// What is said in place of documents.
    #[must_use]
    pub fn said(message: CustomMessage) -> Self {
        KnowledgeBaseResponse(UncheckedKnowledge { documents: None, message: Some(message) })
    }
}

sent! {
    /// Documents, a message, or both: not checked yet.
    UncheckedKnowledge {} optional {
        /// What was found.
        documents: Vec<KnowledgeDocument>,
        /// What is said.
        message: CustomMessage,
    }
}

impl TryFrom<UncheckedKnowledge> for KnowledgeBaseResponse {
    type Error = &'static str;

    fn try_from(written: UncheckedKnowledge) -> Result<Self, Self::Error> {
        match (&written.documents, &written.message) {
            (None, None) => Err("documents or a message is needed"),
            _ => Ok(KnowledgeBaseResponse(written)),
        }
    }
}

impl From<KnowledgeBaseResponse> for UncheckedKnowledge {
    fn from(response: KnowledgeBaseResponse) -> Self {
        response.0
    }
}

sent! {
    /// A document that was found.
    KnowledgeDocument {
        /// Its text.
        content: String,
        /// How well it fits.
        similarity: Finite,
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

    /// The number of seconds.
    #[must_use]
    pub fn seconds(self) -> f64 {
        self.0
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

/// The answer to `voice-request`: speech in one channel of 16-bit samples, sent raw as the response's body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VoiceResponse {
    /// Samples at the message's `sampleRate`.
    pub samples: Vec<i16>,
}

impl VoiceResponse {
    /// The body: each sample's lower byte first, as everywhere where raw PCM is not said to be otherwise.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.samples.iter().flat_map(|sample| sample.to_le_bytes()).collect()
    }
}
