//! Every documented event, whole. The front door reads no more than identifies an event; these are for whoever works with one.
//!
//! Ada's schemas mark almost nothing as required, so every member is a [`Field`].
//!
//! | type | struct | what it is about | event id |
//! |---|---|---|---|
//! | `v1.conversation.created` | [`ConversationCreated`] | conversation | `ada:<svix-id>` |
//! | `v1.conversation.message` | [`ConversationMessage`] | conversation | `ada:<svix-id>` |
//! | `v1.conversation.ended` | [`ConversationEnded`] | conversation | `ada:<svix-id>` |
//! | `v1.conversation.handoff.ended` | [`ConversationHandoffEnded`] | conversation | `ada:<svix-id>` |
//! | `v1.end_user.created`, `v1.end_user.updated` | [`EndUserCreated`], [`EndUserUpdated`] | end user | `ada:<svix-id>` |
//! | `v1.audit_log.emitted` | [`AuditLogEmitted`] | | `ada:<svix-id>` |
//! | any other | | what its data name | `ada:<svix-id>` |
//!
//! A body has no id. The message id is signed, and the same on every retry and resend. Times are ISO 8601, with or without an
//! offset (none is UTC), with up to six digits of fractions.
//! Source: <https://docs.ada.cx/reference/webhooks/overview> and the pages it links, and Ada's OpenAPI document.

use crate::wire::{Bag, Field, Item};

use super::Timestamped;

union! {
    /// A delivery of Ada's, told apart by `type`.
    Event by "type" {
        /// A conversation began on a supported channel.
        ConversationCreated(ConversationCreated) = "v1.conversation.created",
        /// A message was added to a conversation.
        ConversationMessage(ConversationMessage) = "v1.conversation.message",
        /// A conversation ended: by the API, or by the end of a call.
        ConversationEnded(ConversationEnded) = "v1.conversation.ended",
        /// A handoff to people ended.
        ConversationHandoffEnded(ConversationHandoffEnded) = "v1.conversation.handoff.ended",
        /// An end user was created.
        EndUserCreated(EndUserCreated) = "v1.end_user.created",
        /// A value of an end user's profile changed.
        EndUserUpdated(EndUserUpdated) = "v1.end_user.updated",
        /// The configuration was changed. Delivered as well as can be, not reliably.
        AuditLogEmitted(AuditLogEmitted) = "v1.audit_log.emitted",
    }
}

/// An envelope with its data: `{"type": …, "timestamp": …, "data": {…}}`, and `tags` in some.
macro_rules! envelope {
    ($(#[$about:meta])* $name:ident of $data:ty) => {
        object! {
            $(#[$about])*
            $name {
                /// The event's type; `v1` is the version.
                event_type: String = "type",
                /// When it happened, with or without an offset; without one it is UTC.
                timestamp: String = "timestamp",
                /// What happened.
                data: $data = "data",
                /// In the end-user and audit-log events: ids it is about, such as the end user's.
                tags: Vec<Item<String>> = "tags",
            }
        }

        impl Timestamped for $name {
            fn timestamp(&self) -> &Field<String> {
                &self.timestamp
            }
        }
    };
}

envelope! {
    /// `v1.conversation.created`
    ConversationCreated of ConversationCreatedData
}
envelope! {
    /// `v1.conversation.message`
    ConversationMessage of ConversationMessageData
}
envelope! {
    /// `v1.conversation.ended`
    ConversationEnded of ConversationEndedData
}
envelope! {
    /// `v1.conversation.handoff.ended`
    ConversationHandoffEnded of ConversationHandoffEndedData
}
envelope! {
    /// `v1.end_user.created`
    EndUserCreated of EndUserData
}
envelope! {
    /// `v1.end_user.updated`
    EndUserUpdated of EndUserData
}
envelope! {
    /// `v1.audit_log.emitted`
    AuditLogEmitted of AuditLogData
}

object! {
    /// <https://docs.ada.cx/reference/conversations/conversation-created-webhook>
    ConversationCreatedData {
        /// 24 hex digits, without a prefix.
        conversation_id: String = "conversation_id",
        /// The channel it began on.
        channel_id: String = "channel_id",
        /// The customer.
        end_user_id: String = "end_user_id",
        /// When it began.
        created_at: String = "created_at",
        /// The customer's own: text, booleans and numbers by name.
        metadata: Bag = "metadata",
        /// Such as `example.ada.support`.
        ai_agent_domain: String = "ai_agent_domain",
    }
}

object! {
    /// <https://docs.ada.cx/reference/conversations/conversation-message-webhook>
    ConversationMessageData {
        /// Opaque; not of the same form as in the REST API.
        message_id: String = "message_id",
        /// The conversation it belongs to.
        conversation_id: String = "conversation_id",
        /// The customer.
        end_user_id: String = "end_user_id",
        /// When it was written.
        created_at: String = "created_at",
        /// Such as `example.ada.support`.
        ai_agent_domain: String = "ai_agent_domain",
        /// Whom it is directed to: `null` is the AI agent, else the integration's name, such as `zendesk_chat`.
        handoff_integration: String = "handoff_integration",
        /// Where the conversation takes place.
        channel: Channel = "channel",
        /// Instead of `channel`, before July 2025.
        channel_id: String = "channel_id",
        /// Who wrote it.
        author: Author = "author",
        /// What was written.
        content: Content = "content",
    }
}

object! {
    /// <https://docs.ada.cx/reference/conversations/conversation-ended-webhook>
    ConversationEndedData {
        /// 24 hex digits, without a prefix.
        conversation_id: String = "conversation_id",
        /// The channel it took place on.
        channel_id: String = "channel_id",
        /// The customer.
        end_user_id: String = "end_user_id",
        /// When it began.
        created_at: String = "created_at",
        /// When it was last changed: when it ended.
        updated_at: String = "updated_at",
        /// Such as `example.ada.support`.
        ai_agent_domain: String = "ai_agent_domain",
        /// Who ended it.
        ended_by: Ender = "ended_by",
        /// As when it was created.
        metadata: Bag = "metadata",
    }
}

object! {
    /// <https://docs.ada.cx/generative/reference/conversations/conversation-handoff-ended-webhook>. Has neither a channel nor
    /// a time of its own.
    ConversationHandoffEndedData {
        /// 24 hex digits, without a prefix.
        conversation_id: String = "conversation_id",
        /// The customer.
        end_user_id: String = "end_user_id",
        /// The integration the handoff was to.
        handoff_integration: String = "handoff_integration",
        /// Such as `example.ada.support`; absent in older samples.
        ai_agent_domain: String = "ai_agent_domain",
    }
}

object! {
    /// An end user as it is after the event (OpenAPI document of Ada's).
    EndUserData {
        /// 24 hex digits, without a prefix.
        end_user_id: String = "end_user_id",
        /// The integrator's id for the same person, up to 36 characters; may be `null`.
        external_id: String = "external_id",
        /// What is known of the person.
        profile: Profile = "profile",
        /// When it was created.
        created_at: String = "created_at",
        /// When it was last changed.
        updated_at: String = "updated_at",
    }
}

object! {
    /// What is known of an end user. Every text may be `null`.
    Profile {
        /// First name.
        first_name: String = "first_name",
        /// Last name.
        last_name: String = "last_name",
        /// The name to show.
        display_name: String = "display_name",
        /// A picture's URL.
        avatar: String = "avatar",
        /// E-mail address.
        email: String = "email",
        /// BCP 47, such as `en-GB`.
        language: String = "language",
        /// The integrator's own: text, booleans and integers by name.
        metadata: Bag = "metadata",
        /// Ids in Ada's own integrations.
        system_properties: SystemProperties = "system_properties",
    }
}

object! {
    /// Ids in Ada's own integrations (OpenAPI document of Ada's).
    SystemProperties {
        /// In Sunshine Conversations; may be `null`.
        sunshine_user_id: String = "sunshine_user_id",
    }
}

object! {
    /// <https://docs.ada.cx/reference/audit-log/audit-log-webhook>
    AuditLogData {
        /// The entry's id.
        id: String = "id",
        /// When it was made.
        timestamp: String = "timestamp",
        /// What kind of thing was changed.
        entity_type: String = "entity_type",
        /// Which one.
        entity_id: String = "entity_id",
        /// What was done to it.
        activity: Activity = "activity",
        /// Who did it, by address.
        actor_email: String = "actor_email",
        /// Who did it, by name.
        actor_name: String = "actor_name",
        /// Who did it, by id.
        actor_user_id: String = "actor_user_id",
        /// The changed thing's name.
        entity_name: String = "entity_name",
        /// From where.
        interface: Interface = "interface",
        /// From which address.
        context_ip: String = "context_ip",
        /// With which program.
        context_user_agent: String = "context_user_agent",
        /// With which key.
        api_key_name: String = "api_key_name",
    }
}

words! {
    /// What was done to an entity.
    Activity {
        /// It was made.
        Created = "created",
        /// It was changed.
        Updated = "updated",
        /// It was removed.
        Deleted = "deleted",
        /// It was run.
        Executed = "executed",
        /// A person was invited.
        Invited = "invited",
        /// It was switched on.
        Activated = "activated",
        /// It was switched off.
        Deactivated = "deactivated",
    }
}

words! {
    /// Where a change came from.
    Interface {
        /// The dashboard.
        Dashboard = "dashboard",
        /// The REST API.
        Api = "api",
        /// A tool that speaks MCP.
        Mcp = "mcp",
        /// The command line.
        Cli = "cli",
        /// An import.
        Import = "import",
        /// An export.
        Export = "export",
        /// Ada itself.
        System = "system",
    }
}

union! {
    /// Where a conversation takes place, told apart by `type`.
    Channel by "type" {
        /// One of Ada's own.
        Native(NativeChannel) = "native",
        /// One the integrator made.
        Custom(CustomChannel) = "custom",
    }
}

object! {
    /// One of Ada's own channels.
    NativeChannel {
        /// `native`
        kind: String = "type",
        /// The channel's id.
        id: String = "id",
        /// Its name.
        name: String = "name",
        /// What it is for.
        description: String = "description",
        /// How people talk on it.
        modality: Modality = "modality",
        /// What it can show.
        capabilities: Capabilities = "capabilities",
    }
}

object! {
    /// A channel the integrator made.
    CustomChannel {
        /// `custom`
        kind: String = "type",
        /// The channel's id.
        id: String = "id",
        /// Its name.
        name: String = "name",
        /// What it is for.
        description: String = "description",
        /// How people talk on it.
        modality: Modality = "modality",
        /// The integrator's own: text, booleans and integers by name.
        metadata: Bag = "metadata",
        /// When it was made; ISO 8601.
        created_at: String = "created_at",
        /// What it can show.
        capabilities: Capabilities = "capabilities",
    }
}

object! {
    /// What a channel can show.
    Capabilities {
        /// Whether Markdown is rendered; `false` when absent.
        markdown: bool = "markdown",
    }
}

words! {
    /// How people talk on a channel.
    Modality {
        /// By messages.
        Messaging = "messaging",
        /// By e-mail.
        Email = "email",
        /// By voice.
        Voice = "voice",
    }
}

object! {
    /// Who wrote a message.
    Author {
        /// The end user's id; `null` for agents.
        id: String = "id",
        /// As whom.
        role: Role = "role",
        /// A picture's URL, or `null`.
        avatar: String = "avatar",
        /// The name to show, or `null`.
        display_name: String = "display_name",
    }
}

words! {
    /// As whom a message is written.
    Role {
        /// The customer.
        EndUser = "end_user",
        /// Ada.
        AiAgent = "ai_agent",
        /// A person of the integrator's, after a handoff.
        HumanAgent = "human_agent",
    }
}

object! {
    /// Who ended a conversation.
    Ender {
        /// The end user's id, or `null`.
        id: String = "id",
        /// As whom.
        role: EnderRole = "role",
    }
}

words! {
    /// As whom a conversation is ended.
    EnderRole {
        /// The customer.
        EndUser = "end_user",
        /// Ada itself.
        System = "system",
        /// A person of the integrator's.
        HumanAgent = "human_agent",
    }
}

union! {
    /// What a message holds, told apart by `type`.
    Content by "type" {
        /// Text.
        Text(TextContent) = "text",
        /// A link, such as a survey's.
        Link(LinkContent) = "link",
        /// A file.
        File(FileContent) = "file",
        /// Someone is typing, or the like. Not in the published schema; Ada's own demos read it.
        Presence(PresenceContent) = "presence",
    }
}

object! {
    /// Text.
    TextContent {
        /// `text`
        kind: String = "type",
        /// The text; Markdown where the channel can show it.
        body: String = "body",
    }
}

object! {
    /// A link.
    LinkContent {
        /// `link`
        kind: String = "type",
        /// Where it leads.
        url: String = "url",
        /// What it says, or `null`.
        link_text: String = "link_text",
    }
}

object! {
    /// A file.
    FileContent {
        /// `file`
        kind: String = "type",
        /// Where it can be fetched, for seven days.
        url: String = "url",
        /// Its type, such as `image/png`.
        mime_type: String = "mime_type",
        /// Its name.
        filename: String = "filename",
    }
}

object! {
    /// Someone's presence.
    PresenceContent {
        /// `presence`
        kind: String = "type",
        /// What they do.
        body: String = "body",
    }
}
