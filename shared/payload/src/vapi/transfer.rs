//! Whereto calls are handed on.
//!
//! Source: `TransferDestination…` and `TransferPlan` of Vapi's OpenAPI document (<https://api.vapi.ai/api-json>, August 2026).

use crate::wire::{Bag, Item, Number, Raw, TextOr};

union! {
    /// Whereto a call is handed on, told apart by `type`.
    TransferDestination by "type" {
        /// Another assistant of the squad.
        Assistant(TransferDestinationAssistant) = "assistant",
        /// A telephone number.
        Number(TransferDestinationNumber) = "number",
        /// A SIP address.
        Sip(TransferDestinationSip) = "sip",
    }
}

object! {
    /// Another assistant of the squad.
    TransferDestinationAssistant {
        /// `assistant`
        kind: String = "type",
        /// Which one.
        assistant_name: String = "assistantName",
        /// What of the conversation it gets.
        transfer_mode: HistoryMode = "transferMode",
        /// What is said: a text, or a message with variants.
        message: TextOr<CustomMessage> = "message",
        /// When to choose it, for the model.
        description: String = "description",
    }
}

words! {
    /// What of the conversation the next assistant gets.
    HistoryMode {
        /// All of it; when absent, this.
        RollingHistory = "rolling-history",
        /// All of it, under its own instructions.
        SwapSystemMessage = "swap-system-message-in-history",
        /// The same, without the messages about the transfer.
        SwapSystemMessageAndRemoveTransfer = "swap-system-message-in-history-and-remove-transfer-tool-messages",
        /// Nothing.
        DeleteHistory = "delete-history",
    }
}

/// A struct for a destination outside the squad: its own members, and what both have.
macro_rules! destination {
    ($(#[$about:meta])* $name:ident { $($own:tt)* }) => {
        object! {
            $(#[$about])*
            $name {
                $($own)*
                /// Up to 40 characters.
                caller_id: String = "callerId",
                /// What is said: a text, or a message with variants.
                message: TextOr<CustomMessage> = "message",
                /// When to choose it, for the model.
                description: String = "description",
                /// How to hand on.
                transfer_plan: TransferPlan = "transferPlan",
            }
        }
    };
}

destination! {
    /// A telephone number to hand a call on to.
    TransferDestinationNumber {
        /// `number`
        kind: String = "type",
        /// 3 to 40 characters; E.164 unless `numberE164CheckEnabled` is `false`.
        number: String = "number",
        /// Whether the number is checked; `true` when absent.
        number_e164_check_enabled: bool = "numberE164CheckEnabled",
        /// 1 to 10 characters.
        extension: String = "extension",
    }
}

destination! {
    /// A SIP address to hand a call on to.
    TransferDestinationSip {
        /// `sip`
        kind: String = "type",
        /// The address.
        sip_uri: String = "sipUri",
        /// Headers to send.
        sip_headers: Bag = "sipHeaders",
    }
}

object! {
    /// A message with variants.
    CustomMessage {
        /// `custom-message`
        kind: String = "type",
        /// The text, up to 1000 characters.
        content: String = "content",
        /// Variants of it, by language; their form is not documented here.
        contents: Vec<Item<Raw>> = "contents",
    }
}

object! {
    /// How to hand a call on.
    TransferPlan {
        /// In which way. Required.
        mode: TransferPlanMode = "mode",
        /// What is said to whoever takes over.
        message: TextOr<CustomMessage> = "message",
        /// How long to wait for them: 1 to 600 seconds; 60 when absent.
        timeout: Number = "timeout",
        /// By which SIP method; `refer` when absent.
        sip_verb: TransferVerb = "sipVerb",
        /// How long to dial: 1 to 600 seconds; 60 when absent.
        dial_timeout: Number = "dialTimeout",
        /// What the customer hears meanwhile: a URL.
        hold_audio_url: String = "holdAudioUrl",
        /// What is heard when it is done: a URL.
        transfer_complete_audio_url: String = "transferCompleteAudioUrl",
        /// Twilio's instructions, up to 4096 characters.
        twiml: String = "twiml",
        /// How the conversation is summarised.
        summary_plan: Bag = "summaryPlan",
        /// Whether SIP headers stand in the Refer-To header.
        sip_headers_in_refer_to_enabled: bool = "sipHeadersInReferToEnabled",
        /// What happens when nobody takes over.
        fallback_plan: FallbackPlan = "fallbackPlan",
        /// What of the conversation goes along.
        context_engineering_plan: ContextPlan = "contextEngineeringPlan",
    }
}

words! {
    /// In which way a call is handed on.
    TransferPlanMode {
        /// Without a word.
        Blind = "blind-transfer",
        /// The same, with a summary in a SIP header.
        BlindWithSummary = "blind-transfer-add-summary-to-sip-header",
        /// A message first.
        WarmMessage = "warm-transfer-say-message",
        /// A summary first.
        WarmSummary = "warm-transfer-say-summary",
        /// Twilio's instructions first.
        WarmTwiml = "warm-transfer-twiml",
        /// A message, when the operator has spoken.
        WarmWaitMessage = "warm-transfer-wait-for-operator-to-speak-first-and-then-say-message",
        /// A summary, when the operator has spoken.
        WarmWaitSummary = "warm-transfer-wait-for-operator-to-speak-first-and-then-say-summary",
        /// An assistant speaks with the operator first.
        WarmExperimental = "warm-transfer-experimental",
    }
}

words! {
    /// By which SIP method.
    TransferVerb {
        /// REFER
        Refer = "refer",
        /// BYE
        Bye = "bye",
        /// A new call.
        Dial = "dial",
    }
}

object! {
    /// What happens when nobody takes over.
    FallbackPlan {
        /// What is said: a text, or a message with variants. Required.
        message: TextOr<CustomMessage> = "message",
        /// Whether the call ends; `true` when absent.
        end_call_enabled: bool = "endCallEnabled",
    }
}

union! {
    /// What of the conversation goes along, told apart by `type`.
    ContextPlan by "type" {
        /// The last messages.
        LastMessages(LastMessages) = "lastNMessages",
        /// Nothing.
        Nothing(NoMessages) = "none",
        /// Everything.
        All(AllMessages) = "all",
    }
}

object! {
    /// The last messages go along.
    LastMessages {
        /// `lastNMessages`
        kind: String = "type",
        /// How many, from 0. Required.
        max_messages: Number = "maxMessages",
    }
}

object! {
    /// No message goes along.
    NoMessages {
        /// `none`
        kind: String = "type",
    }
}

object! {
    /// All messages go along.
    AllMessages {
        /// `all`
        kind: String = "type",
    }
}
