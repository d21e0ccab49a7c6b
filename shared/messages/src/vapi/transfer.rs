//! Destinations of call transfers.
//!
//! Source: `TransferDestination…` and `TransferPlan` of Vapi's OpenAPI document (<https://api.vapi.ai/api-json>,
//! August 2026).

use gatehouse_payload::wire::{Item, JsonObject, Number, Raw, TextOr};
use gatehouse_payload::{open_enum, open_struct, open_union};

open_union! {
    /// A destination of a call transfer; the kind depends on `type`.
    TransferDestination by "type" {
        /// Another assistant of the squad.
        Assistant(TransferDestinationAssistant) = "assistant",
        /// A telephone number.
        Number(TransferDestinationNumber) = "number",
        /// A SIP address.
        Sip(TransferDestinationSip) = "sip",
    }
}

open_struct! {
    /// Another assistant of the squad.
    TransferDestinationAssistant {
        /// `assistant`
        kind: String = "type",
        /// The assistant's name.
        assistant_name: String = "assistantName",
        /// The part of the conversation that the assistant receives.
        transfer_mode: HistoryMode = "transferMode",
        /// The message to speak: a text or a message with variants.
        message: TextOr<CustomMessage> = "message",
        /// The condition for the choice of the destination, for the model.
        description: String = "description",
    }
}

open_enum! {
    /// The part of the conversation that the next assistant receives.
    HistoryMode {
        /// The whole conversation. The default.
        RollingHistory = "rolling-history",
        /// The whole conversation with the next assistant's instructions.
        SwapSystemMessage = "swap-system-message-in-history",
        /// Like `SwapSystemMessage`, without the messages about the transfer.
        SwapSystemMessageAndRemoveTransfer = "swap-system-message-in-history-and-remove-transfer-tool-messages",
        /// No part of the conversation.
        DeleteHistory = "delete-history",
    }
}

/// Generates a struct for a destination outside the squad from the members of this kind and the members of both kinds.
macro_rules! destination {
    ($(#[$attribute:meta])* $name:ident { $($members:tt)* }) => {
        open_struct! {
            $(#[$attribute])*
            $name {
                $($members)*
                /// The caller id, up to 40 characters.
                caller_id: String = "callerId",
                /// The message to speak: a text or a message with variants.
                message: TextOr<CustomMessage> = "message",
                /// The condition for the choice of the destination, for the model.
                description: String = "description",
                /// The transfer plan.
                transfer_plan: TransferPlan = "transferPlan",
            }
        }
    };
}

destination! {
    /// A telephone number as the destination of a transfer.
    TransferDestinationNumber {
        /// `number`
        kind: String = "type",
        /// The number, 3 to 40 characters; E.164 unless `numberE164CheckEnabled` is `false`.
        number: String = "number",
        /// Whether the number is checked; `true` if absent.
        number_e164_check_enabled: bool = "numberE164CheckEnabled",
        /// The extension, 1 to 10 characters.
        extension: String = "extension",
    }
}

destination! {
    /// A SIP address as the destination of a transfer.
    TransferDestinationSip {
        /// `sip`
        kind: String = "type",
        /// The address.
        sip_uri: String = "sipUri",
        /// Headers to send.
        sip_headers: JsonObject = "sipHeaders",
    }
}

open_struct! {
    /// A message with variants.
    CustomMessage {
        /// `custom-message`
        kind: String = "type",
        /// The text, up to 1000 characters.
        content: String = "content",
        /// Variants by language; their form is not documented here.
        contents: Vec<Item<Raw>> = "contents",
    }
}

open_struct! {
    /// The settings of a transfer.
    TransferPlan {
        /// The mode. Required.
        mode: TransferPlanMode = "mode",
        /// The message to the person who takes the call.
        message: TextOr<CustomMessage> = "message",
        /// Timeout for that person's answer: 1 to 600 seconds; 60 if absent.
        timeout: Number = "timeout",
        /// The SIP method; `refer` if absent.
        sip_verb: TransferVerb = "sipVerb",
        /// Timeout for dialling: 1 to 600 seconds; 60 if absent.
        dial_timeout: Number = "dialTimeout",
        /// URL of the audio that the customer hears while waiting.
        hold_audio_url: String = "holdAudioUrl",
        /// URL of the audio that is played when the transfer is complete.
        transfer_complete_audio_url: String = "transferCompleteAudioUrl",
        /// Instructions for Twilio in TwiML, up to 4096 characters.
        twiml: String = "twiml",
        /// The settings of the summary.
        summary_plan: JsonObject = "summaryPlan",
        /// Whether SIP headers are put into the Refer-To header.
        sip_headers_in_refer_to_enabled: bool = "sipHeadersInReferToEnabled",
        /// The fallback if the transfer fails.
        fallback_plan: FallbackPlan = "fallbackPlan",
        /// The part of the conversation that is passed on.
        context_engineering_plan: ContextPlan = "contextEngineeringPlan",
    }
}

open_enum! {
    /// The mode of a transfer.
    TransferPlanMode {
        /// The call is transferred without a message.
        Blind = "blind-transfer",
        /// The call is transferred with a summary in a SIP header.
        BlindWithSummary = "blind-transfer-add-summary-to-sip-header",
        /// A message is spoken first.
        WarmMessage = "warm-transfer-say-message",
        /// A summary is spoken first.
        WarmSummary = "warm-transfer-say-summary",
        /// Twilio's instructions are executed first.
        WarmTwiml = "warm-transfer-twiml",
        /// A message is spoken after the operator has spoken.
        WarmWaitMessage = "warm-transfer-wait-for-operator-to-speak-first-and-then-say-message",
        /// A summary is spoken after the operator has spoken.
        WarmWaitSummary = "warm-transfer-wait-for-operator-to-speak-first-and-then-say-summary",
        /// An assistant speaks with the operator first.
        WarmExperimental = "warm-transfer-experimental",
    }
}

open_enum! {
    /// The SIP method of a transfer.
    TransferVerb {
        /// REFER
        Refer = "refer",
        /// BYE
        Bye = "bye",
        /// A new call.
        Dial = "dial",
    }
}

open_struct! {
    /// The fallback if the transfer fails.
    FallbackPlan {
        /// The message to speak: a text or a message with variants. Required.
        message: TextOr<CustomMessage> = "message",
        /// Whether the call ends; `true` if absent.
        end_call_enabled: bool = "endCallEnabled",
    }
}

open_union! {
    /// The part of the conversation that is passed on; the kind depends on `type`.
    ContextPlan by "type" {
        /// The last messages.
        LastMessages(LastMessages) = "lastNMessages",
        /// No messages.
        Nothing(NoMessages) = "none",
        /// All messages.
        All(AllMessages) = "all",
    }
}

open_struct! {
    /// The last messages are passed on.
    LastMessages {
        /// `lastNMessages`
        kind: String = "type",
        /// The number of messages, from 0. Required.
        max_messages: Number = "maxMessages",
    }
}

open_struct! {
    /// No messages are passed on.
    NoMessages {
        /// `none`
        kind: String = "type",
    }
}

open_struct! {
    /// All messages are passed on.
    AllMessages {
        /// `all`
        kind: String = "type",
    }
}
