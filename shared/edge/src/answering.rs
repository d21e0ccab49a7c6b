//! What a function makes of an event beyond recording it: decided before, done after.

use std::pin::Pin;

use gatehouse_inbox::Event;
use tokio::time::Instant;

/// A function that answers its sender with more than what became of the event, or does something about it.
pub trait Answering: Sync {
    /// Decides what to answer. The event is verified and identified, and recorded as soon as this returns, with the answer
    /// in its record. Whoever has to wait for something waits no longer than `until`.
    fn decide(&self, event: &Event, until: Instant) -> impl Future<Output = Decision> + Send;
}

/// Something to be done once, and only when the event has been recorded for the first time: it is called with the moment by
/// which it must have ended. Its error may be logged.
pub type Action = Box<dyn FnOnce(Instant) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>> + Send>;

/// What was decided about an event.
#[derive(Default)]
pub struct Decision {
    /// The answer: JSON text. It is kept with the record, and a duplicate gets it again.
    pub answer: Option<String>,
    /// The answer where there is none, in place of what its vendor gets otherwise. It is not kept.
    pub otherwise: Option<&'static str>,
    /// An answer that was given before is given again only if it is still the one: else `otherwise`.
    pub only_if_still_so: bool,
    /// The sender cannot go on without its answer: it gets it even if the event can neither be recorded nor queued.
    pub is_awaited: bool,
    /// What the sender asks for is something this release does not do: the event is recorded, and answered with 501. What
    /// would be right, in a sentence.
    pub unsupported: Option<&'static str>,
    /// To be done once.
    pub action: Option<Action>,
    /// Who decided: `server rule 2`. For the log.
    pub by: Option<String>,
    /// Why there is no answer though there should be one. For the log, so without content.
    pub fault: Option<String>,
}

/// A function that has nothing to decide.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unanswered;

impl Answering for Unanswered {
    async fn decide(&self, _: &Event, _: Instant) -> Decision {
        Decision::default()
    }
}
