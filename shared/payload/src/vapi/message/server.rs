//! The messages that go to servers alone: `ServerMessage…` of Vapi's OpenAPI document (<https://api.vapi.ai/api-json>).

use crate::vapi::assistant::Assistant;
use crate::vapi::conversation::{Entry, OpenAiMessage};
use crate::vapi::object::{Artifact, Call, CallStatus, Chat, Customer, PhoneNumber, Time};
use crate::vapi::transfer::TransferDestination;
use crate::wire::{Bag, Item, Number, Raw};

message! {
    /// `assistant-request`. Has nothing of its own.
    AssistantRequest {}
}

message! {
    /// `transfer-destination-request`. Has nothing of its own.
    TransferDestinationRequest {}
}

message! {
    /// `handoff-destination-request`
    HandoffDestinationRequest {
        /// What the model gave.
        parameters: Bag = "parameters",
    }
}

message! {
    /// `knowledge-base-request`
    KnowledgeBaseRequest {
        /// The conversation, as OpenAI's API writes it.
        messages_open_ai_formatted: Vec<Item<OpenAiMessage>> = "messagesOpenAIFormatted",
        /// The conversation, entry by entry.
        messages: Vec<Item<Entry>> = "messages",
    }
}

message! {
    /// `voice-request`
    VoiceRequest {
        /// What to say.
        text: String = "text",
        /// In which rate, in Hz.
        sample_rate: Number = "sampleRate",
    }
}

message! {
    /// `call.endpointing.request`
    CallEndpointingRequest {
        /// The conversation, as OpenAI's API writes it.
        messages_open_ai_formatted: Vec<Item<OpenAiMessage>> = "messagesOpenAIFormatted",
        /// The conversation, entry by entry.
        messages: Vec<Item<Entry>> = "messages",
    }
}

message! {
    /// `campaign.predial`
    CampaignPredial {
        /// The campaign.
        campaign_id: String = "campaignId",
        /// Whom it would call.
        contact: Contact = "contact",
    }
}

object! {
    /// Someone a campaign calls.
    Contact {
        /// The contact's id.
        id: String = "id",
        /// The campaign.
        campaign_id: String = "campaignId",
        /// The organisation's UUID.
        org_id: String = "orgId",
        /// The number.
        number: String = "number",
        /// When it was created; ISO 8601.
        created_at: String = "createdAt",
    }
}

message! {
    /// `status-update`
    StatusUpdate {
        /// The status.
        status: CallStatus = "status",
        /// Why the call ended; only when it has. One of some 600 values, and growing.
        ended_reason: String = "endedReason",
        /// The conversation, entry by entry.
        messages: Vec<Item<Entry>> = "messages",
        /// The conversation, as OpenAI's API writes it.
        messages_open_ai_formatted: Vec<Item<OpenAiMessage>> = "messagesOpenAIFormatted",
        /// Whereto the call goes; only when forwarding.
        destination: TransferDestination = "destination",
        /// The conversation so far; only when forwarding.
        transcript: String = "transcript",
        /// What it was about; only when forwarding.
        summary: String = "summary",
        /// What the carrier says.
        inbound_phone_call_debugging_artifacts: Bag = "inboundPhoneCallDebuggingArtifacts",
    }
}

message! {
    /// `end-of-call-report`. `artifact` is always there.
    EndOfCallReport {
        /// Why the call ended. One of some 600 values, and growing.
        ended_reason: String = "endedReason",
        /// What came of it.
        analysis: Analysis = "analysis",
        /// What it cost, in dollars.
        cost: Number = "cost",
        /// The same, item by item.
        costs: Vec<Item<Raw>> = "costs",
        /// Observed: the same once more.
        cost_breakdown: Bag = "costBreakdown",
        /// Whereto the call went.
        destination: TransferDestination = "destination",
        /// When it began; ISO 8601.
        started_at: String = "startedAt",
        /// When it ended; ISO 8601.
        ended_at: String = "endedAt",
        /// What was checked.
        compliance: Bag = "compliance",
        /// Observed: how long, in milliseconds.
        duration_ms: Number = "durationMs",
        /// Observed: how long, in seconds.
        duration_seconds: Number = "durationSeconds",
        /// Observed: how long, in minutes.
        duration_minutes: Number = "durationMinutes",
        /// Observed: as in `analysis`.
        summary: String = "summary",
        /// Observed: as in `artifact`.
        transcript: String = "transcript",
        /// Observed: as in `artifact`.
        messages: Vec<Item<Entry>> = "messages",
        /// Observed: as in `artifact`.
        recording_url: String = "recordingUrl",
        /// Observed: as in `artifact`.
        stereo_recording_url: String = "stereoRecordingUrl",
    }
}

object! {
    /// What came of a call.
    Analysis {
        /// What it was about.
        summary: String = "summary",
        /// What was extracted, in the form the assistant's schema gives it.
        structured_data: Raw = "structuredData",
        /// The same, for several schemas.
        structured_data_multi: Vec<Item<Raw>> = "structuredDataMulti",
        /// Whether it went well: text, such as `true`.
        success_evaluation: String = "successEvaluation",
    }
}

message! {
    /// `phone-call-control`
    PhoneCallControl {
        /// What is to be done.
        request: ControlRequest = "request",
        /// Whereto.
        destination: TransferDestination = "destination",
    }
}

words! {
    /// What is to be done with a call.
    ControlRequest {
        /// Hand it on.
        Forward = "forward",
        /// End it.
        HangUp = "hang-up",
    }
}

message! {
    /// `call.artifact.upload`
    CallArtifactUpload {
        /// Which artifacts.
        artifacts: Vec<Item<Upload>> = "artifacts",
    }
}

object! {
    /// An artifact that was uploaded, or was not.
    Upload {
        /// Which one.
        kind: UploadType = "type",
        /// Whether it was.
        success: bool = "success",
    }
}

words! {
    /// Which artifact.
    UploadType {
        /// The report.
        EndOfCallReport = "end-of-call-report",
        /// Both voices in one channel.
        RecordingMono = "recording-mono",
        /// A channel for each voice.
        RecordingStereo = "recording-stereo",
        /// The assistant's voice.
        RecordingAssistant = "recording-assistant",
        /// The customer's voice.
        RecordingCustomer = "recording-customer",
        /// The log.
        Log = "log",
        /// The packets.
        Pcap = "pcap",
    }
}
