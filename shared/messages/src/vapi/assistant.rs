//! Assistants and the servers that receive their messages.
//!
//! An assistant's configuration has hundreds of members. The types name those that were seen; deeper members are plain
//! JSON, and all others are in `extra`.
//!
//! Source: `CreateAssistantDTO`, `Server`, `MonitorPlan` and `CreateSquadDTO` of Vapi's OpenAPI document
//! (<https://api.vapi.ai/api-json>, August 2026), and captures.

use gatehouse_payload::wire::{Item, JsonObject, Number, Raw};
use gatehouse_payload::{open_enum, open_struct};

use super::transfer::TransferDestination;

open_struct! {
    /// An assistant or its overrides (`assistantOverrides`). No member is required.
    Assistant {
        /// The UUID. Only for saved assistants.
        id: String = "id",
        /// The organisation's UUID. Only for saved assistants.
        org_id: String = "orgId",
        /// A name, up to 40 characters.
        name: String = "name",
        /// Time of creation; ISO 8601. Only for saved assistants.
        created_at: String = "createdAt",
        /// Time of the last change; ISO 8601. Only for saved assistants.
        updated_at: String = "updatedAt",
        /// The first message that the assistant says.
        first_message: String = "firstMessage",
        /// The model, including its prompt and its tools.
        model: JsonObject = "model",
        /// The voice.
        voice: JsonObject = "voice",
        /// The transcriber.
        transcriber: JsonObject = "transcriber",
        /// The messages that are sent to clients; all but six if absent.
        client_messages: Vec<Item<ClientMessageName>> = "clientMessages",
        /// The messages that are sent to servers; eleven if absent.
        server_messages: Vec<Item<ServerMessageName>> = "serverMessages",
        /// The server that receives the server messages.
        server: Server = "server",
        /// Settings for listening to a call and controlling it.
        monitor_plan: MonitorPlan = "monitorPlan",
        /// The maximum duration of a call in seconds.
        max_duration_seconds: Number = "maxDurationSeconds",
        /// The integrator's metadata. Observed: it can contain a user's token.
        metadata: JsonObject = "metadata",
        /// The values of variables. Only in overrides.
        variable_values: JsonObject = "variableValues",
    }
}

open_enum! {
    /// A message that can be selected for clients. This list differs from the union of client messages: five entries
    /// have no schema, and nine names of the union cannot be selected.
    ClientMessageName {
        /// See [`super::message`].
        ConversationUpdate = "conversation-update",
        /// See [`super::message`].
        AssistantSpeechStarted = "assistant.speechStarted",
        /// Has no schema.
        FunctionCall = "function-call",
        /// Has no schema.
        FunctionCallResult = "function-call-result",
        /// See [`super::message`].
        Hang = "hang",
        /// Has no schema; delivered like `language-change-detected`.
        LanguageChanged = "language-changed",
        /// See [`super::message`].
        Metadata = "metadata",
        /// See [`super::message`].
        ModelOutput = "model-output",
        /// See [`super::message`].
        SpeechUpdate = "speech-update",
        /// Has no schema for clients.
        StatusUpdate = "status-update",
        /// See [`super::message`].
        Transcript = "transcript",
        /// See [`super::message`].
        ToolCalls = "tool-calls",
        /// See [`super::message`].
        ToolCallsResult = "tool-calls-result",
        /// Has no schema; delivered like `tool-calls-result`.
        ToolCompleted = "tool.completed",
        /// See [`super::message`].
        TransferUpdate = "transfer-update",
        /// See [`super::message`].
        UserInterrupted = "user-interrupted",
        /// See [`super::message`].
        VoiceInput = "voice-input",
        /// See [`super::message`].
        WorkflowNodeStarted = "workflow.node.started",
        /// See [`super::message`].
        AssistantStarted = "assistant.started",
    }
}

open_enum! {
    /// A message that can be selected for servers. Messages marked † are sent if none are selected.
    ServerMessageName {
        /// † Has no schema for servers.
        AssistantStarted = "assistant.started",
        /// See [`super::message`].
        AssistantSpeechStarted = "assistant.speechStarted",
        /// †
        ConversationUpdate = "conversation-update",
        /// †
        EndOfCallReport = "end-of-call-report",
        /// † Has no schema.
        FunctionCall = "function-call",
        /// †
        Hang = "hang",
        /// Has no schema; delivered like `language-change-detected`.
        LanguageChanged = "language-changed",
        /// See [`super::message`].
        LanguageChangeDetected = "language-change-detected",
        /// See [`super::message`].
        ModelOutput = "model-output",
        /// See [`super::message`].
        PhoneCallControl = "phone-call-control",
        /// †
        SpeechUpdate = "speech-update",
        /// †
        StatusUpdate = "status-update",
        /// See [`super::message`].
        Transcript = "transcript",
        /// Final transcripts only.
        FinalTranscript = "transcript[transcriptType=\"final\"]",
        /// †
        ToolCalls = "tool-calls",
        /// †
        TransferDestinationRequest = "transfer-destination-request",
        /// †
        HandoffDestinationRequest = "handoff-destination-request",
        /// See [`super::message`].
        TransferUpdate = "transfer-update",
        /// †
        UserInterrupted = "user-interrupted",
        /// See [`super::message`].
        VoiceInput = "voice-input",
        /// See [`super::message`].
        ChatCreated = "chat.created",
        /// See [`super::message`].
        ChatDeleted = "chat.deleted",
        /// See [`super::message`].
        SessionCreated = "session.created",
        /// See [`super::message`].
        SessionUpdated = "session.updated",
        /// See [`super::message`].
        SessionDeleted = "session.deleted",
        /// See [`super::message`].
        CallDeleted = "call.deleted",
        /// See [`super::message`].
        CallDeleteFailed = "call.delete.failed",
        /// See [`super::message`].
        CallArtifactUpload = "call.artifact.upload",
    }
}

open_struct! {
    /// Settings for listening to a call and controlling it.
    MonitorPlan {
        /// Whether the call has a `controlUrl`; `true` if absent.
        control_enabled: bool = "controlEnabled",
        /// Whether the `controlUrl` requires a key; `false` if absent.
        control_authentication_enabled: bool = "controlAuthenticationEnabled",
    }
}

open_struct! {
    /// A server that receives messages.
    Server {
        /// The URL.
        url: String = "url",
        /// The value that is sent unchanged in `X-Vapi-Secret`. A secret.
        secret: String = "secret",
        /// Timeout for the response: 1 to 300 seconds; 20 if absent.
        timeout_seconds: Number = "timeoutSeconds",
        /// The id of the credential that authenticates Vapi.
        credential_id: String = "credentialId",
        /// Headers to send. `Authorization` here overrides the header of the credential.
        headers: JsonObject = "headers",
        /// Whether requests come from `167.150.224.0/23`; `false` if absent.
        static_ip_addresses_enabled: bool = "staticIpAddressesEnabled",
        /// The paths of tool arguments that are encrypted.
        encrypted_paths: Vec<Item<String>> = "encryptedPaths",
        /// The retries of failed deliveries; none if absent.
        backoff_plan: BackoffPlan = "backoffPlan",
    }
}

open_struct! {
    /// The retries of failed deliveries. Any status except 2xx is a failure unless it is excluded.
    BackoffPlan {
        /// The growth of the delays.
        kind: Backoff = "type",
        /// The number of retries: 0 to 10; 0 if absent.
        max_retries: Number = "maxRetries",
        /// The first delay: 0 to 10 seconds.
        base_delay_seconds: Number = "baseDelaySeconds",
        /// The statuses that are not retried.
        excluded_status_codes: Vec<Item<Number>> = "excludedStatusCodes",
    }
}

open_enum! {
    /// The growth of delays.
    Backoff {
        /// Constant delays. The default.
        Fixed = "fixed",
        /// Exponential delays.
        Exponential = "exponential",
    }
}

open_struct! {
    /// A group of assistants that transfer a call to each other.
    Squad {
        /// A name.
        name: String = "name",
        /// The assistants.
        members: Vec<Item<SquadMember>> = "members",
    }
}

open_struct! {
    /// An assistant in a squad.
    SquadMember {
        /// The id of a saved assistant.
        assistant_id: String = "assistantId",
        /// The configuration of an assistant that is not saved.
        assistant: Assistant = "assistant",
        /// Overrides of the assistant in this squad.
        assistant_overrides: Assistant = "assistantOverrides",
        /// The destinations that it may transfer the call to.
        assistant_destinations: Vec<Item<TransferDestination>> = "assistantDestinations",
    }
}

open_struct! {
    /// The description of a function for the model.
    FunctionDefinition {
        /// The function's name, up to 80 characters.
        name: String = "name",
        /// The function's purpose, for the model.
        description: String = "description",
        /// The function's parameters as a JSON Schema.
        parameters: Raw = "parameters",
    }
}
