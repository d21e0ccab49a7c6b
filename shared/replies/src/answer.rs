//! The messages that are answered, and with what.

use gatehouse_edge::vapi::Channel;
use gatehouse_payload::strict::{read, without_values};
use gatehouse_payload::vapi::inbound::{Inbound, Reply};
use gatehouse_payload::vapi::response::{
    AssistantResponse, EndpointingResponse, HandoffDestinationResponse, KnowledgeBaseResponse, PredialResponse,
    ToolOutcome, TransferDestinationResponse,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The longest answer: it stands in the event's record, which must fit one item of DynamoDB's. In bytes.
pub const ANSWER_LIMIT: usize = 64 * 1024;

/// What a message is answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Any client message: [`Reply`].
    Client,
    /// `assistant-request`: [`AssistantResponse`].
    Assistant,
    /// `tool-calls` to a server, and the older `function-call`: a [`ToolOutcome`] for each call.
    Tools,
    /// `transfer-destination-request`: [`TransferDestinationResponse`].
    Transfer,
    /// `handoff-destination-request`: [`HandoffDestinationResponse`].
    Handoff,
    /// `knowledge-base-request`: [`KnowledgeBaseResponse`].
    Knowledge,
    /// `call.endpointing.request`: [`EndpointingResponse`].
    Endpointing,
    /// `campaign.predial`: [`PredialResponse`].
    Predial,
}

/// The server messages that are answered.
pub(crate) const ANSWERED: [(&str, Kind); 8] = [
    ("assistant-request", Kind::Assistant),
    ("tool-calls", Kind::Tools),
    ("function-call", Kind::Tools),
    ("transfer-destination-request", Kind::Transfer),
    ("handoff-destination-request", Kind::Handoff),
    ("knowledge-base-request", Kind::Knowledge),
    ("call.endpointing.request", Kind::Endpointing),
    ("campaign.predial", Kind::Predial),
];

impl Kind {
    /// What a message of this type is answered with; `None` where Vapi expects nothing.
    #[must_use]
    pub fn of(channel: Channel, message_type: &str) -> Option<Kind> {
        match channel {
            Channel::Client => Some(Kind::Client),
            Channel::Server => ANSWERED.iter().find(|answered| answered.0 == message_type).map(|answered| answered.1),
        }
    }

    /// The answer where nobody has a better one. A contact is called only if someone says so.
    #[must_use]
    pub fn otherwise(self) -> &'static str {
        if self == Kind::Predial { r#"{"eligible":false}"# } else { "{}" }
    }

    /// A reply of this kind as it is sent; in a sentence without values, why it is none.
    pub(crate) fn written(self, reply: Value) -> Result<String, String> {
        match self {
            Kind::Client => written::<Reply>(reply),
            Kind::Assistant => written::<AssistantResponse>(reply),
            Kind::Tools => written::<ToolOutcome>(reply),
            Kind::Transfer => written::<TransferDestinationResponse>(reply),
            Kind::Handoff => written::<HandoffDestinationResponse>(reply),
            Kind::Knowledge => written::<KnowledgeBaseResponse>(reply),
            Kind::Endpointing => written::<EndpointingResponse>(reply),
            Kind::Predial => written::<PredialResponse>(reply),
        }
    }
}

/// A message to a live call as it is sent.
pub(crate) fn written_action(message: Value) -> Result<String, String> {
    written::<Inbound>(message)
}

fn written<T: DeserializeOwned + Serialize>(value: Value) -> Result<String, String> {
    to_json(&read::<T>(value)?)
}

/// What is sent, within its limit.
///
/// # Errors
/// When it is too long.
pub fn to_json(answer: &impl Serialize) -> Result<String, String> {
    let text = serde_json::to_string(answer).map_err(|error| without_values(&error))?;
    let fits = text.len() <= ANSWER_LIMIT;
    fits.then_some(text).ok_or_else(|| format!("it has more than {ANSWER_LIMIT} bytes"))
}
