#![doc = include_str!("../README.md")]

pub mod aws;
pub mod clock;
pub mod config;
pub mod event;
pub mod fold;
pub mod inbox;
pub mod model;
pub mod queue;
pub mod store;

pub use clock::Clock;
pub use config::Config;
pub use event::{Event, EventId, Fingerprint, Marks, Nonce, Subject};
pub use inbox::{Inbox, Receipt, Unavailable};
pub use store::{Store, StoreError};

/// What recording an event came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// First time seen; or this very write has been seen to succeed before.
    Recorded,
    /// Same id and same fingerprint as the record: nothing was written.
    Duplicate,
    /// Same id, other fingerprint. The record stands; this one is kept beside it.
    Conflict,
    /// The store could not take it, the retry queue has it.
    Queued,
    /// It, or all that is about its subject, was erased: nothing was written.
    Erased,
}

impl Outcome {
    /// The word for answers, logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Recorded => "recorded",
            Outcome::Duplicate => "duplicate",
            Outcome::Conflict => "conflict",
            Outcome::Queued => "queued",
            Outcome::Erased => "erased",
        }
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
