//! Replies written in Rust, for what a rule cannot say.

use gatehouse_payload::vapi::inbound::Reply;
use gatehouse_replies::Said;

/// Asked before the rules, for every delivery, retries included; `None` leaves the reply to them. What takes over 1.7 s, or
/// panics, is logged, and the rules reply; only what awaits can be interrupted.
pub trait Answers: Send + Sync {
    /// What does a client message get?
    fn reply(&self, said: &Said) -> impl Future<Output = Option<Reply>> + Send {
        let _ = said;
        async { None }
    }
}

/// The replies this deployment's function has in Rust. Write yours here; as it stands, everything is left to the rules.
#[derive(Debug, Clone, Copy, Default)]
pub struct Code;

impl Answers for Code {}
