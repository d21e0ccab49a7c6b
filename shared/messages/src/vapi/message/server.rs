//! Messages that are sent only to servers: `ServerMessage…` of Vapi's OpenAPI document
//! (<https://api.vapi.ai/api-json>).

use crate::vapi::assistant::Assistant;
use crate::vapi::conversation::{Entry, OpenAiMessage};
use crate::vapi::object::{Artifact, Call, CallStatus, Chat, Customer, PhoneNumber, Time};
use crate::vapi::transfer::TransferDestination;
use gatehouse_payload::wire::{Item, JsonObject, Number, Raw};
use gatehouse_payload::{open_enum, open_struct};

message! {
    /// `assistant-request`. Has no members of its own.
    AssistantRequest {}
}

message! {
    /// `transfer-destination-request`. Has no members of its own.
    TransferDestinationRequest {}
}

message! {
    /// `handoff-destination-request`
    HandoffDestinationRequest {
        /// The parameters from the model.
        parameters: JsonObject = "parameters",
    }
}

message! {
    /// `knowledge-base-request`
    KnowledgeBaseRequest {
        /// The conversation in OpenAI's format.
        messages_open_ai_formatted: Vec<Item<OpenAiMessage>> = "messagesOpenAIFormatted",
        /// The conversation as entries.
        messages: Vec<Item<Entry>> = "messages",
    }
}

message! {
    /// `voice-request`
    VoiceRequest {
        /// The text to speak.
        text: String = "text",
        /// The sample rate in Hz.
        sample_rate: Number = "sampleRate",
    }
}

message! {
    /// `call.endpointing.request`
    CallEndpointingRequest {
        /// The conversation in OpenAI's format.
        messages_open_ai_formatted: Vec<Item<OpenAiMessage>> = "messagesOpenAIFormatted",
        /// The conversation as entries.
        messages: Vec<Item<Entry>> = "messages",
    }
}

message! {
    /// `campaign.predial`
    CampaignPredial {
        /// The campaign.
        campaign_id: String = "campaignId",
        /// The contact to call.
        contact: Contact = "contact",
    }
}

open_struct! {
    /// A contact of a campaign.
    Contact {
        /// The contact's id.
        id: String = "id",
        /// The campaign.
        campaign_id: String = "campaignId",
        /// The organisation's UUID.
        org_id: String = "orgId",
        /// The telephone number.
        number: String = "number",
        /// Time of creation; ISO 8601.
        created_at: String = "createdAt",
    }
}

message! {
    /// `status-update`
    StatusUpdate {
        /// The status.
        status: CallStatus = "status",
        /// The reason for the end of the call. Only if it has ended. One of about 600 values; the list grows.
        ended_reason: String = "endedReason",
        /// The conversation as entries.
        messages: Vec<Item<Entry>> = "messages",
        /// The conversation in OpenAI's format.
        messages_open_ai_formatted: Vec<Item<OpenAiMessage>> = "messagesOpenAIFormatted",
        /// The destination of the call. Only when forwarding.
        destination: TransferDestination = "destination",
        /// The conversation so far as text. Only when forwarding.
        transcript: String = "transcript",
        /// A summary of the conversation. Only when forwarding.
        summary: String = "summary",
        /// Debugging data from the carrier.
        inbound_phone_call_debugging_artifacts: JsonObject = "inboundPhoneCallDebuggingArtifacts",
    }
}

message! {
    /// `end-of-call-report`. `artifact` is always present.
    EndOfCallReport {
        /// The reason for the end of the call. One of about 600 values; the list grows.
        ended_reason: String = "endedReason",
        /// The analysis of the call.
        analysis: Analysis = "analysis",
        /// The cost in dollars.
        cost: Number = "cost",
        /// The cost of each item.
        costs: Vec<Item<Raw>> = "costs",
        /// Observed: the cost of each item again.
        cost_breakdown: JsonObject = "costBreakdown",
        /// The destination of a transfer.
        destination: TransferDestination = "destination",
        /// Start of the call; ISO 8601.
        started_at: String = "startedAt",
        /// End of the call; ISO 8601.
        ended_at: String = "endedAt",
        /// The results of the compliance checks.
        compliance: JsonObject = "compliance",
        /// Observed: the duration in milliseconds.
        duration_ms: Number = "durationMs",
        /// Observed: the duration in seconds.
        duration_seconds: Number = "durationSeconds",
        /// Observed: the duration in minutes.
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

open_struct! {
    /// The analysis of a call.
    Analysis {
        /// A summary of the call.
        summary: String = "summary",
        /// The extracted data in the form of the assistant's schema.
        structured_data: Raw = "structuredData",
        /// The extracted data for several schemas.
        structured_data_multi: Vec<Item<Raw>> = "structuredDataMulti",
        /// Whether the call was successful, as text such as `true`.
        success_evaluation: String = "successEvaluation",
    }
}

message! {
    /// `phone-call-control`
    PhoneCallControl {
        /// The requested action.
        request: ControlRequest = "request",
        /// The destination.
        destination: TransferDestination = "destination",
    }
}

open_enum! {
    /// An action on a call.
    ControlRequest {
        /// Forward the call.
        Forward = "forward",
        /// End the call.
        HangUp = "hang-up",
    }
}

message! {
    /// `call.artifact.upload`
    CallArtifactUpload {
        /// The artifacts.
        artifacts: Vec<Item<Upload>> = "artifacts",
    }
}

open_struct! {
    /// The upload of an artifact.
    Upload {
        /// The artifact.
        kind: UploadType = "type",
        /// Whether the upload succeeded.
        success: bool = "success",
    }
}

open_enum! {
    /// An artifact of a call.
    UploadType {
        /// The report.
        EndOfCallReport = "end-of-call-report",
        /// The recording with both voices in one channel.
        RecordingMono = "recording-mono",
        /// The recording with one channel for each voice.
        RecordingStereo = "recording-stereo",
        /// The assistant's voice.
        RecordingAssistant = "recording-assistant",
        /// The customer's voice.
        RecordingCustomer = "recording-customer",
        /// The log.
        Log = "log",
        /// The packet capture.
        Pcap = "pcap",
    }
}
