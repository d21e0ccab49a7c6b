//! Every documented event, whole. The front door reads no more than identifies an event; these are for whoever works with one.
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
//! A session without an id goes by the message id too. Source: <https://docs.agntix.ai/webhooks/events> (June 2026) for today's
//! and the planned events; the superseded ones as the same page had them in April 2026.

use crate::json;
use crate::wire::{Bag, Item, Number, read};

union! {
    /// A delivery of agntix', told apart by `eventType`. The superseded and the planned envelopes have none and are told
    /// apart by `type` instead: see [`Enveloped`].
    Event by "eventType" {
        /// A session began; for outbound calls, before anyone picked up.
        SessionCreated(Session) = "session.created",
        /// A session ended: closed, timed out, hung up or expired.
        SessionEnded(Session) = "session.ended",
        /// A chat session changed. Planned, not delivered today.
        SessionUpdated(SessionUpdated) = "session.updated",
    }
}

object! {
    /// A session, as `session.created` and `session.ended` tell it (<https://docs.agntix.ai/webhooks/events>). The members
    /// marked † stand in `session.ended` alone.
    Session {
        /// The session's UUID: the **same** in both events.
        id: String = "id",
        /// `session.created` or `session.ended`.
        event_type: String = "eventType",
        /// What kind of session.
        kind: Kind = "type",
        /// Through what.
        platform: Platform = "platform",
        /// Who began it.
        direction: Direction = "direction",
        /// Whether it goes on.
        state: State = "state",
        /// The agent's UUID.
        agent_id: String = "agentId",
        /// When the session began, in both events: it orders nothing. RFC 3339, UTC with milliseconds, as all times here.
        created_at: String = "createdAt",
        /// † When something last happened.
        last_activity_at: String = "lastActivityAt",
        /// † When it ended.
        ended_at: String = "endedAt",
        /// † In samples, though not in the list of members.
        updated_at: String = "updatedAt",
        /// What the caller and the integrator gave.
        metadata: Metadata = "metadata",
        /// † What agntix found out; each part only where it is enabled.
        analysis: Analysis = "analysis",
        /// † A link into the dashboard.
        recording_url: String = "recordingUrl",
    }
}

words! {
    /// What kind of session.
    Kind {
        /// Spoken.
        Voice = "VOICE",
        /// Written.
        Chat = "CHAT",
    }
}

words! {
    /// Through what a session takes place.
    Platform {
        /// A telephone.
        Phone = "PHONE",
        /// A web page.
        Web = "WEB",
        /// WhatsApp.
        WhatsApp = "WHATSAPP",
        /// Speech, as the page about concepts has it.
        Voice = "VOICE",
        /// The REST API, as its samples have it.
        Sdk = "SDK",
    }
}

words! {
    /// Who began a session.
    Direction {
        /// The customer.
        Inbound = "INBOUND",
        /// The agent.
        Outbound = "OUTBOUND",
    }
}

words! {
    /// Whether a session goes on.
    State {
        /// It does.
        Open = "OPEN",
        /// It was closed.
        Closed = "CLOSED",
        /// It was left open for too long.
        Expired = "EXPIRED",
        /// Of the REST API: nothing happens.
        Idle = "IDLE",
        /// Of the REST API: something happens.
        Active = "ACTIVE",
    }
}

object! {
    /// What the caller and the integrator gave.
    Metadata {
        /// The customer's number, E.164.
        customer_phone_number: String = "customerPhoneNumber",
        /// The room a call takes place in.
        room_name: String = "roomName",
        /// What was given as `session_variables` when the session was started, as it was given.
        session_variables: Bag = "sessionVariables",
    }
}

object! {
    /// What agntix found out about a session (<https://docs.agntix.ai/guides/post-call-analysis>). Long texts may be cut.
    Analysis {
        /// What it was about.
        summary: String = "summary",
        /// What the customer wanted.
        intent: Intent = "intent",
        /// Whether they got it.
        resolution: Resolution = "resolution",
        /// How they felt.
        sentiment: Sentiment = "sentiment",
        /// The values the agent is told to extract, by name: texts, numbers, booleans.
        extracted_data: Bag = "extractedData",
    }
}

object! {
    /// What the customer wanted.
    Intent {
        /// In the whole conversation.
        conversation: IntentOf = "conversation",
        /// In one message; its `intent` is `null` in samples.
        message: IntentOf = "message",
    }
}

object! {
    /// An intent.
    IntentOf {
        /// The intent, or `null`.
        intent: String = "intent",
        /// How sure that is: 0 to 1.
        confidence: Number = "confidence",
        /// Why.
        explanation: String = "explanation",
    }
}

object! {
    /// Whether the customer got what they wanted.
    Resolution {
        /// In a word.
        classification: Classification = "classification",
        /// How sure that is: 0 to 1.
        confidence_score: Number = "confidenceScore",
        /// In samples, though not in the list of members: `Completed`.
        status: String = "status",
        /// What of the agent's check list was done.
        satisfied_checklist_items: Vec<Item<String>> = "satisfiedChecklistItems",
        /// What shows it.
        evidence: Vec<Item<String>> = "evidence",
        /// Why.
        explanation: String = "explanation",
    }
}

words! {
    /// Whether the customer got what they wanted.
    Classification {
        /// Yes.
        Resolved = "RESOLVED",
        /// In part.
        PartiallyResolved = "PARTIALLY_RESOLVED",
        /// No.
        Unresolved = "UNRESOLVED",
        /// There was nothing to resolve.
        NotApplicable = "NOT_APPLICABLE",
    }
}

object! {
    /// How the customer felt.
    Sentiment {
        /// In the whole conversation.
        conversation: SentimentOf = "conversation",
        /// In the last message; in samples `null`, 0 and `"N/A"`.
        message: SentimentOf = "message",
    }
}

object! {
    /// A sentiment.
    SentimentOf {
        /// In a word, or `null`.
        sentiment: Feeling = "sentiment",
        /// From -1 to 1.
        score: Number = "score",
        /// ISO 639-1, or `N/A`.
        detected_language: String = "detectedLanguage",
        /// Why.
        explanation: String = "explanation",
    }
}

words! {
    /// A sentiment in a word.
    Feeling {
        /// Good.
        Positive = "POSITIVE",
        /// Neither.
        Neutral = "NEUTRAL",
        /// Bad.
        Negative = "NEGATIVE",
    }
}

object! {
    /// `session.updated`: planned for chats (<https://docs.agntix.ai/webhooks/events>).
    SessionUpdated {
        /// The session's id.
        id: String = "id",
        /// `session.updated`
        event_type: String = "eventType",
        /// RFC 3339, UTC.
        created_at: String = "createdAt",
        /// The names of what changed.
        changed_fields: Vec<Item<String>> = "changedFields",
        /// Whether it goes on.
        state: State = "state",
    }
}

union! {
    /// The other envelope, `{"id": "evt_…", "type": …, "createdAt": …, "data": {…}}`, told apart by `type`: superseded in June
    /// 2026 for sessions, planned for the rest.
    Enveloped by "type" {
        /// Superseded: a session began.
        SessionStarted(SupersededSession) = "session.started",
        /// Superseded: a session changed.
        SessionUpdated(SupersededSession) = "session.updated",
        /// Superseded: a session ended.
        SessionEnded(SupersededSession) = "session.ended",
        /// Planned: a message was added.
        MessageAdded(MessageAdded) = "message.added",
        /// Planned: usage of a period.
        UsageUpdated(UsageUpdated) = "usage.updated",
        /// Planned: a subscription changed.
        SubscriptionUpdated(SubscriptionUpdated) = "subscription.updated",
        /// Planned: a knowledge store took a document in, or failed to.
        KnowledgeStoreUpdated(KnowledgeStoreUpdated) = "knowledge_store.updated" | "knowledge.store.updated",
    }
}

/// A delivery, in whichever envelope it came.
#[derive(Debug, Clone, PartialEq)]
pub enum Delivery {
    /// Today's: `eventType` names the event.
    Flat(Event),
    /// The other: `type` names it.
    Enveloped(Enveloped),
}

impl Delivery {
    /// Reads a body. `eventType` decides; without one, a `type` that looks like an event's name (`message.added`, not `VOICE`).
    ///
    /// # Errors
    /// When the text is no JSON object.
    pub fn read(text: &str) -> Result<Self, serde_json::Error> {
        let name = |member| json::text_member(text, member);
        if name("eventType").is_none() && name("type").is_some_and(|name| super::is_event_name(&name)) {
            return read(text).map(Delivery::Enveloped);
        }
        read(text).map(Delivery::Flat)
    }
}

macro_rules! envelope {
    ($(#[$about:meta])* $name:ident of $data:ty) => {
        object! {
            $(#[$about])*
            $name {
                /// The event's id, `evt_…`.
                id: String = "id",
                /// The event's type.
                event_type: String = "type",
                /// When it happened.
                created_at: String = "createdAt",
                /// What happened.
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

object! {
    /// A session in the superseded envelope; the last three members stand in `session.ended` alone.
    SupersededSessionData {
        /// The session's id.
        session_id: String = "sessionId",
        /// Why it ended.
        ended_reason: EndedReason = "endedReason",
        /// How long it took, in milliseconds.
        duration_ms: Number = "durationMs",
        /// What it was about.
        summary: String = "summary",
    }
}

words! {
    /// Why a session ended.
    EndedReason {
        /// The customer hung up.
        UserHangup = "user_hangup",
        /// The agent hung up.
        AgentHangup = "agent_hangup",
        /// It was idle for too long.
        AutoClose = "auto_close",
        /// It took too long.
        MaxDurationReached = "max_duration_reached",
        /// Something failed.
        Error = "error",
    }
}

object! {
    /// A message of a session.
    MessageAddedData {
        /// The session's id.
        session_id: String = "sessionId",
        /// The message's id.
        message_id: String = "messageId",
        /// As whom it was written.
        role: Role = "role",
        /// What was written.
        content: String = "content",
        /// The tool that was called; its form is not documented.
        tool_call: Bag = "toolCall",
    }
}

words! {
    /// As whom a message is written.
    Role {
        /// The customer.
        User = "USER",
        /// The agent.
        Assistant = "ASSISTANT",
        /// A tool's result.
        Tool = "TOOL",
        /// The integrator's instructions.
        System = "SYSTEM",
    }
}

object! {
    /// Usage of a period.
    UsageData {
        /// Which period.
        period: Period = "period",
        /// How much.
        metrics: Metrics = "metrics",
    }
}

object! {
    /// A period.
    Period {
        /// From when.
        start: String = "start",
        /// Until when.
        end: String = "end",
    }
}

object! {
    /// What was used.
    Metrics {
        /// Messages in chats.
        chat_messages: Number = "chat_messages",
        /// Seconds of speech.
        voice_seconds: Number = "voice_seconds",
        /// Chunks of knowledge.
        knowledge_chunks: Number = "knowledge_chunks",
    }
}

object! {
    /// A subscription.
    SubscriptionData {
        /// Which one.
        subscription_id: String = "subscriptionId",
        /// Whether it is paid for.
        status: SubscriptionStatus = "status",
        /// The plan it is of.
        current_plan: String = "currentPlan",
    }
}

words! {
    /// Whether a subscription is paid for.
    SubscriptionStatus {
        /// It is.
        Active = "active",
        /// It is late.
        PastDue = "past_due",
        /// It was ended.
        Canceled = "canceled",
        /// It rests.
        Paused = "paused",
    }
}

object! {
    /// A document in a knowledge store.
    KnowledgeStoreData {
        /// Which store.
        knowledge_store_id: String = "knowledgeStoreId",
        /// Which document.
        document_id: String = "documentId",
        /// What became of it.
        status: DocumentStatus = "status",
    }
}

words! {
    /// What became of a document.
    DocumentStatus {
        /// It is in.
        Upserted = "UPSERTED",
        /// It is not.
        Failed = "FAILED",
    }
}
