#![doc = include_str!("../README.md")]

pub mod ada;
pub mod agntix;
pub mod answering;
pub mod chat;
pub mod deadline;
pub mod gate;
pub mod log;
pub mod problem;
pub mod receiver;
pub mod redaction;
pub mod request_id;
pub mod scheme;
pub mod secrets;
pub mod signature;
pub mod skip;
pub mod source;
pub mod vapi;

pub use answering::{Answering, Decision};
pub use deadline::Deadline;
pub use problem::Problem;
pub use receiver::{Endpoint, Receiver};
pub use redaction::Redaction;
pub use request_id::RequestId;
pub use skip::Skip;
pub use source::Source;

/// A delivery that its scheme has verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The scheme: `svix`, `webhook`, `bearer:authorization`, `hmac:x-signature`.
    pub by: String,
    /// The message id the scheme covers, where it covers one.
    pub message_id: Option<String>,
}

/// Why a delivery is not verified. For the log alone: whoever sent it hears only that it is not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Unverified {
    /// In a word.
    pub why: Why,
    /// Which rule, and what would be right. Names headers; never shows a value.
    pub detail: String,
    /// Whether a secret that is not known here yet might verify it.
    pub may_match_later: bool,
}

/// What is wrong with a delivery that is not verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Why {
    /// A header the scheme needs is missing or empty.
    Unsigned,
    /// A header holds what it cannot, or stands more than once.
    Malformed,
    /// The timestamp is too far from now.
    Stale,
    /// Everything is there, but no secret matches.
    NoMatch,
}

impl Why {
    /// The word for the log.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Why::Unsigned => "unsigned",
            Why::Malformed => "malformed",
            Why::Stale => "stale",
            Why::NoMatch => "no-match",
        }
    }
}

impl Unverified {
    pub(crate) fn new(why: Why, detail: String) -> Self {
        Unverified { why, detail, may_match_later: why == Why::NoMatch }
    }
}

/// What a body tells about its event, apart from its identity.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parsed {
    /// The vendor's name for the kind of event.
    pub event_type: Option<String>,
    /// Whom it is about.
    pub subject: Option<gatehouse_inbox::Subject>,
    /// When it happened.
    pub occurred_at: Option<gatehouse_payload::time::Timestamp>,
    /// The vendor's types could not read it.
    pub unparsed: bool,
}

/// Which event a delivery is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The key.
    pub id: gatehouse_inbox::EventId,
    /// Whether it rests on a hash of the message and the hour.
    pub weak: bool,
}
