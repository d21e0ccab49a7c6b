//! Client inbound messages, which are sent to Vapi. They reply to a client message, or control a live call through its
//! `controlUrl`.
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
//! The types enforce required members and reject undocumented ones, so that a misspelt member is found. Two more
//! messages are documented outside the union: `handoff` at a control URL and `hangup` over a WebSocket.
//!
//! Source: `ClientInboundMessage` of Vapi's OpenAPI document (<https://api.vapi.ai/api-json>, August 2026). It is
//! documented, but not confirmed by any capture, that Vapi executes a message in the reply to a client message.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use gatehouse_payload::strict::{BoundedString, BoundedU32};
use gatehouse_payload::{request, tagged_enum};

request! {
    /// The reply to a client message: an inbound message in its envelope. A `controlUrl` expects the message without
    /// the envelope.
    Reply {
        /// The message.
        message: Inbound,
    }
}

/// A client inbound message; the kind depends on `type`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Inbound {
    /// Adds a message to the conversation.
    AddMessage(AddMessage),
    /// Mutes or unmutes a participant, or makes the assistant say its first message.
    Control(ControlMessage),
    /// Makes the assistant say a text.
    Say(Say),
    /// Ends the call.
    EndCall(EndCall),
    /// Transfers the call.
    Transfer(Box<Transfer>),
    /// Sends a message through the call's transport.
    SendTransportMessage(SendTransportMessage),
}

tagged_enum! {
    Inbound by "type" {
        "add-message" => AddMessage(AddMessage),
        "control" => Control(ControlMessage),
        "say" => Say(Say),
        "end-call" => EndCall(EndCall),
        "transfer" => Transfer(Transfer),
        "send-transport-message" => SendTransportMessage(SendTransportMessage),
    }
}

request! {
    /// `add-message`
    AddMessage {
        /// The message.
        message: OpenAiMessage,
    } optional {
        /// Whether the assistant responds to the message; `true` if absent.
        trigger_response_enabled: bool,
    }
}

request! {
    /// A message in OpenAI's format. Both members are required.
    OpenAiMessage {
        /// The role of the author.
        role: OpenAiRole,
        /// The text, or `null`.
        #[serde(deserialize_with = "Option::deserialize")]
        #[cfg_attr(feature = "schema", schemars(with = "gatehouse_payload::strict::OrNull<BoundedString<0, 100_000_000>>"))]
        content: Option<BoundedString<0, 100_000_000>>,
    }
}

/// The role of a message's author.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum OpenAiRole {
    /// The assistant.
    Assistant,
    /// The result of a function.
    Function,
    /// The customer.
    User,
    /// The instructions.
    System,
    /// The result of a tool.
    Tool,
}

request! {
    /// `control`
    #[derive(Eq)]
    ControlMessage {
        /// The action.
        control: Control,
    }
}

/// An action on the speech of a participant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Control {
    /// Mutes the assistant.
    MuteAssistant,
    /// Unmutes the assistant.
    UnmuteAssistant,
    /// Mutes the customer.
    MuteCustomer,
    /// Unmutes the customer.
    UnmuteCustomer,
    /// Makes the assistant say its first message.
    SayFirstMessage,
}

request! {
    /// `say`. No member except `type` is required.
    #[derive(Eq, Default)]
    Say {} optional {
        /// The text to say.
        content: String,
        /// Whether the text interrupts the assistant; `false` if absent.
        interrupt_assistant_enabled: bool,
        /// Whether the call ends after the text.
        end_call_after_spoken: bool,
        /// Whether the customer may interrupt the text.
        interruptions_enabled: bool,
    }
}

/// `end-call`. Has no members except `type`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct EndCall {}

request! {
    /// `transfer`
    #[derive(Default)]
    Transfer {} optional {
        /// The destination: a number or a SIP address. An assistant is not allowed here.
        destination: Destination,
        /// The text that is spoken before the transfer.
        content: String,
    }
}

/// A destination of a transfer; the kind depends on `type`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Destination {
    /// A telephone number.
    Number(Box<NumberDestination>),
    /// A SIP address.
    Sip(Box<SipDestination>),
}

tagged_enum! {
    Destination by "type" {
        "number" => Number(NumberDestination),
        "sip" => Sip(SipDestination),
    }
}

/// Generates a struct for a destination from the members of this kind and the members of both kinds.
macro_rules! destination {
    ($(#[$attribute:meta])* $name:ident { $($required:tt)* } optional { $($optional:tt)* }) => {
        request! {
            $(#[$attribute])*
            $name { $($required)* } optional {
                $($optional)*
                /// The caller id.
                caller_id: BoundedString<0, 40>,
                /// The message to the customer.
                message: Spoken,
                /// The condition for the choice of the destination, for the model.
                description: String,
                /// The transfer plan.
                transfer_plan: TransferPlan,
            }
        }
    };
}

/// A telephone number that Vapi accepts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(try_from = "CalledNumber", into = "CalledNumber")]
pub struct NumberDestination(CalledNumber);

impl NumberDestination {
    /// The number and the transfer settings.
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
    /// A telephone number before the check of its format.
    CalledNumber {
        /// The number in E.164, unless `number_e164_check_enabled` is `false`.
        number: BoundedString<3, 40>,
    } optional {
        /// Whether Vapi checks the number; `true` if absent.
        number_e164_check_enabled: bool,
        /// An extension.
        extension: BoundedString<1, 10>,
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

/// A message to speak: a text or a message with variants.
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

request! {
    /// A message with variants.
    CustomMessage {
        /// `custom-message`
        #[serde(rename = "type")]
        kind: CustomMessageType,
    } optional {
        /// The text.
        content: BoundedString<0, 1000>,
        /// The variants.
        contents: Vec<Value>,
    }
}

/// The type of a message with variants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum CustomMessageType {
    /// `custom-message`
    CustomMessage,
}

request! {
    /// Another assistant of the squad.
    AssistantDestination {
        /// The assistant's name.
        assistant_name: String,
    } optional {
        /// The part of the conversation that the assistant receives; the whole conversation if absent.
        transfer_mode: HistoryMode,
        /// The message to the customer.
        message: Spoken,
        /// The condition for the choice of the destination, for the model.
        description: String,
    }
}

/// The part of the conversation that the next assistant receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum HistoryMode {
    /// The whole conversation.
    RollingHistory,
    /// The whole conversation with the next assistant's instructions.
    SwapSystemMessageInHistory,
    /// The whole conversation with the next assistant's instructions, without the messages about the transfer.
    SwapSystemMessageInHistoryAndRemoveTransferToolMessages,
    /// No part of the conversation.
    DeleteHistory,
}

request! {
    /// The settings of a transfer.
    TransferPlan {
        /// The mode.
        mode: TransferPlanMode,
    } optional {
        /// The message to the person who takes the call.
        message: Spoken,
        /// Timeout for that person's answer in seconds; 60 if absent.
        timeout: BoundedU32<1, 600>,
        /// The SIP method; `refer` if absent.
        sip_verb: TransferVerb,
        /// Timeout for dialling in seconds; 60 if absent.
        dial_timeout: BoundedU32<1, 600>,
        /// URL of the audio that the customer hears while waiting.
        hold_audio_url: String,
        /// URL of the audio that is played when the transfer is complete.
        transfer_complete_audio_url: String,
        /// Instructions for Twilio in TwiML.
        twiml: BoundedString<0, 4096>,
        /// The settings of the summary.
        summary_plan: Map<String, Value>,
        /// Whether SIP headers are put into the Refer-To header.
        sip_headers_in_refer_to_enabled: bool,
        /// The fallback if the transfer fails.
        fallback_plan: FallbackPlan,
        /// The part of the conversation that is passed on.
        context_engineering_plan: ContextPlan,
    }
}

/// The mode of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum TransferPlanMode {
    /// The call is transferred without a message.
    BlindTransfer,
    /// The call is transferred with a summary in a SIP header.
    BlindTransferAddSummaryToSipHeader,
    /// A message is spoken first.
    WarmTransferSayMessage,
    /// A summary is spoken first.
    WarmTransferSaySummary,
    /// Twilio's instructions are executed first.
    WarmTransferTwiml,
    /// A message is spoken after the operator has spoken.
    WarmTransferWaitForOperatorToSpeakFirstAndThenSayMessage,
    /// A summary is spoken after the operator has spoken.
    WarmTransferWaitForOperatorToSpeakFirstAndThenSaySummary,
    /// An assistant speaks with the operator first.
    WarmTransferExperimental,
}

/// The SIP method of a transfer.
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

request! {
    /// The fallback if the transfer fails.
    FallbackPlan {
        /// The message to speak.
        message: Spoken,
    } optional {
        /// Whether the call ends; `true` if absent.
        end_call_enabled: bool,
    }
}

/// The part of the conversation that is passed on; the kind depends on `type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "type", rename_all = "camelCase", deny_unknown_fields)]
pub enum ContextPlan {
    /// All messages.
    All {},
    /// The last messages.
    #[serde(rename_all = "camelCase")]
    LastNMessages {
        /// The number of messages.
        max_messages: u32,
    },
    /// No messages.
    None {},
}

request! {
    /// `send-transport-message`
    SendTransportMessage {
        /// The message.
        message: TransportMessage,
    }
}

/// A message through the call's transport; the kind depends on `transport`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "transport")]
pub enum TransportMessage {
    /// A SIP request.
    #[serde(rename = "vapi.sip")]
    Sip(SipMessage),
    /// Instructions for Twilio.
    #[serde(rename = "twilio")]
    Twilio(TwilioMessage),
}

tagged_enum! {
    TransportMessage by "transport" {
        "vapi.sip" => Sip(SipMessage),
        "twilio" => Twilio(TwilioMessage),
    }
}

request! {
    /// A SIP request.
    SipMessage {
        /// The method.
        sip_verb: SipVerb,
    } optional {
        /// The headers.
        headers: Map<String, Value>,
        /// The body.
        body: String,
    }
}

/// The method of a SIP request.
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

request! {
    /// Instructions for Twilio.
    #[derive(Eq)]
    TwilioMessage {
        /// The instructions in TwiML.
        twiml: String,
    }
}
