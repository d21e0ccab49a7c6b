//! Replies in Rust, for cases that rules cannot express.

use gatehouse_replies::VapiMessage;
use gatehouse_vapi::inbound::Reply;

/// A hook that replies to client messages. It runs before the rules for every delivery, including retries.
///
/// `None` leaves the reply to the rules. If the hook takes longer than 1.7 s or panics, the failure is logged and the
/// rules reply. It can only be interrupted while it awaits.
pub trait ReplyHandler: Send + Sync {
    /// Replies to a client message.
    fn reply(&self, message: &VapiMessage) -> impl Future<Output = Option<Reply>> + Send {
        let _ = message;
        async { None }
    }
}

/// The hook of this deployment. Implement yours here. By default the rules decide all replies.
#[derive(Debug, Clone, Copy, Default)]
pub struct CustomReplies;

impl ReplyHandler for CustomReplies {}
