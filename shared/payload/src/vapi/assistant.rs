//! Assistants, and the servers their messages go to, as far as the schema's names were seen: an assistant's configuration has
//! hundreds of members, of which the undocumented and the deeper ones are kept as they came.
//!
//! Source: `CreateAssistantDTO`, `Server`, `MonitorPlan` and `CreateSquadDTO` of Vapi's OpenAPI document
//! (<https://api.vapi.ai/api-json>, August 2026), and captures.

use crate::wire::{Bag, Item, Number, Raw};

use super::transfer::TransferDestination;

object! {
    /// An assistant, or what differs from one (`assistantOverrides`). Nothing is required.
    Assistant {
        /// The UUID; of saved assistants.
        id: String = "id",
        /// The organisation's UUID; of saved assistants.
        org_id: String = "orgId",
        /// A name, up to 40 characters.
        name: String = "name",
        /// When it was created; ISO 8601; of saved assistants.
        created_at: String = "createdAt",
        /// When it was last changed; ISO 8601; of saved assistants.
        updated_at: String = "updatedAt",
        /// What it says first.
        first_message: String = "firstMessage",
        /// The model, its prompt and its tools among it.
        model: Bag = "model",
        /// The voice.
        voice: Bag = "voice",
        /// What hears.
        transcriber: Bag = "transcriber",
        /// Which messages go to clients; all but six when absent.
        client_messages: Vec<Item<ClientMessageName>> = "clientMessages",
        /// Which messages go to servers; eleven when absent.
        server_messages: Vec<Item<ServerMessageName>> = "serverMessages",
        /// Where the latter go.
        server: Server = "server",
        /// Who may listen and steer.
        monitor_plan: MonitorPlan = "monitorPlan",
        /// How long a call may take, in seconds.
        max_duration_seconds: Number = "maxDurationSeconds",
        /// The customer's own. Observed: a user's token in it.
        metadata: Bag = "metadata",
        /// Of overrides: the values of variables.
        variable_values: Bag = "variableValues",
    }
}

words! {
    /// A message that may be chosen for clients. Not the union's list: five have no schema, and ten of the union cannot be
    /// chosen.
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
        /// Has no schema; arrives as `language-change-detected` would.
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
        /// Has no schema; arrives as `tool-calls-result` would.
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

words! {
    /// A message that may be chosen for servers. † is sent when nothing is chosen.
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
        /// Has no schema; arrives as `language-change-detected` would.
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
        /// The same, final ones alone.
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

object! {
    /// Who may listen and steer.
    MonitorPlan {
        /// Whether the call has a `controlUrl`; `true` when absent.
        control_enabled: bool = "controlEnabled",
        /// Whether that asks for a key; `false` when absent.
        control_authentication_enabled: bool = "controlAuthenticationEnabled",
    }
}

object! {
    /// Where messages are posted.
    Server {
        /// The URL.
        url: String = "url",
        /// Sent verbatim in `X-Vapi-Secret`. A secret.
        secret: String = "secret",
        /// How long Vapi waits: 1 to 300 seconds; 20 when absent.
        timeout_seconds: Number = "timeoutSeconds",
        /// The credential that authenticates Vapi.
        credential_id: String = "credentialId",
        /// Headers to send; `Authorization` here overrides the credential's.
        headers: Bag = "headers",
        /// Whether requests come from `167.150.224.0/23`; `false` when absent.
        static_ip_addresses_enabled: bool = "staticIpAddressesEnabled",
        /// Which arguments of tools arrive encrypted.
        encrypted_paths: Vec<Item<String>> = "encryptedPaths",
        /// Whether a failed delivery is sent again: not at all when absent.
        backoff_plan: BackoffPlan = "backoffPlan",
    }
}

object! {
    /// How a failed delivery is sent again. Any answer but a 2xx counts as failed, unless it is excluded.
    BackoffPlan {
        /// How the delays grow.
        kind: Backoff = "type",
        /// How often: 0 to 10; 0 when absent.
        max_retries: Number = "maxRetries",
        /// The first delay: 0 to 10 seconds.
        base_delay_seconds: Number = "baseDelaySeconds",
        /// Statuses that are not tried again.
        excluded_status_codes: Vec<Item<Number>> = "excludedStatusCodes",
    }
}

words! {
    /// How delays grow.
    Backoff {
        /// Not at all; when absent, this.
        Fixed = "fixed",
        /// Exponentially.
        Exponential = "exponential",
    }
}

object! {
    /// Assistants that hand a call to each other.
    Squad {
        /// A name.
        name: String = "name",
        /// Who is in it.
        members: Vec<Item<SquadMember>> = "members",
    }
}

object! {
    /// An assistant in a squad.
    SquadMember {
        /// The assistant, if it is a saved one.
        assistant_id: String = "assistantId",
        /// The assistant, if it is not.
        assistant: Assistant = "assistant",
        /// What differs from it in this squad.
        assistant_overrides: Assistant = "assistantOverrides",
        /// Whom it may hand the call to.
        assistant_destinations: Vec<Item<TransferDestination>> = "assistantDestinations",
    }
}

object! {
    /// What a model is told of a function.
    FunctionDefinition {
        /// Its name, up to 80 characters.
        name: String = "name",
        /// What it does, for the model.
        description: String = "description",
        /// What it takes, as a JSON Schema.
        parameters: Raw = "parameters",
    }
}
