//! Valid bodies of Ada's webhooks.

use gatehouse_vendor::Sample;

/// `v1.conversation.created`
pub const CONVERSATION_CREATED: &str = include_str!("../samples/conversation-created.json");
/// `v1.conversation.message`
pub const CONVERSATION_MESSAGE: &str = include_str!("../samples/conversation-message.json");
/// `v1.conversation.handoff.ended`
pub const CONVERSATION_HANDOFF_ENDED: &str = include_str!("../samples/conversation-handoff-ended.json");
/// `v1.conversation.ended`
pub const CONVERSATION_ENDED: &str = include_str!("../samples/conversation-ended.json");
/// `v1.end_user.updated`
pub const END_USER_UPDATED: &str = include_str!("../samples/end-user-updated.json");

/// All samples.
pub(crate) const ALL: [Sample; 5] = [
    of_conversation("conversation-message", CONVERSATION_MESSAGE),
    of_conversation("conversation-created", CONVERSATION_CREATED),
    of_conversation("conversation-handoff-ended", CONVERSATION_HANDOFF_ENDED),
    of_conversation("conversation-ended", CONVERSATION_ENDED),
    Sample { name: "end-user-updated", body: END_USER_UPDATED, ids: &["/data/end_user_id"], times: &["/timestamp"] },
];

const fn of_conversation(name: &'static str, body: &'static str) -> Sample {
    Sample { name, body, ids: &["/data/conversation_id"], times: &["/timestamp"] }
}
