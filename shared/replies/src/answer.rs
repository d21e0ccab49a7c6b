//! The messages that need a reply, and the kind of reply for each.

use std::time::Duration;

use gatehouse_payload::strict::{read, without_values};
use gatehouse_vapi::Channel;
use gatehouse_vapi::inbound::{Inbound, Reply};
use gatehouse_vapi::response::{
    AssistantResponse, EndpointingResponse, HandoffDestinationResponse, KnowledgeBaseResponse, PredialResponse,
    ToolOutcome, TransferDestinationResponse,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The maximum length of a reply in bytes. The reply is stored in the event's record, which must fit in one DynamoDB
/// item.
pub const ANSWER_LIMIT: usize = 64 * 1024;

/// The longest time limit of a service that is notified.
pub(crate) const NOTIFY_WITHIN: Duration = Duration::from_secs(2);

/// The kind of reply to a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Any client message: [`Reply`].
    Client,
    /// `assistant-request`: [`AssistantResponse`].
    Assistant,
    /// `tool-calls` to a server and the older `function-call`: a [`ToolOutcome`] for each call.
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

/// The server messages that need a reply.
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
    /// The kind of reply to a message of this type; `None` if Vapi does not wait for a reply.
    #[must_use]
    pub fn of(channel: Channel, message_type: &str) -> Option<Kind> {
        match channel {
            Channel::Client => Some(Kind::Client),
            Channel::Server => ANSWERED.iter().find(|answered| answered.0 == message_type).map(|answered| answered.1),
        }
    }

    /// The default reply. By default a contact is not called.
    #[must_use]
    pub fn default_reply(self) -> &'static str {
        if self == Kind::Predial { r#"{"eligible":false}"# } else { "{}" }
    }

    /// The time limit of a service for the reply, if the rule sets none.
    pub(crate) const fn default_within(self) -> Duration {
        match self {
            Kind::Assistant => Duration::from_secs(3),
            Kind::Tools => Duration::from_secs(8),
            Kind::Endpointing => Duration::from_secs(1),
            Kind::Client | Kind::Transfer | Kind::Handoff | Kind::Knowledge | Kind::Predial => Duration::from_secs(2),
        }
    }

    /// The longest time limit that a rule can set. Vapi waits 7.5 s for an assistant, and by default 20 s for other
    /// replies.
    pub(crate) const fn max_within(self) -> Duration {
        match self {
            Kind::Assistant => Duration::from_millis(3700),
            Kind::Tools => Duration::from_secs(16),
            Kind::Transfer | Kind::Handoff | Kind::Knowledge | Kind::Predial => Duration::from_secs(8),
            Kind::Client | Kind::Endpointing => Duration::from_secs(2),
        }
    }

    /// Checks a reply and returns its JSON. The error is a sentence that quotes no values.
    pub(crate) fn checked_json(self, reply: Value) -> Result<String, String> {
        match self {
            Kind::Client => checked_json::<Reply>(reply),
            Kind::Assistant => checked_json::<AssistantResponse>(reply),
            Kind::Tools => checked_json::<ToolOutcome>(reply),
            Kind::Transfer => checked_json::<TransferDestinationResponse>(reply),
            Kind::Handoff => checked_json::<HandoffDestinationResponse>(reply),
            Kind::Knowledge => checked_json::<KnowledgeBaseResponse>(reply),
            Kind::Endpointing => checked_json::<EndpointingResponse>(reply),
            Kind::Predial => checked_json::<PredialResponse>(reply),
        }
    }
}

/// Checks a message to a live call and returns its JSON.
pub(crate) fn action_json(message: Value) -> Result<String, String> {
    checked_json::<Inbound>(message)
}

fn checked_json<T: DeserializeOwned + Serialize>(value: Value) -> Result<String, String> {
    to_json(&read::<T>(value)?)
}

/// The JSON of a reply.
///
/// # Errors
/// If the JSON is longer than [`ANSWER_LIMIT`].
pub fn to_json(answer: &impl Serialize) -> Result<String, String> {
    let text = serde_json::to_string(answer).map_err(|error| without_values(&error))?;
    let fits = text.len() <= ANSWER_LIMIT;
    fits.then_some(text).ok_or_else(|| format!("the JSON has more than {ANSWER_LIMIT} bytes"))
}
