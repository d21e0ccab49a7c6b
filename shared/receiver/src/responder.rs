//! What a function does with an event besides recording it: it may decide the reply before, and act afterwards.

use std::pin::Pin;

use gatehouse_payload::Event;
use tokio::time::Instant;

/// A function that decides the reply to an event, or acts on the event.
pub trait Responder: Sync {
    /// Decides the reply. The event is verified and identified; it is recorded, with the reply, as soon as this
    /// returns. Must not wait for anything beyond `until`.
    fn decide(&self, event: &Event, until: Instant) -> impl Future<Output = ReplyPlan> + Send;
}

/// An action that runs at most once, after the event was recorded for the first time. Its argument is its deadline. Its
/// error may be logged.
pub type Action = Box<dyn FnOnce(Instant) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>> + Send>;

/// The decision about the reply to an event, and about the action.
#[derive(Default)]
pub struct ReplyPlan {
    /// The reply, as JSON text. It is recorded with the event, and a duplicate gets it too.
    pub answer: Option<String>,
    /// The reply if there is no `answer`, in place of the vendor's default reply. It is not recorded.
    pub otherwise: Option<&'static str>,
    /// Whether a duplicate gets the recorded reply only if it equals `answer`, and `otherwise` if it does not.
    pub only_if_still_so: bool,
    /// Whether the sender waits for the reply, so that it is sent even if the event is neither recorded nor queued.
    pub is_awaited: bool,
    /// Set if this release does not support the message: the event is recorded, and the response is 501 with this
    /// detail, which says what to do.
    pub unsupported: Option<&'static str>,
    /// The action, if there is one.
    pub action: Option<Action>,
    /// The rule or code that decided, for the log: `server rule 2`.
    pub by: Option<String>,
    /// Why there is no reply although there should be one, for the log. Contains no content.
    pub fault: Option<String>,
}

/// A function that neither decides replies nor acts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NoReply;

impl Responder for NoReply {
    async fn decide(&self, _: &Event, _: Instant) -> ReplyPlan {
        ReplyPlan::default()
    }
}
