//! What Vapi is told: client inbound messages. They answer a client message, and steer a live call at its `controlUrl`.
//!
//! | type | struct |
//! |---|---|
//! | `add-message` | [`AddMessage`] |
//! | `control` | [`ControlMessage`] |
//! | `say` | [`Say`] |
//! | `end-call` | [`EndCall`] |
//! | `transfer` | [`Transfer`] |
//! | `send-transport-message` | [`SendTransportMessage`] |
//!
//! What is required is required by the type; what is not documented cannot be written, so that a misspelt member is found. Two
//! more are documented elsewhere, and not in the union: `handoff` at a control URL, and `hangup` over a WebSocket.
//! Source: `ClientInboundMessage` of Vapi's OpenAPI document (<https://api.vapi.ai/api-json>, August 2026). That Vapi acts on one
//! that answers a client message is documented; nobody has shown it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::strict::{Text, Whole};

sent! {
    /// The answer to a client message: the message in its envelope. A `controlUrl` takes it without.
    Reply {
        /// The message.
        message: Inbound,
    }
}

/// A client inbound message, told apart by `type`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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

told_apart! {
    Inbound by "type" {
        "add-message" => AddMessage(AddMessage),
        "control" => Control(ControlMessage),
        "say" => Say(Say),
        "end-call" => EndCall(EndCall),
        "transfer" => Transfer(Transfer),
        "send-transport-message" => SendTransportMessage(SendTransportMessage),
    }
}

sent! {
    /// `add-message`
    AddMessage {
        /// The message.
        message: OpenAiMessage,
    } optional {
        /// Whether the assistant answers it; `true` when absent.
        trigger_response_enabled: bool,
    }
}

sent! {
    /// A message as OpenAI's API writes it. Both members are required.
    OpenAiMessage {
        /// As whom.
        role: OpenAiRole,
        /// The text; `null` is one too.
        #[serde(deserialize_with = "Option::deserialize")]
        #[cfg_attr(feature = "schema", schemars(with = "crate::strict::OrNull<Text<0, 100_000_000>>"))]
        content: Option<Text<0, 100_000_000>>,
    }
}

/// As whom a message is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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

sent! {
    /// `control`
    #[derive(Eq)]
    ControlMessage {
        /// What to do.
        control: Control,
    }
}

/// Who is to be heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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

sent! {
    /// `say`. Nothing is required; `type` is always written.
    #[derive(Eq, Default)]
    Say {} optional {
        /// What to say.
        content: String,
        /// Whether the assistant is interrupted for it; `false` when absent.
        interrupt_assistant_enabled: bool,
        /// Whether the call ends behind it.
        end_call_after_spoken: bool,
        /// Whether the customer may interrupt it.
        interruptions_enabled: bool,
    }
}

/// `end-call`. Has nothing of its own.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct EndCall {}

sent! {
    /// `transfer`
    #[derive(Default)]
    Transfer {} optional {
        /// Whereto: a number or an address. An assistant is none here.
        destination: Destination,
        /// What is said before.
        content: String,
    }
}

/// Whereto a call is handed on, told apart by `type`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Destination {
    /// A telephone number.
    Number(Box<NumberDestination>),
    /// A SIP address.
    Sip(Box<SipDestination>),
}

told_apart! {
    Destination by "type" {
        "number" => Number(NumberDestination),
        "sip" => Sip(SipDestination),
    }
}

/// A destination: its own members, and what both have.
macro_rules! destination {
    ($(#[$about:meta])* $name:ident { $($own:tt)* } optional { $($maybe:tt)* }) => {
        sent! {
            $(#[$about])*
            $name { $($own)* } optional {
                $($maybe)*
                /// The number to show.
                caller_id: Text<0, 40>,
                /// What is said to the customer.
                message: Spoken,
                /// When to choose it, for the model.
                description: String,
                /// How to hand on.
                transfer_plan: TransferPlan,
            }
        }
    };
}

/// A telephone number that Vapi would take.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(try_from = "CalledNumber", into = "CalledNumber")]
pub struct NumberDestination(CalledNumber);

impl NumberDestination {
    /// The number, and how to hand on.
    #[must_use]
    pub fn get(&self) -> &CalledNumber {
        &self.0
    }
}

impl TryFrom<CalledNumber> for NumberDestination {
    type Error = &'static str;

    fn try_from(called: CalledNumber) -> Result<Self, Self::Error> {
        let digits = called.number.as_str().strip_prefix('+');
        let is_e164 = digits.is_some_and(|digits| {
            digits.len() <= 15 && !digits.starts_with('0') && digits.bytes().all(|digit| digit.is_ascii_digit())
        });
        if is_e164 || called.number_e164_check_enabled == Some(false) {
            Ok(NumberDestination(called))
        } else {
            Err("a number in E.164 is needed, such as +15550100, or numberE164CheckEnabled: false")
        }
    }
}

impl From<NumberDestination> for CalledNumber {
    fn from(destination: NumberDestination) -> Self {
        destination.0
    }
}

destination! {
    /// A telephone number, not checked yet.
    CalledNumber {
        /// E.164, unless `number_e164_check_enabled` is `false`.
        number: Text<3, 40>,
    } optional {
        /// Whether the number is checked; `true` when absent.
        number_e164_check_enabled: bool,
        /// An extension.
        extension: Text<1, 10>,
    }
}

destination! {
    /// A SIP address.
    SipDestination {
        /// The address.
        sip_uri: String,
    } optional {
        /// Headers to send.
        sip_headers: Map<String, Value>,
    }
}

/// What is said: a text, or a message with variants; told apart by the quotation mark.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(untagged)]
pub enum Spoken {
    /// A text.
    Text(String),
    /// A message with variants.
    Custom(CustomMessage),
}

impl<'de> Deserialize<'de> for Spoken {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(text) => Ok(Spoken::Text(text)),
            other => CustomMessage::deserialize(other).map(Spoken::Custom).map_err(serde::de::Error::custom),
        }
    }
}

sent! {
    /// A message with variants.
    CustomMessage {
        /// `custom-message`
        #[serde(rename = "type")]
        kind: CustomMessageType,
    } optional {
        /// The text.
        content: Text<0, 1000>,
        /// Variants of it.
        contents: Vec<Value>,
    }
}

/// The one kind of a message with variants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum CustomMessageType {
    /// `custom-message`
    CustomMessage,
}

sent! {
    /// Another assistant of the squad.
    AssistantDestination {
        /// Which one.
        assistant_name: String,
    } optional {
        /// What of the conversation it gets; all of it when absent.
        transfer_mode: HistoryMode,
        /// What is said to the customer.
        message: Spoken,
        /// When to choose it, for the model.
        description: String,
    }
}

/// What of the conversation the next assistant gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum HistoryMode {
    /// All of it.
    RollingHistory,
    /// All of it, under its own instructions.
    SwapSystemMessageInHistory,
    /// The same, without the messages about the transfer.
    SwapSystemMessageInHistoryAndRemoveTransferToolMessages,
    /// Nothing.
    DeleteHistory,
}

sent! {
    /// How to hand a call on.
    TransferPlan {
        /// In which way.
        mode: TransferPlanMode,
    } optional {
        /// What is said to whoever takes over.
        message: Spoken,
        /// How long to wait for them, in seconds; 60 when absent.
        timeout: Whole<1, 600>,
        /// By which SIP method; `refer` when absent.
        sip_verb: TransferVerb,
        /// How long to dial, in seconds; 60 when absent.
        dial_timeout: Whole<1, 600>,
        /// What the customer hears meanwhile.
        hold_audio_url: String,
        /// What is heard when it is done.
        transfer_complete_audio_url: String,
        /// Twilio's instructions.
        twiml: Text<0, 4096>,
        /// How the conversation is summarised.
        summary_plan: Map<String, Value>,
        /// Whether SIP headers stand in the Refer-To header.
        sip_headers_in_refer_to_enabled: bool,
        /// What happens when nobody takes over.
        fallback_plan: FallbackPlan,
        /// What of the conversation goes along.
        context_engineering_plan: ContextPlan,
    }
}

/// In which way a call is handed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum TransferPlanMode {
    /// Without a word.
    BlindTransfer,
    /// The same, with a summary in a SIP header.
    BlindTransferAddSummaryToSipHeader,
    /// A message first.
    WarmTransferSayMessage,
    /// A summary first.
    WarmTransferSaySummary,
    /// Twilio's instructions first.
    WarmTransferTwiml,
    /// A message, when the operator has spoken.
    WarmTransferWaitForOperatorToSpeakFirstAndThenSayMessage,
    /// A summary, when the operator has spoken.
    WarmTransferWaitForOperatorToSpeakFirstAndThenSaySummary,
    /// An assistant speaks with the operator first.
    WarmTransferExperimental,
}

/// By which SIP method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum TransferVerb {
    /// REFER
    Refer,
    /// BYE
    Bye,
    /// A new call.
    Dial,
}

sent! {
    /// What happens when nobody takes over.
    FallbackPlan {
        /// What is said.
        message: Spoken,
    } optional {
        /// Whether the call ends; `true` when absent.
        end_call_enabled: bool,
    }
}

/// What of the conversation goes along, told apart by `type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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

sent! {
    /// `send-transport-message`
    SendTransportMessage {
        /// What is sent.
        message: TransportMessage,
    }
}

/// What is sent through the transport, told apart by `transport`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "transport")]
pub enum TransportMessage {
    /// A SIP request.
    #[serde(rename = "vapi.sip")]
    Sip(SipMessage),
    /// Twilio's instructions.
    #[serde(rename = "twilio")]
    Twilio(TwilioMessage),
}

told_apart! {
    TransportMessage by "transport" {
        "vapi.sip" => Sip(SipMessage),
        "twilio" => Twilio(TwilioMessage),
    }
}

sent! {
    /// A SIP request.
    SipMessage {
        /// Its method.
        sip_verb: SipVerb,
    } optional {
        /// Its headers.
        headers: Map<String, Value>,
        /// Its body.
        body: String,
    }
}

/// A SIP request's method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "UPPERCASE")]
pub enum SipVerb {
    /// INFO
    Info,
    /// MESSAGE
    Message,
    /// NOTIFY
    Notify,
}

sent! {
    /// Twilio's instructions.
    #[derive(Eq)]
    TwilioMessage {
        /// The instructions, as TwiML.
        twiml: String,
    }
}
