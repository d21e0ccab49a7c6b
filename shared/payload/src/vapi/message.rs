//! Every documented message of Vapi's, whole. The front door reads no more than identifies an event; these are for whoever
//! works with one.
//!
//! A message that goes to clients and to servers has one struct for both; `artifact` and `chat` stand beside the
//! others on server messages alone, except where they are a message's own. Which event a message is, by type, is in
//! `docs/table.md`.
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
//! Nobody has seen Vapi post client messages over HTTP: they reach a server through a bridge or an SDK's host. Unless a
//! member's documentation says "required", it may be absent, and where captures differ from the schema, `null`.
//!
//! Source: `ClientMessage` and `ServerMessage` of Vapi's OpenAPI document (<https://api.vapi.ai/api-json>, August 2026), where
//! each struct is `ClientMessage…` or `ServerMessage…` under its own name, and captures.

use crate::wire::{Bag, Item, Number, Raw};

use super::assistant::Assistant;
use super::conversation::{Entry, OpenAiMessage, ToolAnswer, ToolCall, ToolWithToolCall};
use super::object::{Artifact, Call, Chat, Customer, PhoneNumber, Session, Time};
use super::transfer::TransferDestination;

/// The two unions: what each has of its own, and what both have.
macro_rules! channels {
    (
        $(#[$of_client:meta])* $client:ident { $($own_client:tt)* }
        $(#[$of_server:meta])* $server:ident { $($own_server:tt)* }
        both { $($both:tt)* }
    ) => {
        union! {
            $(#[$of_client])*
            $client by "type" else ToolCalls where "toolCallList" { $($own_client)* $($both)* }
        }
        union! {
            $(#[$of_server])*
            $server by "type" else ToolCalls where "toolCallList" { $($own_server)* $($both)* }
        }
    };
}

channels! {
    /// A message to clients: 22 types under 23 names, and three names that have no schema and occur all the same. Other types
    /// are kept as [`Other`](Self::Other).
    ClientMessage {
        /// A workflow reached a node.
        WorkflowNodeStarted(WorkflowNodeStarted) = "workflow.node.started",
        /// What was said, with the model's metadata.
        Metadata(Metadata) = "metadata",
        /// A tool has answered.
        ToolCallsResult(ToolCallsResult) = "tool-calls-result" | "tool.completed",
        /// The call's status changed. Has no schema for clients.
        StatusUpdate(StatusUpdate) = "status-update",
    }
    /// A message to servers: 29 types under 30 names. `assistant.started` has no schema of its own here, and is sent all the
    /// same.
    ServerMessage {
        /// Which assistant is to answer a call? To be answered within 7.5 s.
        AssistantRequest(AssistantRequest) = "assistant-request",
        /// Whereto is the call to go? To be answered.
        TransferDestinationRequest(TransferDestinationRequest) = "transfer-destination-request",
        /// To whom is the call to go? To be answered.
        HandoffDestinationRequest(HandoffDestinationRequest) = "handoff-destination-request",
        /// What is known about this? To be answered.
        KnowledgeBaseRequest(KnowledgeBaseRequest) = "knowledge-base-request",
        /// Speak this. To be answered with audio.
        VoiceRequest(VoiceRequest) = "voice-request",
        /// Has the customer finished? To be answered.
        CallEndpointingRequest(CallEndpointingRequest) = "call.endpointing.request",
        /// May this contact be called? To be answered.
        CampaignPredial(CampaignPredial) = "campaign.predial",
        /// The call's status changed.
        StatusUpdate(StatusUpdate) = "status-update",
        /// The call is over, and what came of it.
        EndOfCallReport(EndOfCallReport) = "end-of-call-report",
        /// Forward, or hang up: sent where that is the server's to do.
        PhoneCallControl(PhoneCallControl) = "phone-call-control",
        /// Artifacts of the call were uploaded, or could not be.
        CallArtifactUpload(CallArtifactUpload) = "call.artifact.upload",
    }
    both {
        /// An assistant took over.
        AssistantStarted(AssistantStarted) = "assistant.started",
        /// The conversation so far.
        ConversationUpdate(ConversationUpdate) = "conversation-update",
        /// The assistant takes too long to answer.
        Hang(Hang) = "hang",
        /// What the model writes, piece by piece.
        ModelOutput(ModelOutput) = "model-output",
        /// Someone begins or ends to speak.
        SpeechUpdate(SpeechUpdate) = "speech-update",
        /// What was said.
        Transcript(Transcript) = "transcript" | "transcript[transcriptType=\"final\"]",
        /// The model calls tools: on servers, to be answered. The one type whose `type` may be missing.
        ToolCalls(ToolCalls) = "tool-calls",
        /// The call is handed on.
        TransferUpdate(TransferUpdate) = "transfer-update",
        /// The customer interrupted the assistant.
        UserInterrupted(UserInterrupted) = "user-interrupted",
        /// The customer changed the language.
        LanguageChangeDetected(LanguageChangeDetected) = "language-change-detected" | "language-changed",
        /// What goes to the voice.
        VoiceInput(VoiceInput) = "voice-input",
        /// What the assistant says, as it says it.
        AssistantSpeechStarted(AssistantSpeechStarted) = "assistant.speechStarted",
        /// A chat was made.
        ChatCreated(ChatCreated) = "chat.created",
        /// A chat was removed.
        ChatDeleted(ChatDeleted) = "chat.deleted",
        /// A session was made.
        SessionCreated(SessionCreated) = "session.created",
        /// A session was changed.
        SessionUpdated(SessionUpdated) = "session.updated",
        /// A session was removed.
        SessionDeleted(SessionDeleted) = "session.deleted",
        /// A call's data were removed.
        CallDeleted(CallDeleted) = "call.deleted",
        /// A call's data could not be removed.
        CallDeleteFailed(CallDeleteFailed) = "call.delete.failed",
    }
}

/// A struct for a message: what every message may carry, and its own members.
macro_rules! message {
    ($(#[$about:meta])* $name:ident { $($own:tt)* }) => {
        object! {
            $(#[$about])*
            $name {
                /// The message's type.
                message_type: String = "type",
                /// When it happened. No unit is documented: milliseconds since 1970, ISO 8601 in 2024.
                timestamp: Time = "timestamp",
                /// The call, as it was when it was created.
                call: Call = "call",
                /// The telephone number; absent for web calls.
                phone_number: PhoneNumber = "phoneNumber",
                /// The customer; absent for web calls.
                customer: Customer = "customer",
                /// The assistant's whole configuration.
                assistant: Assistant = "assistant",
                /// A label such as `v3`; `null` for assistants of one call, squads, workflows, and organisations without
                /// versions.
                assistant_version: String = "assistantVersion",
                /// The chat it belongs to: on server messages, and the message's own in `chat.*`.
                chat: Chat = "chat",
                /// What the call left behind so far: on server messages.
                artifact: Artifact = "artifact",
                $($own)*
            }
        }
    };
}

mod server;

pub use server::*;

message! {
    /// `workflow.node.started`
    WorkflowNodeStarted {
        /// The node; its form is not documented.
        node: Bag = "node",
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
    /// `conversation-update`. At the top the OpenAI form may be empty while `artifact` has it.
    ConversationUpdate {
        /// The conversation, as OpenAI's API writes it.
        messages_open_ai_formatted: Vec<Item<OpenAiMessage>> = "messagesOpenAIFormatted",
        /// The conversation, entry by entry.
        messages: Vec<Item<Entry>> = "messages",
        /// Observed: the same once more.
        conversation: Vec<Item<OpenAiMessage>> = "conversation",
    }
}

message! {
    /// `hang`. Has nothing of its own.
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
        /// An object in the schema, a text in practice.
        output: Raw = "output",
        /// Which turn it belongs to.
        turn_id: String = "turnId",
    }
}

message! {
    /// `speech-update`
    SpeechUpdate {
        /// Whether it begins or ends.
        status: SpeechStatus = "status",
        /// Who speaks.
        role: Speaker = "role",
        /// Which turn, from 0.
        turn: Number = "turn",
    }
}

words! {
    /// Whether speech begins or ends.
    SpeechStatus {
        /// It begins.
        Started = "started",
        /// It ends.
        Stopped = "stopped",
    }
}

words! {
    /// Who speaks.
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
        /// Who spoke.
        role: Speaker = "role",
        /// Whether it may still change.
        transcript_type: TranscriptType = "transcriptType",
        /// What was said.
        transcript: String = "transcript",
        /// Which assistant spoke, by id; of the assistant's alone.
        assistant_id: String = "assistantId",
        /// Which assistant spoke, by name; of the assistant's alone.
        assistant_name: String = "assistantName",
        /// Whether something was left out of it.
        is_filtered: bool = "isFiltered",
        /// What was found in it.
        detected_threats: Vec<Item<String>> = "detectedThreats",
        /// What it was before; only when it was filtered.
        original_transcript: String = "originalTranscript",
    }
}

words! {
    /// Whether a transcript may still change.
    TranscriptType {
        /// It may.
        Partial = "partial",
        /// It may not.
        Final = "final",
    }
}

message! {
    /// `tool-calls`
    ToolCalls {
        /// The calls.
        tool_call_list: Vec<Item<ToolCall>> = "toolCallList",
        /// The calls, each with its tool.
        tool_with_tool_call_list: Vec<Item<ToolWithToolCall>> = "toolWithToolCallList",
        /// Observed: the calls once more.
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
        /// Whereto.
        destination: TransferDestination = "destination",
        /// The assistant that takes over; only when the destination is one.
        to_assistant: Assistant = "toAssistant",
        /// The assistant that hands over; only when the destination is one.
        from_assistant: Assistant = "fromAssistant",
        /// The step that takes over; its form is not documented.
        to_step_record: Bag = "toStepRecord",
        /// The step that hands over; its form is not documented.
        from_step_record: Bag = "fromStepRecord",
    }
}

message! {
    /// `user-interrupted`
    UserInterrupted {
        /// That of the `model-output` that was interrupted.
        turn_id: String = "turnId",
    }
}

message! {
    /// `language-change-detected`
    LanguageChangeDetected {
        /// The language; free text.
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
        /// The whole text of the turn so far, not what was added.
        text: String = "text",
        /// Which turn.
        turn: Number = "turn",
        /// Why it is said.
        source: SpeechSource = "source",
        /// When which word is said; with most voices absent, with `force-say` always.
        timing: Timing = "timing",
    }
}

words! {
    /// Why the assistant says something.
    SpeechSource {
        /// The model wrote it.
        Model = "model",
        /// It was told to.
        ForceSay = "force-say",
        /// A voice of the integrator's says it.
        CustomVoice = "custom-voice",
    }
}

union! {
    /// When which word is said, told apart by `type`.
    Timing by "type" {
        /// Word by word, with times.
        WordAlignment(WordAlignment) = "word-alignment",
        /// How many words so far.
        WordProgress(WordProgress) = "word-progress",
    }
}

object! {
    /// Words with their times, in parallel arrays.
    WordAlignment {
        /// `word-alignment`
        kind: String = "type",
        /// The words, spaces among them.
        words: Vec<Item<String>> = "words",
        /// When each begins, in milliseconds.
        words_start_times_ms: Vec<Item<Number>> = "wordsStartTimesMs",
        /// When each ends, in milliseconds.
        words_end_times_ms: Vec<Item<Number>> = "wordsEndTimesMs",
    }
}

object! {
    /// How many words are said.
    WordProgress {
        /// `word-progress`
        kind: String = "type",
        /// So many.
        words_spoken: Number = "wordsSpoken",
        /// Of so many; 0 when that is not known yet, and it may grow.
        total_words: Number = "totalWords",
        /// What is being said.
        segment: String = "segment",
        /// How long that takes, in milliseconds.
        segment_duration_ms: Number = "segmentDurationMs",
        /// Its words.
        words: Vec<Item<Word>> = "words",
    }
}

object! {
    /// A word with its times.
    Word {
        /// The word.
        word: String = "word",
        /// When it begins, in milliseconds.
        start_ms: Number = "startMs",
        /// When it ends, in milliseconds.
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
        /// The session, as it is now.
        session: Session = "session",
    }
}

message! {
    /// `session.deleted`
    SessionDeleted {
        /// The session, as it was.
        session: Session = "session",
    }
}

message! {
    /// `call.deleted`. Has nothing of its own; even `call` may be absent.
    CallDeleted {}
}

message! {
    /// `call.delete.failed`. Has nothing of its own; even `call` may be absent.
    CallDeleteFailed {}
}
