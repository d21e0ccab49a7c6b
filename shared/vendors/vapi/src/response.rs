//! Replies to Vapi's server messages. They are sent bare, as in every published example and receiver, although the
//! schema wraps them in `messageResponse`.
//!
//! | message | reply |
//! |---|---|
//! | `assistant-request` | [`AssistantResponse`] |
//! | `tool-calls` | [`ToolCallsResponse`] |
//! | `transfer-destination-request` | [`TransferDestinationResponse`] |
//! | `handoff-destination-request` | [`HandoffDestinationResponse`] |
//! | `knowledge-base-request` | [`KnowledgeBaseResponse`] |
//! | `call.endpointing.request` | [`EndpointingResponse`] |
//! | `campaign.predial` | [`PredialResponse`] |
//! | `voice-request` | [`VoiceResponse`]: audio, not JSON |
//!
//! The types enforce required members and cannot contain undocumented ones.
//!
//! Source: `ServerMessageResponse` of Vapi's OpenAPI document (<https://api.vapi.ai/api-json>, August 2026),
//! <https://docs.vapi.ai/server-url/events>.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use gatehouse_payload::strict::Finite;
use gatehouse_payload::{request, tagged_enum};

use super::inbound::{AssistantDestination, CustomMessage, Destination, NumberDestination, SipDestination};

request! {
    /// The reply to `assistant-request`. Precedence: `error`, then `destination`, then the other members.
    #[derive(Default)]
    AssistantResponse {} optional {
        /// The destination that the call is transferred to instead.
        destination: Destination,
        /// The id of a saved assistant.
        assistant_id: String,
        /// An assistant for this call only.
        assistant: Map<String, Value>,
        /// Overrides of the assistant.
        assistant_overrides: Map<String, Value>,
        /// The id of a saved squad.
        squad_id: String,
        /// A squad for this call only.
        squad: Map<String, Value>,
        /// Overrides of the squad.
        squad_overrides: Map<String, Value>,
        /// The id of a saved workflow.
        workflow_id: String,
        /// A workflow for this call only.
        workflow: Map<String, Value>,
        /// Overrides of the workflow.
        workflow_overrides: Map<String, Value>,
        /// The text that is spoken to the customer before the call ends.
        error: String,
    }
}

/// The reply to `tool-calls`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum ToolCallsResponse {
    /// A result for each call, in the calls' order.
    Results(Vec<ToolResult>),
    /// One error for all calls.
    Error(Line),
}

/// The result of a tool call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(with = "ToolResultMembers"))]
#[serde(try_from = "ToolResultMembers", into = "ToolResultMembers")]
pub struct ToolResult {
    /// The call's id.
    pub tool_call_id: String,
    /// The tool's name.
    pub name: String,
    /// The result or the error.
    pub outcome: ToolOutcome,
    /// The tool message that is spoken.
    pub message: Option<ToolMessage>,
    /// The integrator's metadata.
    pub metadata: Option<Map<String, Value>>,
}

/// A tool message, such as `request-start`. Its members depend on its kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ToolMessage {
    /// The kind.
    #[serde(rename = "type")]
    pub kind: String,
    /// The members of this kind.
    #[serde(flatten)]
    pub members: Map<String, Value>,
}

/// The outcome of a tool call, written as `result` or as `error`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum ToolOutcome {
    /// The call succeeded.
    Result(Line),
    /// The call failed. The model receives the error.
    Error(Line),
}

#[derive(Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ToolResultMembers {
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

impl TryFrom<ToolResultMembers> for ToolResult {
    type Error = &'static str;

    fn try_from(written: ToolResultMembers) -> Result<Self, Self::Error> {
        let outcome = match (written.result, written.error) {
            (Some(result), None) => ToolOutcome::Result(result),
            (None, Some(error)) => ToolOutcome::Error(error),
            _ => return Err("either result or error is needed"),
        };
        let ToolResultMembers { tool_call_id, name, message, metadata, .. } = written;
        Ok(ToolResult { tool_call_id, name, outcome, message, metadata })
    }
}

impl From<ToolResult> for ToolResultMembers {
    fn from(result: ToolResult) -> Self {
        let ToolResult { tool_call_id, name, outcome, message, metadata } = result;
        let (result, error) = match outcome {
            ToolOutcome::Result(line) => (Some(line), None),
            ToolOutcome::Error(line) => (None, Some(line)),
        };
        ToolResultMembers { tool_call_id, name, result, error, message, metadata }
    }
}

/// A text without line breaks, because Vapi ignores results with line breaks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct Line(String);

impl Line {
    /// The characters that break lines.
    pub const BREAKS: [char; 7] = ['\n', '\u{b}', '\u{c}', '\r', '\u{85}', '\u{2028}', '\u{2029}'];

    /// Replaces each line break and the white space around it by one space.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let pieces = text.split(Self::BREAKS).map(str::trim).filter(|piece| !piece.is_empty());
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

request! {
    /// The reply to `transfer-destination-request`.
    #[derive(Default)]
    TransferDestinationResponse {} optional {
        /// The destination.
        destination: AnyDestination,
        /// The tool message that is spoken during the transfer.
        message: ToolMessage,
        /// The reason why there is no destination.
        error: String,
    }
}

/// A destination of a transfer, including an assistant. The kind depends on `type`.
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

tagged_enum! {
    AnyDestination by "type" {
        "assistant" => Assistant(AssistantDestination),
        "number" => Number(NumberDestination),
        "sip" => Sip(SipDestination),
    }
}

request! {
    /// The reply to `handoff-destination-request`.
    HandoffDestinationResponse {
        /// The destination. The form of the object is not documented.
        destination: Map<String, Value>,
    } optional {
        /// The result for the model.
        result: String,
        /// The reason of a failure.
        error: String,
    }
}

/// The reply to `knowledge-base-request`: documents, a message, or both.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(try_from = "UncheckedKnowledge", into = "UncheckedKnowledge")]
pub struct KnowledgeBaseResponse(UncheckedKnowledge);

impl KnowledgeBaseResponse {
    /// Replies with documents, possibly none, and an optional message to speak.
    #[must_use]
    pub fn with_documents(documents: Vec<KnowledgeDocument>, message: Option<CustomMessage>) -> Self {
        KnowledgeBaseResponse(UncheckedKnowledge { documents: Some(documents), message })
    }

    /// Replies with a message to speak instead of documents.
    #[must_use]
    pub fn with_message(message: CustomMessage) -> Self {
        KnowledgeBaseResponse(UncheckedKnowledge { documents: None, message: Some(message) })
    }
}

request! {
    /// Documents, a message, or both, before the check that one of them is present.
    UncheckedKnowledge {} optional {
        /// The documents that were found.
        documents: Vec<KnowledgeDocument>,
        /// The message to speak.
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

request! {
    /// A document that was found.
    KnowledgeDocument {
        /// The text.
        content: String,
        /// The similarity to the query.
        similarity: Finite,
    } optional {
        /// The UUID.
        uuid: String,
    }
}

request! {
    /// The reply to `call.endpointing.request`.
    #[derive(Copy)]
    EndpointingResponse {
        /// The time after which the customer is considered to have finished speaking.
        timeout_seconds: EndpointingTimeout,
    }
}

/// A timeout of 0 to 15 seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct EndpointingTimeout(#[cfg_attr(feature = "schema", schemars(range(min = 0, max = 15)))] f64);

impl EndpointingTimeout {
    /// The bounds.
    pub const SECONDS: std::ops::RangeInclusive<f64> = 0.0..=15.0;

    /// Checks a number of seconds; `None` if it is out of bounds.
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
        let out_of_bounds = || serde::de::Error::custom("a number from 0 to 15 is needed");
        Self::new(f64::deserialize(deserializer)?).ok_or_else(out_of_bounds)
    }
}

request! {
    /// The reply to `campaign.predial`. Any other reply, an error or no reply means that the contact is not called.
    #[derive(Copy, Eq, Default)]
    PredialResponse {
        /// Whether the contact may be called.
        eligible: bool,
    }
}

/// The reply to `voice-request`: mono speech in 16-bit samples, sent as the raw body of the response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VoiceResponse {
    /// Samples at the message's `sampleRate`.
    pub samples: Vec<i16>,
}

impl VoiceResponse {
    /// The body: samples in little-endian order, which is the convention for raw PCM.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.samples.iter().flat_map(|sample| sample.to_le_bytes()).collect()
    }
}
