//! What a function does with an event besides recording it: it may decide the reply before, and act afterwards.

use std::pin::Pin;
use std::time::Duration;

use gatehouse_payload::json::pick;
use gatehouse_payload::{Event, Outcome};
use serde_json::value::RawValue;
use tokio::time::Instant;

/// The usual time limit for deciding a reply.
pub const DECIDE_WITHIN: Duration = Duration::from_secs(2);

/// A function that decides the reply to an event, or acts on the event.
pub trait Responder: Sync {
    /// Returns the time limit for deciding the reply to an event.
    fn decide_within(&self, event: &Event) -> Duration {
        let _ = event;
        DECIDE_WITHIN
    }

    /// Decides the reply. The event is verified and identified; it is recorded, with the reply, as soon as this
    /// returns. Must not wait for anything beyond `until`.
    fn decide(&self, event: &Event, until: Instant) -> impl Future<Output = ReplyPlan> + Send;

    /// Does work that may run while the event is recorded, such as refreshing a configuration.
    fn refresh(&self) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }
}

/// An action that runs at most once, after the event was recorded for the first time. Its argument is its deadline. Its
/// error may be logged.
pub type Action = Box<dyn FnOnce(Instant) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>> + Send>;

/// The decision about the reply to an event, and about the action.
#[derive(Default)]
pub struct ReplyPlan {
    /// The reply, as JSON text. It is recorded with the event, and a duplicate gets it too.
    pub reply: Option<String>,
    /// Whether the sender waits for a reply, and what it gets without one.
    pub expectation: Expectation,
    /// The action, if there is one.
    pub action: Option<Action>,
    /// Notifies services of the event. In contrast to an action, it may be repeated for an event with a weak identity.
    pub notify: Option<Action>,
    /// The names of the services to notify, separated by commas.
    pub notified: Option<String>,
    /// The services that were asked for the reply.
    pub asks: AskSummary,
    /// Whether another copy of the event still asks a service. This copy is then not recorded, because its reply would
    /// replace the answer.
    pub is_asked_by_copy: bool,
    /// The outcome, if another copy of the event was recorded. The reply is that of its record, and nothing is written.
    pub recorded_by_copy: Option<Outcome>,
    /// The rule or code that decided, for the log: `server rule 2`.
    pub decided_by: Option<String>,
    /// Why there is no reply although there should be one, for the log. Contains no content.
    pub fault: Option<String>,
}

/// The services that were asked about an event, for the log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AskSummary {
    /// Their names in alphabetical order, separated by commas; `None` if none was asked.
    pub asked: Option<String>,
    /// A word for the result of each, in the same order, separated by commas: `answered`, `timeout`, `status`,
    /// `connect`, `breaker`, `unusable`.
    pub results: Option<String>,
    /// How long asking took.
    pub took: Duration,
    /// `none`: a service was asked without a claim, because DynamoDB did not respond. `taken`: another copy of the event
    /// has asked.
    pub claim: Option<&'static str>,
}

/// What the sender of an event expects.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Expectation {
    /// The sender does not wait for a reply. Without one it gets the vendor's default reply.
    #[default]
    Nothing,
    /// The sender waits for a reply. It gets one even if the event is neither recorded nor queued: the decided reply, or
    /// else this default, which is not recorded.
    Reply {
        /// The reply if none was decided, as JSON text.
        default: &'static str,
    },
    /// The sender waits for a reply that may change. A duplicate gets the recorded reply only if a reply with the same
    /// decisive member was decided again, and the default if not.
    CurrentReply {
        /// The reply if none was decided, as JSON text.
        default: &'static str,
        /// The name of the decisive member.
        decisive: &'static str,
    },
    /// This release does not support the message. The event is recorded, and the response is 501 with this detail,
    /// which says what to do.
    Unsupported(&'static str),
}

impl Expectation {
    /// Whether the sender waits for the reply, so that it is sent even if the event is neither recorded nor queued.
    pub(crate) fn is_awaited(self) -> bool {
        matches!(self, Expectation::Reply { .. } | Expectation::CurrentReply { .. })
    }

    /// Returns the reply if none was decided; `None` for the vendor's default reply.
    pub(crate) fn default_reply(self) -> Option<String> {
        match self {
            Expectation::Reply { default } | Expectation::CurrentReply { default, .. } => Some(default.to_owned()),
            Expectation::Nothing | Expectation::Unsupported(_) => None,
        }
    }

    /// Returns the reply to send, where `recorded` is the reply of the first delivery and `decided` that of this one.
    pub(crate) fn reply_to_send(self, recorded: Option<String>, decided: Option<&String>) -> Option<String> {
        let may_repeat = |recorded: &String| match self {
            Expectation::CurrentReply { decisive, .. } => decided.is_some_and(|decided| {
                let names = [decisive];
                let [recorded, decided] = [recorded, decided].map(|reply| pick(reply, &names));
                recorded.get(decisive).map(RawValue::get) == decided.get(decisive).map(RawValue::get)
            }),
            _ => true,
        };
        recorded.filter(may_repeat)
    }
}

/// A function that neither decides replies nor acts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NoReply;

impl Responder for NoReply {
    async fn decide(&self, _: &Event, _: Instant) -> ReplyPlan {
        ReplyPlan::default()
    }
}
