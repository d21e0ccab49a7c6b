//! Complete types for every documented message of Vapi. The receiver reads only the members that identify an event;
//! these types are for code that processes messages.
//!
//! A message that is sent to clients and to servers has one struct for both. Only server messages have `artifact` and
//! `chat` in addition, except for types that define them. `docs/table.md` lists the event id of each type.
//!
//! | type | struct |
//! |---|---|
//! | `assistant-request` | [`AssistantRequest`] |
//! | `assistant.speechStarted` | [`AssistantSpeechStarted`] |
//! | `assistant.started` | [`AssistantStarted`] |
//! | `call.artifact.upload` | [`CallArtifactUpload`] |
//! | `call.deleted`, `call.delete.failed` | [`CallDeleted`], [`CallDeleteFailed`] |
//! | `call.endpointing.request` | [`CallEndpointingRequest`] |
//! | `campaign.predial` | [`CampaignPredial`] |
//! | `chat.created`, `chat.deleted` | [`ChatCreated`], [`ChatDeleted`] |
//! | `conversation-update` | [`ConversationUpdate`] |
//! | `end-of-call-report` | [`EndOfCallReport`] |
//! | `hang` | [`Hang`] |
//! | `handoff-destination-request` | [`HandoffDestinationRequest`] |
//! | `knowledge-base-request` | [`KnowledgeBaseRequest`] |
//! | `language-change-detected` | [`LanguageChangeDetected`] |
//! | `metadata` | [`Metadata`] |
//! | `model-output` | [`ModelOutput`] |
//! | `phone-call-control` | [`PhoneCallControl`] |
//! | `session.created`, `session.deleted` | [`SessionCreated`], [`SessionDeleted`] |
//! | `session.updated` | [`SessionUpdated`] |
//! | `speech-update` | [`SpeechUpdate`] |
//! | `status-update` | [`StatusUpdate`] |
//! | `tool-calls` | [`ToolCalls`] |
//! | `tool-calls-result` | [`ToolCallsResult`] |
//! | `transcript` | [`Transcript`] |
//! | `transfer-destination-request` | [`TransferDestinationRequest`] |
//! | `transfer-update` | [`TransferUpdate`] |
//! | `user-interrupted` | [`UserInterrupted`] |
//! | `voice-input` | [`VoiceInput`] |
//! | `voice-request` | [`VoiceRequest`] |
//! | `workflow.node.started` | [`WorkflowNodeStarted`] |
//!
//! In no capture does Vapi post client messages over HTTP. They reach a server through a bridge or through an
//! application with an SDK. A member may be absent unless its documentation says "required". Where captures differ from
//! the schema, it may be `null`.
//!
//! Source: captures, and `ClientMessage` and `ServerMessage` of Vapi's OpenAPI document
//! (<https://api.vapi.ai/api-json>, August 2026), where each struct is called `ClientMessage…` or `ServerMessage…`.

use gatehouse_payload::wire::{Item, JsonObject, Number, Raw};
use gatehouse_payload::{open_enum, open_struct, open_union};

use super::assistant::Assistant;
use super::conversation::{Entry, OpenAiMessage, ToolAnswer, ToolCall, ToolWithToolCall};
use super::object::{Artifact, Call, Chat, Customer, PhoneNumber, Session, Time};
use super::transfer::TransferDestination;

/// Generates the two unions from the types of each and the types of both.
macro_rules! channels {
    (
        $(#[$client_attribute:meta])* $client:ident { $($client_types:tt)* }
        $(#[$server_attribute:meta])* $server:ident { $($server_types:tt)* }
        both { $($common_types:tt)* }
    ) => {
        open_union! {
            $(#[$client_attribute])*
            $client by "type" else ToolCalls where "toolCallList" { $($client_types)* $($common_types)* }
        }
        open_union! {
            $(#[$server_attribute])*
            $server by "type" else ToolCalls where "toolCallList" { $($server_types)* $($common_types)* }
        }
    };
}

channels! {
    /// A message to clients: 22 types under 23 names, and three names that have no schema but occur. Any other type
    /// becomes [`Other`](Self::Other).
    ClientMessage {
        /// A workflow reached a node.
        WorkflowNodeStarted(WorkflowNodeStarted) = "workflow.node.started",
        /// The spoken text with the metadata of the model.
        Metadata(Metadata) = "metadata",
        /// A tool returned a result.
        ToolCallsResult(ToolCallsResult) = "tool-calls-result" | "tool.completed",
        /// The call's status changed. Has no schema for clients.
        StatusUpdate(StatusUpdate) = "status-update",
    }
    /// A message to servers: 29 types under 30 names. `assistant.started` and `language-changed` have no schema for
    /// servers, but occur.
    ServerMessage {
        /// Asks for the assistant of a call. Needs a reply within 7.5 s.
        AssistantRequest(AssistantRequest) = "assistant-request",
        /// Asks for the destination of a transfer. Needs a reply.
        TransferDestinationRequest(TransferDestinationRequest) = "transfer-destination-request",
        /// Asks for the destination of a handoff. Needs a reply.
        HandoffDestinationRequest(HandoffDestinationRequest) = "handoff-destination-request",
        /// Asks for documents of a knowledge base. Needs a reply.
        KnowledgeBaseRequest(KnowledgeBaseRequest) = "knowledge-base-request",
        /// Asks for the speech of a text. Needs a reply with audio.
        VoiceRequest(VoiceRequest) = "voice-request",
        /// Asks whether the customer has finished speaking. Needs a reply.
        CallEndpointingRequest(CallEndpointingRequest) = "call.endpointing.request",
        /// Asks whether a contact may be called. Needs a reply.
        CampaignPredial(CampaignPredial) = "campaign.predial",
        /// The call's status changed.
        StatusUpdate(StatusUpdate) = "status-update",
        /// The call has ended; contains its results.
        EndOfCallReport(EndOfCallReport) = "end-of-call-report",
        /// Asks the server to forward the call or to hang up, if the server controls the telephone.
        PhoneCallControl(PhoneCallControl) = "phone-call-control",
        /// Artifacts of the call were uploaded, or the upload failed.
        CallArtifactUpload(CallArtifactUpload) = "call.artifact.upload",
    }
    both {
        /// An assistant took over.
        AssistantStarted(AssistantStarted) = "assistant.started",
        /// The conversation so far.
        ConversationUpdate(ConversationUpdate) = "conversation-update",
        /// The assistant takes too long to respond.
        Hang(Hang) = "hang",
        /// A piece of the model's output.
        ModelOutput(ModelOutput) = "model-output",
        /// The customer or the assistant starts or stops speaking.
        SpeechUpdate(SpeechUpdate) = "speech-update",
        /// A transcript of speech.
        Transcript(Transcript) = "transcript" | "transcript[transcriptType=\"final\"]",
        /// The model calls tools. Needs a reply on servers. The only type whose `type` may be missing.
        ToolCalls(ToolCalls) = "tool-calls",
        /// The call is transferred.
        TransferUpdate(TransferUpdate) = "transfer-update",
        /// The customer interrupted the assistant.
        UserInterrupted(UserInterrupted) = "user-interrupted",
        /// The customer changed the language.
        LanguageChangeDetected(LanguageChangeDetected) = "language-change-detected" | "language-changed",
        /// The text that is passed to the voice.
        VoiceInput(VoiceInput) = "voice-input",
        /// The text that the assistant is speaking.
        AssistantSpeechStarted(AssistantSpeechStarted) = "assistant.speechStarted",
        /// A chat was created.
        ChatCreated(ChatCreated) = "chat.created",
        /// A chat was deleted.
        ChatDeleted(ChatDeleted) = "chat.deleted",
        /// A session was created.
        SessionCreated(SessionCreated) = "session.created",
        /// A session was changed.
        SessionUpdated(SessionUpdated) = "session.updated",
        /// A session was deleted.
        SessionDeleted(SessionDeleted) = "session.deleted",
        /// The data of a call was deleted.
        CallDeleted(CallDeleted) = "call.deleted",
        /// The data of a call could not be deleted.
        CallDeleteFailed(CallDeleteFailed) = "call.delete.failed",
    }
}

/// Generates a struct for a message from the members that all types may have and the members of this type.
macro_rules! message {
    ($(#[$attribute:meta])* $name:ident { $($members:tt)* }) => {
        open_struct! {
            $(#[$attribute])*
            $name {
                /// The message's type.
                message_type: String = "type",
                /// The time of the event. No unit is documented: milliseconds since 1970; ISO 8601 in 2024.
                timestamp: Time = "timestamp",
                /// The call as it was when it was created.
                call: Call = "call",
                /// The telephone number; absent for web calls.
                phone_number: PhoneNumber = "phoneNumber",
                /// The customer; absent for web calls.
                customer: Customer = "customer",
                /// The assistant's complete configuration.
                assistant: Assistant = "assistant",
                /// A label such as `v3`; `null` for assistants of one call, squads, workflows, and organisations
                /// without versions.
                assistant_version: String = "assistantVersion",
                /// The chat that the message belongs to: on server messages and in `chat.*`.
                chat: Chat = "chat",
                /// The results of the call so far: on server messages.
                artifact: Artifact = "artifact",
                $($members)*
            }
        }
    };
}

mod server;

pub use server::*;

message! {
    /// `workflow.node.started`
    WorkflowNodeStarted {
        /// The node. Its form is not documented.
        node: JsonObject = "node",
    }
}

message! {
    /// `assistant.started`
    AssistantStarted {
        /// The assistant that took over.
        new_assistant: Assistant = "newAssistant",
    }
}

message! {
    /// `conversation-update`. The OpenAI format may be empty here while `artifact` contains it.
    ConversationUpdate {
        /// The conversation in OpenAI's format.
        messages_open_ai_formatted: Vec<Item<OpenAiMessage>> = "messagesOpenAIFormatted",
        /// The conversation as entries.
        messages: Vec<Item<Entry>> = "messages",
        /// Observed: the conversation in OpenAI's format again.
        conversation: Vec<Item<OpenAiMessage>> = "conversation",
    }
}

message! {
    /// `hang`. Has no members of its own.
    Hang {}
}

message! {
    /// `metadata`
    Metadata {
        /// The metadata, as text.
        metadata: String = "metadata",
    }
}

message! {
    /// `model-output`
    ModelOutput {
        /// The output: an object in the schema, a string in practice.
        output: Raw = "output",
        /// The turn that the output belongs to.
        turn_id: String = "turnId",
    }
}

message! {
    /// `speech-update`
    SpeechUpdate {
        /// Whether speech starts or stops.
        status: SpeechStatus = "status",
        /// The speaker.
        role: Speaker = "role",
        /// The number of the turn, from 0.
        turn: Number = "turn",
    }
}

open_enum! {
    /// Whether speech starts or stops.
    SpeechStatus {
        /// Speech starts.
        Started = "started",
        /// Speech stops.
        Stopped = "stopped",
    }
}

open_enum! {
    /// The speaker.
    Speaker {
        /// The assistant.
        Assistant = "assistant",
        /// The customer.
        User = "user",
    }
}

message! {
    /// `transcript`, or `transcript[transcriptType="final"]`
    Transcript {
        /// The speaker.
        role: Speaker = "role",
        /// Whether the transcript may still change.
        transcript_type: TranscriptType = "transcriptType",
        /// The text.
        transcript: String = "transcript",
        /// The id of the assistant. Only if the assistant spoke.
        assistant_id: String = "assistantId",
        /// The name of the assistant. Only if the assistant spoke.
        assistant_name: String = "assistantName",
        /// Whether parts of the text were removed.
        is_filtered: bool = "isFiltered",
        /// The threats that were detected in the text.
        detected_threats: Vec<Item<String>> = "detectedThreats",
        /// The text before filtering. Only if it was filtered.
        original_transcript: String = "originalTranscript",
    }
}

open_enum! {
    /// Whether a transcript may still change.
    TranscriptType {
        /// The transcript may still change.
        Partial = "partial",
        /// The transcript is final.
        Final = "final",
    }
}

message! {
    /// `tool-calls`
    ToolCalls {
        /// The calls.
        tool_call_list: Vec<Item<ToolCall>> = "toolCallList",
        /// The calls with their tools.
        tool_with_tool_call_list: Vec<Item<ToolWithToolCall>> = "toolWithToolCallList",
        /// Observed: the calls again.
        tool_calls: Vec<Item<ToolCall>> = "toolCalls",
    }
}

message! {
    /// `tool-calls-result`
    ToolCallsResult {
        /// The result.
        tool_call_result: ToolAnswer = "toolCallResult",
    }
}

message! {
    /// `transfer-update`
    TransferUpdate {
        /// The destination.
        destination: TransferDestination = "destination",
        /// The assistant that takes over. Only if the destination is an assistant.
        to_assistant: Assistant = "toAssistant",
        /// The assistant that hands over. Only if the destination is an assistant.
        from_assistant: Assistant = "fromAssistant",
        /// The step that takes over. Its form is not documented.
        to_step_record: JsonObject = "toStepRecord",
        /// The step that hands over. Its form is not documented.
        from_step_record: JsonObject = "fromStepRecord",
    }
}

message! {
    /// `user-interrupted`
    UserInterrupted {
        /// The turn of the `model-output` that was interrupted.
        turn_id: String = "turnId",
    }
}

message! {
    /// `language-change-detected`
    LanguageChangeDetected {
        /// The language, as free text.
        language: String = "language",
    }
}

message! {
    /// `voice-input`
    VoiceInput {
        /// The text.
        input: String = "input",
    }
}

message! {
    /// `assistant.speechStarted`
    AssistantSpeechStarted {
        /// The complete text of the turn so far, not only the new part.
        text: String = "text",
        /// The number of the turn.
        turn: Number = "turn",
        /// The source of the text.
        source: SpeechSource = "source",
        /// The times of the words. Absent for most voices, and always absent for `force-say`.
        timing: Timing = "timing",
    }
}

open_enum! {
    /// The source of a text that the assistant says.
    SpeechSource {
        /// The model.
        Model = "model",
        /// A request to say the text.
        ForceSay = "force-say",
        /// A custom voice of the integrator.
        CustomVoice = "custom-voice",
    }
}

open_union! {
    /// The times of the words; the kind depends on `type`.
    Timing by "type" {
        /// Each word with its times.
        WordAlignment(WordAlignment) = "word-alignment",
        /// The number of words so far.
        WordProgress(WordProgress) = "word-progress",
    }
}

open_struct! {
    /// Words with their times, in parallel arrays.
    WordAlignment {
        /// `word-alignment`
        kind: String = "type",
        /// The words, including spaces.
        words: Vec<Item<String>> = "words",
        /// The start of each word in milliseconds.
        words_start_times_ms: Vec<Item<Number>> = "wordsStartTimesMs",
        /// The end of each word in milliseconds.
        words_end_times_ms: Vec<Item<Number>> = "wordsEndTimesMs",
    }
}

open_struct! {
    /// The number of words that have been spoken.
    WordProgress {
        /// `word-progress`
        kind: String = "type",
        /// The number of words that have been spoken.
        words_spoken: Number = "wordsSpoken",
        /// The total number of words. It may grow, and is 0 if it is not known yet.
        total_words: Number = "totalWords",
        /// The segment that is being spoken.
        segment: String = "segment",
        /// The duration of the segment in milliseconds.
        segment_duration_ms: Number = "segmentDurationMs",
        /// The words of the segment.
        words: Vec<Item<Word>> = "words",
    }
}

open_struct! {
    /// A word with its times.
    Word {
        /// The word.
        word: String = "word",
        /// The start in milliseconds.
        start_ms: Number = "startMs",
        /// The end in milliseconds.
        end_ms: Number = "endMs",
    }
}

message! {
    /// `chat.created`
    ChatCreated {}
}

message! {
    /// `chat.deleted`
    ChatDeleted {}
}

message! {
    /// `session.created`
    SessionCreated {
        /// The session.
        session: Session = "session",
    }
}

message! {
    /// `session.updated`
    SessionUpdated {
        /// The session after the change.
        session: Session = "session",
    }
}

message! {
    /// `session.deleted`
    SessionDeleted {
        /// The session before it was deleted.
        session: Session = "session",
    }
}

message! {
    /// `call.deleted`. Has no members of its own; even `call` may be absent.
    CallDeleted {}
}

message! {
    /// `call.delete.failed`. Has no members of its own; even `call` may be absent.
    CallDeleteFailed {}
}
