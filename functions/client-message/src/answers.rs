//! Replies written in Rust, for what a rule cannot say.

use gatehouse_payload::vapi::inbound::Reply;
use gatehouse_replies::Said;

/// Asked before the rules; `None` leaves the reply to them. What takes over two seconds, or panics, is logged, and the rules
/// reply. What has effects must stand being asked twice, since two copies of a message may come at once.
pub trait Answers: Send + Sync {
    /// What does a client message get?
    fn reply(&self, said: &Said<'_>) -> impl Future<Output = Option<Reply>> + Send {
        let _ = said;
        async { None }
    }
}

/// The replies this deployment's function has in Rust. Write yours here; as it stands, everything is left to the rules.
#[derive(Debug, Clone, Copy, Default)]
pub struct Code;

impl Answers for Code {}
