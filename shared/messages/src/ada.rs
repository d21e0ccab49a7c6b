//! Complete types for every documented event of Ada. The receiver reads only the members that identify an event; these
//! types are for code that processes events.
//!
//! Ada's schemas mark almost nothing as required, so every member is a [`Field`].
//!
//! | type | struct | subject | event id |
//! |---|---|---|---|
//! | `v1.conversation.created` | [`ConversationCreated`] | conversation | `ada:<svix-id>` |
//! | `v1.conversation.message` | [`ConversationMessage`] | conversation | `ada:<svix-id>` |
//! | `v1.conversation.ended` | [`ConversationEnded`] | conversation | `ada:<svix-id>` |
//! | `v1.conversation.handoff.ended` | [`ConversationHandoffEnded`] | conversation | `ada:<svix-id>` |
//! | `v1.end_user.created`, `v1.end_user.updated` | [`EndUserCreated`], [`EndUserUpdated`] | end user | `ada:<svix-id>` |
//! | `v1.audit_log.emitted` | [`AuditLogEmitted`] | | `ada:<svix-id>` |
//! | any other | | the ids in its data | `ada:<svix-id>` |
//!
//! A body has no id. The message id is signed and is the same for every retry and resend. Times are ISO 8601 with up to
//! six fractional digits. A time without an offset is UTC.
//!
//! Source: <https://docs.ada.cx/reference/webhooks/overview> and the pages it links, and Ada's OpenAPI document.

use gatehouse_payload::time::Timestamp;
use gatehouse_payload::wire::{Field, Item, JsonObject};
use gatehouse_payload::{open_enum, open_struct, open_union};

/// An envelope with the time of its event.
pub trait Timestamped {
    /// Returns the member `timestamp`.
    fn timestamp(&self) -> &Field<String>;

    /// Returns the time of the event. A timestamp without an offset is UTC.
    fn occurred_at(&self) -> Option<Timestamp> {
        Timestamp::parse(self.timestamp().get()?)
    }
}

open_union! {
    /// A delivery from Ada; the kind depends on `type`.
    Event by "type" {
        /// A conversation began on a supported channel.
        ConversationCreated(ConversationCreated) = "v1.conversation.created",
        /// A message was added to a conversation.
        ConversationMessage(ConversationMessage) = "v1.conversation.message",
        /// A conversation ended: by the API, or by the end of a call.
        ConversationEnded(ConversationEnded) = "v1.conversation.ended",
        /// A handoff to human agents ended.
        ConversationHandoffEnded(ConversationHandoffEnded) = "v1.conversation.handoff.ended",
        /// An end user was created.
        EndUserCreated(EndUserCreated) = "v1.end_user.created",
        /// A value of an end user's profile changed.
        EndUserUpdated(EndUserUpdated) = "v1.end_user.updated",
        /// The configuration was changed. Delivery is best effort.
        AuditLogEmitted(AuditLogEmitted) = "v1.audit_log.emitted",
    }
}

/// Generates a struct for an envelope with its data: `{"type": …, "timestamp": …, "data": {…}}`, and `tags` in some.
macro_rules! envelope {
    ($(#[$attribute:meta])* $name:ident of $data:ty) => {
        open_struct! {
            $(#[$attribute])*
            $name {
                /// The event's type; `v1` is the version.
                event_type: String = "type",
                /// The time of the event. Without an offset it is UTC.
                timestamp: String = "timestamp",
                /// The data of the event.
                data: $data = "data",
                /// Ids of the subject, such as the end user's. Only in the end-user and audit-log events.
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

open_struct! {
    /// <https://docs.ada.cx/reference/conversations/conversation-created-webhook>
    ConversationCreatedData {
        /// The conversation's id: 24 hex digits without a prefix.
        conversation_id: String = "conversation_id",
        /// The id of the channel on which the conversation began.
        channel_id: String = "channel_id",
        /// The end user's id.
        end_user_id: String = "end_user_id",
        /// Start of the conversation.
        created_at: String = "created_at",
        /// The integrator's metadata: strings, booleans and numbers by name.
        metadata: JsonObject = "metadata",
        /// The domain of the AI agent, such as `example.ada.support`.
        ai_agent_domain: String = "ai_agent_domain",
    }
}

open_struct! {
    /// <https://docs.ada.cx/reference/conversations/conversation-message-webhook>
    ConversationMessageData {
        /// The message's id. Opaque; its form differs from the REST API.
        message_id: String = "message_id",
        /// The id of the conversation.
        conversation_id: String = "conversation_id",
        /// The end user's id.
        end_user_id: String = "end_user_id",
        /// Time of creation.
        created_at: String = "created_at",
        /// The domain of the AI agent, such as `example.ada.support`.
        ai_agent_domain: String = "ai_agent_domain",
        /// The recipient: `null` for the AI agent, otherwise the integration's name, such as `zendesk_chat`.
        handoff_integration: String = "handoff_integration",
        /// The channel of the conversation.
        channel: Channel = "channel",
        /// The id of the channel. Used instead of `channel` before July 2025.
        channel_id: String = "channel_id",
        /// The author.
        author: Author = "author",
        /// The content.
        content: Content = "content",
    }
}

open_struct! {
    /// <https://docs.ada.cx/reference/conversations/conversation-ended-webhook>
    ConversationEndedData {
        /// The conversation's id: 24 hex digits without a prefix.
        conversation_id: String = "conversation_id",
        /// The id of the channel.
        channel_id: String = "channel_id",
        /// The end user's id.
        end_user_id: String = "end_user_id",
        /// Start of the conversation.
        created_at: String = "created_at",
        /// Time of the last change, which is the end of the conversation.
        updated_at: String = "updated_at",
        /// The domain of the AI agent, such as `example.ada.support`.
        ai_agent_domain: String = "ai_agent_domain",
        /// The participant that ended the conversation.
        ended_by: Ender = "ended_by",
        /// The same metadata as in the event of its creation.
        metadata: JsonObject = "metadata",
    }
}

open_struct! {
    /// <https://docs.ada.cx/generative/reference/conversations/conversation-handoff-ended-webhook>. Has neither a
    /// channel nor a time of its own.
    ConversationHandoffEndedData {
        /// The conversation's id: 24 hex digits without a prefix.
        conversation_id: String = "conversation_id",
        /// The end user's id.
        end_user_id: String = "end_user_id",
        /// The integration that received the handoff.
        handoff_integration: String = "handoff_integration",
        /// The domain of the AI agent, such as `example.ada.support`. Absent in older samples.
        ai_agent_domain: String = "ai_agent_domain",
    }
}

open_struct! {
    /// An end user after the event (Ada's OpenAPI document).
    EndUserData {
        /// The end user's id: 24 hex digits without a prefix.
        end_user_id: String = "end_user_id",
        /// The integrator's id for the same person, up to 36 characters; may be `null`.
        external_id: String = "external_id",
        /// The profile of the person.
        profile: Profile = "profile",
        /// Time of creation.
        created_at: String = "created_at",
        /// Time of the last change.
        updated_at: String = "updated_at",
    }
}

open_struct! {
    /// The profile of an end user. Every string may be `null`.
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
        /// The language in BCP 47, such as `en-GB`.
        language: String = "language",
        /// The integrator's metadata: strings, booleans and integers by name.
        metadata: JsonObject = "metadata",
        /// Ids in Ada's own integrations.
        system_properties: SystemProperties = "system_properties",
    }
}

open_struct! {
    /// Ids in Ada's own integrations (Ada's OpenAPI document).
    SystemProperties {
        /// The id in Sunshine Conversations; may be `null`.
        sunshine_user_id: String = "sunshine_user_id",
    }
}

open_struct! {
    /// <https://docs.ada.cx/reference/audit-log/audit-log-webhook>
    AuditLogData {
        /// The entry's id.
        id: String = "id",
        /// The time of the entry.
        timestamp: String = "timestamp",
        /// The type of the entity that was changed.
        entity_type: String = "entity_type",
        /// The id of the entity.
        entity_id: String = "entity_id",
        /// The action on the entity.
        activity: Activity = "activity",
        /// The e-mail address of the actor.
        actor_email: String = "actor_email",
        /// The name of the actor.
        actor_name: String = "actor_name",
        /// The id of the actor.
        actor_user_id: String = "actor_user_id",
        /// The name of the entity.
        entity_name: String = "entity_name",
        /// The interface that the change was made through.
        interface: Interface = "interface",
        /// The actor's IP address.
        context_ip: String = "context_ip",
        /// The actor's user agent.
        context_user_agent: String = "context_user_agent",
        /// The name of the API key.
        api_key_name: String = "api_key_name",
    }
}

open_enum! {
    /// An action on an entity.
    Activity {
        /// It was created.
        Created = "created",
        /// It was changed.
        Updated = "updated",
        /// It was deleted.
        Deleted = "deleted",
        /// It was executed.
        Executed = "executed",
        /// A person was invited.
        Invited = "invited",
        /// It was activated.
        Activated = "activated",
        /// It was deactivated.
        Deactivated = "deactivated",
    }
}

open_enum! {
    /// The interface that a change was made through.
    Interface {
        /// The dashboard.
        Dashboard = "dashboard",
        /// The REST API.
        Api = "api",
        /// An MCP client.
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

open_union! {
    /// The channel of a conversation; the kind depends on `type`.
    Channel by "type" {
        /// One of Ada's own channels.
        Native(NativeChannel) = "native",
        /// A channel of the integrator.
        Custom(CustomChannel) = "custom",
    }
}

open_struct! {
    /// One of Ada's own channels.
    NativeChannel {
        /// `native`
        kind: String = "type",
        /// The channel's id.
        id: String = "id",
        /// The name.
        name: String = "name",
        /// The description.
        description: String = "description",
        /// The modality.
        modality: Modality = "modality",
        /// The capabilities.
        capabilities: Capabilities = "capabilities",
    }
}

open_struct! {
    /// A channel of the integrator.
    CustomChannel {
        /// `custom`
        kind: String = "type",
        /// The channel's id.
        id: String = "id",
        /// The name.
        name: String = "name",
        /// The description.
        description: String = "description",
        /// The modality.
        modality: Modality = "modality",
        /// The integrator's metadata: strings, booleans and integers by name.
        metadata: JsonObject = "metadata",
        /// Time of creation; ISO 8601.
        created_at: String = "created_at",
        /// The capabilities.
        capabilities: Capabilities = "capabilities",
    }
}

open_struct! {
    /// The capabilities of a channel.
    Capabilities {
        /// Whether Markdown is rendered; `false` if absent.
        markdown: bool = "markdown",
    }
}

open_enum! {
    /// The modality of a channel.
    Modality {
        /// Messages.
        Messaging = "messaging",
        /// E-mail.
        Email = "email",
        /// Voice.
        Voice = "voice",
    }
}

open_struct! {
    /// The author of a message.
    Author {
        /// The end user's id; `null` for agents.
        id: String = "id",
        /// The role.
        role: Role = "role",
        /// A picture's URL, or `null`.
        avatar: String = "avatar",
        /// The name to show, or `null`.
        display_name: String = "display_name",
    }
}

open_enum! {
    /// The role of a message's author.
    Role {
        /// The end user.
        EndUser = "end_user",
        /// Ada.
        AiAgent = "ai_agent",
        /// A human agent of the integrator, after a handoff.
        HumanAgent = "human_agent",
    }
}

open_struct! {
    /// The participant that ended a conversation.
    Ender {
        /// The end user's id, or `null`.
        id: String = "id",
        /// The role.
        role: EnderRole = "role",
    }
}

open_enum! {
    /// The role of the participant that ended a conversation.
    EnderRole {
        /// The end user.
        EndUser = "end_user",
        /// Ada itself.
        System = "system",
        /// A human agent of the integrator.
        HumanAgent = "human_agent",
    }
}

open_union! {
    /// The content of a message; the kind depends on `type`.
    Content by "type" {
        /// Text.
        Text(TextContent) = "text",
        /// A link, for example to a survey.
        Link(LinkContent) = "link",
        /// A file.
        File(FileContent) = "file",
        /// Presence information, such as typing. Not in the published schema; Ada's own demos read it.
        Presence(PresenceContent) = "presence",
    }
}

open_struct! {
    /// Text.
    TextContent {
        /// `text`
        kind: String = "type",
        /// The text. Markdown if the channel can render it.
        body: String = "body",
    }
}

open_struct! {
    /// A link.
    LinkContent {
        /// `link`
        kind: String = "type",
        /// The URL.
        url: String = "url",
        /// The text of the link, or `null`.
        link_text: String = "link_text",
    }
}

open_struct! {
    /// A file.
    FileContent {
        /// `file`
        kind: String = "type",
        /// The URL, valid for seven days.
        url: String = "url",
        /// The media type, such as `image/png`.
        mime_type: String = "mime_type",
        /// The name.
        filename: String = "filename",
    }
}

open_struct! {
    /// Presence information.
    PresenceContent {
        /// `presence`
        kind: String = "type",
        /// The activity.
        body: String = "body",
    }
}
