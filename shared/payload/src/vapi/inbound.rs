//! What Vapi is told: client inbound messages. They answer a client message, and steer a live call at its `controlUrl`.
//!
//! What is required is required by the type; what is not documented cannot be written, so that a misspelt member is found.
//! Source: `ClientInboundMessage` of Vapi's OpenAPI document (August 2026).

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::strict::{Text, Whole};

/// The answer to a client message: the message in its envelope. A `controlUrl` takes it without.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reply {
    /// The message.
    pub message: Inbound,
}

/// A client inbound message, told apart by `type`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Inbound {
    /// Adds a message to the conversation.
    AddMessage(AddMessage),
    /// Mutes, or lets speak.
    Control(ControlMessage),
    /// Lets the assistant say something.
    Say(Say),
    /// Ends the call.
    EndCall(EndCall),
    /// Hands the call on.
    Transfer(Box<Transfer>),
    /// Sends something through the call's transport.
    SendTransportMessage(SendTransportMessage),
}

/// `add-message`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct AddMessage {
    /// The message.
    pub message: OpenAiMessage,
    /// Whether the assistant answers it; `true` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger_response_enabled: Option<bool>,
}

/// A message as OpenAI's API writes it. Both members are required.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenAiMessage {
    /// As whom.
    pub role: OpenAiRole,
    /// The text; `null` is one too.
    #[serde(deserialize_with = "Option::deserialize")]
    pub content: Option<Text<0, 100_000_000>>,
}

/// As whom a message is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OpenAiRole {
    /// The assistant.
    Assistant,
    /// A function's result.
    Function,
    /// The customer.
    User,
    /// The instructions.
    System,
    /// A tool's result.
    Tool,
}

/// `control`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ControlMessage {
    /// What to do.
    pub control: Control,
}

/// Who is to be heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Control {
    /// The assistant is silent.
    MuteAssistant,
    /// The assistant speaks again.
    UnmuteAssistant,
    /// The customer is not heard.
    MuteCustomer,
    /// The customer is heard again.
    UnmuteCustomer,
    /// The assistant says its first message.
    SayFirstMessage,
}

/// `say`. Nothing is required; `type` is always written.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Say {
    /// What to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// Whether the assistant is interrupted for it; `false` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interrupt_assistant_enabled: Option<bool>,
    /// Whether the call ends behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_call_after_spoken: Option<bool>,
    /// Whether the customer may interrupt it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interruptions_enabled: Option<bool>,
}

/// `end-call`. Has nothing of its own.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndCall {}

/// `transfer`
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transfer {
    /// Whereto: a number or an address. An assistant is none here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<Destination>,
    /// What is said before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
}

/// Whereto a call is handed on, told apart by `type`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Destination {
    /// A telephone number.
    Number(Box<NumberDestination>),
    /// A SIP address.
    Sip(Box<SipDestination>),
}

/// A telephone number.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct NumberDestination {
    /// E.164, unless `number_e164_check_enabled` is `false`.
    pub number: Text<3, 40>,
    /// Whether the number is checked; `true` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "numberE164CheckEnabled")]
    pub number_e164_check_enabled: Option<bool>,
    /// An extension.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extension: Option<Text<1, 10>>,
    /// The number to show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller_id: Option<Text<0, 40>>,
    /// What is said to the customer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// When to choose it, for the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// How to hand on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transfer_plan: Option<TransferPlan>,
}

/// A SIP address.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SipDestination {
    /// The address.
    pub sip_uri: String,
    /// The number to show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller_id: Option<Text<0, 40>>,
    /// Headers to send.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sip_headers: Option<Map<String, Value>>,
    /// What is said to the customer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// When to choose it, for the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// How to hand on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transfer_plan: Option<TransferPlan>,
}

/// How to hand a call on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct TransferPlan {
    /// In which way.
    pub mode: TransferMode,
    /// What is said to whoever takes over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// How long to wait for them, in seconds; 60 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Whole<1, 600>>,
    /// By which SIP method; `refer` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sip_verb: Option<TransferVerb>,
    /// How long to dial, in seconds; 60 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dial_timeout: Option<Whole<1, 600>>,
    /// What the customer hears meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_audio_url: Option<String>,
    /// What is heard when it is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transfer_complete_audio_url: Option<String>,
    /// Twilio's instructions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub twiml: Option<Text<0, 4096>>,
    /// How the conversation is summarised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary_plan: Option<Map<String, Value>>,
    /// Whether SIP headers stand in the Refer-To header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sip_headers_in_refer_to_enabled: Option<bool>,
    /// What happens when nobody takes over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback_plan: Option<FallbackPlan>,
    /// What of the conversation goes along.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_engineering_plan: Option<ContextPlan>,
}

/// In which way a call is handed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "each is named after its constant; their documentation is Vapi's")]
pub enum TransferMode {
    BlindTransfer,
    BlindTransferAddSummaryToSipHeader,
    WarmTransferSayMessage,
    WarmTransferSaySummary,
    WarmTransferTwiml,
    WarmTransferWaitForOperatorToSpeakFirstAndThenSayMessage,
    WarmTransferWaitForOperatorToSpeakFirstAndThenSaySummary,
    WarmTransferExperimental,
}

/// By which SIP method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TransferVerb {
    /// REFER
    Refer,
    /// BYE
    Bye,
    /// A new call.
    Dial,
}

/// What happens when nobody takes over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct FallbackPlan {
    /// What is said.
    pub message: String,
    /// Whether the call ends; `true` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_call_enabled: Option<bool>,
}

/// What of the conversation goes along, told apart by `type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", deny_unknown_fields)]
pub enum ContextPlan {
    /// Everything.
    All {},
    /// The last messages.
    #[serde(rename_all = "camelCase")]
    LastNMessages {
        /// So many.
        max_messages: u32,
    },
    /// Nothing.
    None {},
}

/// `send-transport-message`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SendTransportMessage {
    /// What is sent.
    pub message: TransportMessage,
}

/// What is sent through the transport, told apart by `transport`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "transport")]
pub enum TransportMessage {
    /// A SIP request.
    #[serde(rename = "vapi.sip")]
    Sip(SipMessage),
    /// Twilio's instructions.
    #[serde(rename = "twilio")]
    Twilio(TwilioMessage),
}

/// A SIP request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SipMessage {
    /// Its method.
    pub sip_verb: SipVerb,
    /// Its headers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headers: Option<Map<String, Value>>,
    /// Its body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
}

/// A SIP request's method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum SipVerb {
    /// INFO
    Info,
    /// MESSAGE
    Message,
    /// NOTIFY
    Notify,
}

/// Twilio's instructions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TwilioMessage {
    /// The instructions, as TwiML.
    pub twiml: String,
}
