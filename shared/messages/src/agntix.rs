//! Complete types for every documented event of agntix. The receiver reads only the members that identify an event;
//! these types are for code that processes events.
//!
//! | event | struct | event id |
//! |---|---|---|
//! | `session.created`, `session.ended` (`eventType`) | [`Session`] | `agntix:<event>:<session id>` |
//! | `session.updated` (`eventType`), planned | [`SessionUpdated`] | `agntix:<svix-id>` |
//! | `session.started`, `session.updated`, `session.ended` (`type`), superseded | [`SupersededSession`] | `agntix:<svix-id>` |
//! | `message.added`, planned | [`MessageAdded`] | `agntix:<svix-id>` |
//! | `usage.updated`, planned | [`UsageUpdated`] | `agntix:<svix-id>` |
//! | `subscription.updated`, planned | [`SubscriptionUpdated`] | `agntix:<svix-id>` |
//! | `knowledge_store.updated`, planned | [`KnowledgeStoreUpdated`] | `agntix:<svix-id>` |
//! | any other | | `agntix:<svix-id>` |
//!
//! A `session.created` or `session.ended` without a session id has the event id `agntix:<svix-id>`.
//!
//! Source: <https://docs.agntix.ai/webhooks/events>, June 2026 for current and planned events, April 2026 for
//! superseded ones.

use gatehouse_payload::json;
use gatehouse_payload::wire::{Item, JsonObject, Number, read};
use gatehouse_payload::{open_enum, open_struct, open_union};

open_union! {
    /// A delivery from agntix; the kind depends on `eventType`. The superseded and the planned envelopes have no
    /// `eventType` and use `type` instead: see [`Enveloped`].
    Event by "eventType" {
        /// A session began. For outbound calls, nobody has answered yet.
        SessionCreated(Session) = "session.created",
        /// A session ended: closed, timed out, hung up or expired.
        SessionEnded(Session) = "session.ended",
        /// A chat session changed. Planned, not delivered today.
        SessionUpdated(SessionUpdated) = "session.updated",
    }
}

open_struct! {
    /// A session in `session.created` and `session.ended` (<https://docs.agntix.ai/webhooks/events>). The members
    /// marked † are only in `session.ended`.
    Session {
        /// The session's UUID: the **same** in both events.
        id: String = "id",
        /// `session.created` or `session.ended`.
        event_type: String = "eventType",
        /// The kind of session.
        kind: Kind = "type",
        /// The platform.
        platform: Platform = "platform",
        /// The direction.
        direction: Direction = "direction",
        /// The state.
        state: State = "state",
        /// The agent's UUID.
        agent_id: String = "agentId",
        /// Start of the session in both events, so it does not order events. RFC 3339, UTC with milliseconds, like all
        /// times here.
        created_at: String = "createdAt",
        /// † Time of the last activity.
        last_activity_at: String = "lastActivityAt",
        /// † End of the session.
        ended_at: String = "endedAt",
        /// † Time of the last change. In samples, but not in the documented list of members.
        updated_at: String = "updatedAt",
        /// Metadata from the caller and the integrator.
        metadata: Metadata = "metadata",
        /// † The analysis of the session. Each part is present only if it is enabled.
        analysis: Analysis = "analysis",
        /// † A link to the dashboard.
        recording_url: String = "recordingUrl",
    }
}

open_enum! {
    /// The kind of session.
    Kind {
        /// A voice session.
        Voice = "VOICE",
        /// A chat session.
        Chat = "CHAT",
    }
}

open_enum! {
    /// The platform of a session.
    Platform {
        /// A telephone.
        Phone = "PHONE",
        /// A web page.
        Web = "WEB",
        /// WhatsApp.
        WhatsApp = "WHATSAPP",
        /// Voice, according to the page about concepts.
        Voice = "VOICE",
        /// The REST API, according to its samples.
        Sdk = "SDK",
    }
}

open_enum! {
    /// The party that began a session.
    Direction {
        /// The customer.
        Inbound = "INBOUND",
        /// The agent.
        Outbound = "OUTBOUND",
    }
}

open_enum! {
    /// The state of a session.
    State {
        /// The session is open.
        Open = "OPEN",
        /// The session was closed.
        Closed = "CLOSED",
        /// The session was open for too long.
        Expired = "EXPIRED",
        /// The session has no activity. Only in the REST API.
        Idle = "IDLE",
        /// The session has activity. Only in the REST API.
        Active = "ACTIVE",
    }
}

open_struct! {
    /// Metadata from the caller and the integrator.
    Metadata {
        /// The customer's number, E.164.
        customer_phone_number: String = "customerPhoneNumber",
        /// The room of a call.
        room_name: String = "roomName",
        /// The `session_variables` with which the session was started, unchanged.
        session_variables: JsonObject = "sessionVariables",
    }
}

open_struct! {
    /// The analysis of a session (<https://docs.agntix.ai/guides/post-call-analysis>). Long texts may be cut.
    Analysis {
        /// A summary.
        summary: String = "summary",
        /// The customer's intent.
        intent: Intent = "intent",
        /// Whether the intent was resolved.
        resolution: Resolution = "resolution",
        /// The customer's sentiment.
        sentiment: Sentiment = "sentiment",
        /// The values that the agent is configured to extract, by name: strings, numbers, booleans.
        extracted_data: JsonObject = "extractedData",
    }
}

open_struct! {
    /// The customer's intent.
    Intent {
        /// The intent of the whole conversation.
        conversation: IntentOf = "conversation",
        /// The intent of one message. Its `intent` is `null` in samples.
        message: IntentOf = "message",
    }
}

open_struct! {
    /// An intent.
    IntentOf {
        /// The intent, or `null`.
        intent: String = "intent",
        /// The confidence: 0 to 1.
        confidence: Number = "confidence",
        /// The explanation.
        explanation: String = "explanation",
    }
}

open_struct! {
    /// Whether the customer's intent was resolved.
    Resolution {
        /// The classification.
        classification: Classification = "classification",
        /// The confidence: 0 to 1.
        confidence_score: Number = "confidenceScore",
        /// `Completed` in samples. Not in the documented list of members.
        status: String = "status",
        /// The items of the agent's checklist that were satisfied.
        satisfied_checklist_items: Vec<Item<String>> = "satisfiedChecklistItems",
        /// The evidence.
        evidence: Vec<Item<String>> = "evidence",
        /// The explanation.
        explanation: String = "explanation",
    }
}

open_enum! {
    /// Whether the customer's intent was resolved.
    Classification {
        /// It was resolved.
        Resolved = "RESOLVED",
        /// It was partially resolved.
        PartiallyResolved = "PARTIALLY_RESOLVED",
        /// It was not resolved.
        Unresolved = "UNRESOLVED",
        /// The conversation had nothing to resolve.
        NotApplicable = "NOT_APPLICABLE",
    }
}

open_struct! {
    /// The customer's sentiment.
    Sentiment {
        /// The sentiment of the whole conversation.
        conversation: SentimentOf = "conversation",
        /// The sentiment of the last message. Its members are `null`, 0 and `"N/A"` in samples.
        message: SentimentOf = "message",
    }
}

open_struct! {
    /// A sentiment.
    SentimentOf {
        /// The sentiment, or `null`.
        sentiment: Feeling = "sentiment",
        /// The score, from -1 to 1.
        score: Number = "score",
        /// The language in ISO 639-1, or `N/A`.
        detected_language: String = "detectedLanguage",
        /// The explanation.
        explanation: String = "explanation",
    }
}

open_enum! {
    /// A sentiment.
    Feeling {
        /// Positive.
        Positive = "POSITIVE",
        /// Neutral.
        Neutral = "NEUTRAL",
        /// Negative.
        Negative = "NEGATIVE",
    }
}

open_struct! {
    /// `session.updated`: planned for chats (<https://docs.agntix.ai/webhooks/events>).
    SessionUpdated {
        /// The session's id.
        id: String = "id",
        /// `session.updated`
        event_type: String = "eventType",
        /// Time of the event. RFC 3339, UTC.
        created_at: String = "createdAt",
        /// The names of the changed members.
        changed_fields: Vec<Item<String>> = "changedFields",
        /// The state.
        state: State = "state",
    }
}

open_union! {
    /// A delivery in the other envelope, `{"id": "evt_…", "type": …, "createdAt": …, "data": {…}}`. The kind depends on
    /// `type`. Superseded in June 2026 for sessions, planned for the other events.
    Enveloped by "type" {
        /// Superseded: a session began.
        SessionStarted(SupersededSession) = "session.started",
        /// Superseded: a session changed.
        SessionUpdated(SupersededSession) = "session.updated",
        /// Superseded: a session ended.
        SessionEnded(SupersededSession) = "session.ended",
        /// Planned: a message was added.
        MessageAdded(MessageAdded) = "message.added",
        /// Planned: the usage of a period.
        UsageUpdated(UsageUpdated) = "usage.updated",
        /// Planned: a subscription changed.
        SubscriptionUpdated(SubscriptionUpdated) = "subscription.updated",
        /// Planned: a document was added to a knowledge store, or could not be.
        KnowledgeStoreUpdated(KnowledgeStoreUpdated) = "knowledge_store.updated" | "knowledge.store.updated",
    }
}

/// A delivery in either envelope.
#[derive(Debug, Clone, PartialEq)]
pub enum Delivery {
    /// The current envelope: `eventType` names the event.
    Flat(Event),
    /// The other envelope: `type` names the event.
    Enveloped(Enveloped),
}

impl Delivery {
    /// Reads a body. It is [`Enveloped`](Self::Enveloped) if it has no `eventType` and its `type` has the form of an
    /// event name, such as `message.added`.
    ///
    /// # Errors
    /// If the text is not a JSON object.
    pub fn read(text: &str) -> Result<Self, serde_json::Error> {
        let name = |member| json::text_member(text, member);
        if name("eventType").is_none() && name("type").is_some_and(|name| gatehouse_agntix::is_event_name(&name)) {
            return read(text).map(Delivery::Enveloped);
        }
        read(text).map(Delivery::Flat)
    }
}

/// Generates a struct for the other envelope with its data.
macro_rules! envelope {
    ($(#[$attribute:meta])* $name:ident of $data:ty) => {
        open_struct! {
            $(#[$attribute])*
            $name {
                /// The event's id, `evt_…`.
                id: String = "id",
                /// The event's type.
                event_type: String = "type",
                /// Time of the event.
                created_at: String = "createdAt",
                /// The data of the event.
                data: $data = "data",
            }
        }
    };
}

envelope! {
    /// A session in the superseded envelope.
    SupersededSession of SupersededSessionData
}
envelope! {
    /// `message.added`
    MessageAdded of MessageAddedData
}
envelope! {
    /// `usage.updated`
    UsageUpdated of UsageData
}
envelope! {
    /// `subscription.updated`
    SubscriptionUpdated of SubscriptionData
}
envelope! {
    /// `knowledge_store.updated`
    KnowledgeStoreUpdated of KnowledgeStoreData
}

open_struct! {
    /// A session in the superseded envelope. The last three members are only in `session.ended`.
    SupersededSessionData {
        /// The session's id.
        session_id: String = "sessionId",
        /// The reason for the end of the session.
        ended_reason: EndedReason = "endedReason",
        /// The duration in milliseconds.
        duration_ms: Number = "durationMs",
        /// A summary.
        summary: String = "summary",
    }
}

open_enum! {
    /// The reason for the end of a session.
    EndedReason {
        /// The customer hung up.
        UserHangup = "user_hangup",
        /// The agent hung up.
        AgentHangup = "agent_hangup",
        /// The session was idle for too long.
        AutoClose = "auto_close",
        /// The session reached the maximum duration.
        MaxDurationReached = "max_duration_reached",
        /// An error occurred.
        Error = "error",
    }
}

open_struct! {
    /// A message of a session.
    MessageAddedData {
        /// The session's id.
        session_id: String = "sessionId",
        /// The message's id.
        message_id: String = "messageId",
        /// The role of the author.
        role: Role = "role",
        /// The text.
        content: String = "content",
        /// The tool call. Its form is not documented.
        tool_call: JsonObject = "toolCall",
    }
}

open_enum! {
    /// The role of a message's author.
    Role {
        /// The customer.
        User = "USER",
        /// The agent.
        Assistant = "ASSISTANT",
        /// The result of a tool.
        Tool = "TOOL",
        /// The integrator's instructions.
        System = "SYSTEM",
    }
}

open_struct! {
    /// The usage of a period.
    UsageData {
        /// The period.
        period: Period = "period",
        /// The amounts.
        metrics: Metrics = "metrics",
    }
}

open_struct! {
    /// A period.
    Period {
        /// The start.
        start: String = "start",
        /// The end.
        end: String = "end",
    }
}

open_struct! {
    /// The amounts of usage.
    Metrics {
        /// Messages in chats.
        chat_messages: Number = "chat_messages",
        /// Seconds of speech.
        voice_seconds: Number = "voice_seconds",
        /// Chunks of knowledge.
        knowledge_chunks: Number = "knowledge_chunks",
    }
}

open_struct! {
    /// A subscription.
    SubscriptionData {
        /// The subscription's id.
        subscription_id: String = "subscriptionId",
        /// The status.
        status: SubscriptionStatus = "status",
        /// The plan.
        current_plan: String = "currentPlan",
    }
}

open_enum! {
    /// The status of a subscription.
    SubscriptionStatus {
        /// It is paid.
        Active = "active",
        /// The payment is late.
        PastDue = "past_due",
        /// It was cancelled.
        Canceled = "canceled",
        /// It is paused.
        Paused = "paused",
    }
}

open_struct! {
    /// A document in a knowledge store.
    KnowledgeStoreData {
        /// The store's id.
        knowledge_store_id: String = "knowledgeStoreId",
        /// The document's id.
        document_id: String = "documentId",
        /// The status.
        status: DocumentStatus = "status",
    }
}

open_enum! {
    /// The status of a document.
    DocumentStatus {
        /// The document was added or replaced.
        Upserted = "UPSERTED",
        /// The document could not be added.
        Failed = "FAILED",
    }
}
