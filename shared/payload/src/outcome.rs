//! The outcomes of requests, events and queued messages.

use std::fmt;

/// The outcome of a request, an event or a queued message. Its word is public, in responses, log lines and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The event is new, or an earlier write of the same attempt recorded it.
    Recorded,
    /// The record has the same id and the same fingerprint. Nothing was written.
    Duplicate,
    /// The record has the same id and another fingerprint. The record is unchanged; this delivery is stored as a copy.
    Conflict,
    /// The store did not accept the event, and the retry queue has it.
    Queued,
    /// The event, or everything about its subject, was erased. No record was written.
    Erased,
    /// The variable `SKIP` excludes the event's type. Nothing was written.
    Skipped,
    /// The request repeats an `Idempotency-Key`, and the recorded turn is its response.
    Replayed,
    /// Neither the store nor the queue accepted the event, and the reply was sent nevertheless.
    Unrecorded,
    /// The request was not verified, or the endpoint does not accept it.
    Refused,
    /// No secret is configured for the endpoint, so it accepts nothing yet.
    Closed,
    /// Nothing was acknowledged, and the same request may succeed later.
    Unavailable,
    /// An attempt to record a queued message failed. Another one follows.
    Failed,
    /// No attempt to record a queued message succeeded. It is on the dead-letter queue.
    DeadLettered,
}

/// The attention that an outcome needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The normal case.
    Normal,
    /// A repetition of a known event.
    Repeated,
    /// A case that may need attention later.
    Notice,
    /// An error of the sender or of Gatehouse.
    Error,
}

impl Outcome {
    /// All outcomes.
    pub const ALL: [Outcome; 13] = [
        Outcome::Recorded,
        Outcome::Duplicate,
        Outcome::Conflict,
        Outcome::Queued,
        Outcome::Erased,
        Outcome::Skipped,
        Outcome::Replayed,
        Outcome::Unrecorded,
        Outcome::Refused,
        Outcome::Closed,
        Outcome::Unavailable,
        Outcome::Failed,
        Outcome::DeadLettered,
    ];

    /// Returns the word in responses, log lines and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Outcome::Recorded => "recorded",
            Outcome::Duplicate => "duplicate",
            Outcome::Conflict => "conflict",
            Outcome::Queued => "queued",
            Outcome::Erased => "erased",
            Outcome::Skipped => "skipped",
            Outcome::Replayed => "replayed",
            Outcome::Unrecorded => "unrecorded",
            Outcome::Refused => "refused",
            Outcome::Closed => "closed",
            Outcome::Unavailable => "unavailable",
            Outcome::Failed => "failed",
            Outcome::DeadLettered => "dead-lettered",
        }
    }

    /// Returns the outcome with this word; `None` for any other word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.as_str() == word)
    }

    /// Returns the attention that the outcome needs.
    #[must_use]
    pub fn severity(self) -> Severity {
        match self {
            Outcome::Recorded | Outcome::Erased | Outcome::Skipped | Outcome::Replayed => Severity::Normal,
            Outcome::Duplicate => Severity::Repeated,
            Outcome::Conflict | Outcome::Queued => Severity::Notice,
            Outcome::Unrecorded
            | Outcome::Refused
            | Outcome::Closed
            | Outcome::Unavailable
            | Outcome::Failed
            | Outcome::DeadLettered => Severity::Error,
        }
    }

    /// Whether the request was acknowledged and nothing went wrong.
    #[must_use]
    pub fn is_success(self) -> bool {
        self.severity() != Severity::Error
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn outcome_words_are_unique_and_found_by_from_word() {
        let words: BTreeSet<&str> = Outcome::ALL.into_iter().map(Outcome::as_str).collect();
        assert_eq!(words.len(), Outcome::ALL.len());
        assert!(Outcome::ALL.into_iter().all(|outcome| Outcome::from_word(outcome.as_str()) == Some(outcome)));
        assert_eq!(Outcome::from_word("ok"), None);
    }
}
