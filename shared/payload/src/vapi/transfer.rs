//! Whereto calls are handed on.

use crate::wire::{Bag, Raw};

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
        transfer_mode: TransferMode = "transferMode",
        /// What is said: a text, or a message with variants.
        message: Raw = "message",
        /// When to choose it, for the model.
        description: String = "description",
    }
}

words! {
    /// What of the conversation the next assistant gets.
    TransferMode {
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

object! {
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
        /// Up to 40 characters.
        caller_id: String = "callerId",
        /// What is said: a text, or a message with variants.
        message: Raw = "message",
        /// When to choose it, for the model.
        description: String = "description",
        /// How to hand on.
        transfer_plan: Bag = "transferPlan",
    }
}

object! {
    /// A SIP address to hand a call on to.
    TransferDestinationSip {
        /// `sip`
        kind: String = "type",
        /// The address.
        sip_uri: String = "sipUri",
        /// Up to 40 characters.
        caller_id: String = "callerId",
        /// Headers to send.
        sip_headers: Bag = "sipHeaders",
        /// What is said: a text, or a message with variants.
        message: Raw = "message",
        /// When to choose it, for the model.
        description: String = "description",
        /// How to hand on.
        transfer_plan: Bag = "transferPlan",
    }
}
