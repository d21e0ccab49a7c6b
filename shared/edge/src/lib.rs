#![doc = include_str!("../README.md")]

pub mod ada;
pub mod agntix;
pub mod answering;
pub mod chat;
pub mod deadline;
pub mod door;
pub mod gate;
pub mod log;
pub mod problem;
pub mod scheme;
pub mod secrets;
pub mod signature;
pub mod source;
pub mod vapi;

pub use answering::{Answering, Decision};
pub use deadline::Deadline;
pub use door::{Door, Endpoint};
pub use problem::Problem;
pub use source::Source;

/// A delivery that its scheme has verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The scheme: `svix`, `webhook`, `bearer:authorization`, `hmac:x-signature`.
    pub by: String,
    /// The message id the scheme covers, where it covers one.
    pub message_id: Option<String>,
}

/// Why a delivery is not verified. Names headers and rules; never shows a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unverified {
    /// A header the scheme needs is missing, or stands more than once.
    #[error("{0}")]
    Header(String),
    /// The timestamp is not one, or too far from now.
    #[error("{0}")]
    Timestamp(String),
    /// Everything is there, but no secret matches.
    #[error("{0}")]
    Mismatch(String),
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
