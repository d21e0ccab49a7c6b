//! The outcomes of requests, events and queued messages.

use std::fmt;

/// The outcome of a request, an event or a queued message. Its word is public: answers, log lines and metrics have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The event was seen for the first time, or this very write has been seen to succeed before.
    Recorded,
    /// The record has the same id and the same fingerprint. Nothing was written.
    Duplicate,
    /// The record has the same id and another fingerprint. It stands; this one is kept beside it.
    Conflict,
    /// The store could not take the event, and the retry queue has it.
    Queued,
    /// The event, or everything about its subject, was erased. Nothing was written.
    Erased,
    /// The event is of a type that is not kept, by the variable `SKIP`.
    Skipped,
    /// The request has an `Idempotency-Key` whose recorded turn is its answer.
    Replayed,
    /// Neither the store nor the queue could take the event, and the answer was sent all the same.
    Unrecorded,
    /// The request was not verified, or is none that the endpoint takes.
    Refused,
    /// Nothing was acknowledged, and the same request may succeed later.
    Unavailable,
    /// An attempt at a queued message failed. Another one follows.
    Failed,
    /// No attempt at a queued message succeeded. It is on the dead-letter queue.
    DeadLettered,
}

/// How much attention an outcome needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// It is the normal case.
    Normal,
    /// It repeats what is known.
    Repeated,
    /// It may need a look later.
    Notice,
    /// It is an error of the sender's or of this side.
    Error,
}

impl Outcome {
    /// All outcomes.
    pub const ALL: [Outcome; 12] = [
        Outcome::Recorded,
        Outcome::Duplicate,
        Outcome::Conflict,
        Outcome::Queued,
        Outcome::Erased,
        Outcome::Skipped,
        Outcome::Replayed,
        Outcome::Unrecorded,
        Outcome::Refused,
        Outcome::Unavailable,
        Outcome::Failed,
        Outcome::DeadLettered,
    ];

    /// The word in answers, log lines and metrics.
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
            Outcome::Unavailable => "unavailable",
            Outcome::Failed => "failed",
            Outcome::DeadLettered => "dead-lettered",
        }
    }

    /// The outcome of a word; `None` where it is another one.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.as_str() == word)
    }

    /// The attention that the outcome needs.
    #[must_use]
    pub fn severity(self) -> Severity {
        match self {
            Outcome::Recorded | Outcome::Erased | Outcome::Skipped | Outcome::Replayed => Severity::Normal,
            Outcome::Duplicate => Severity::Repeated,
            Outcome::Conflict | Outcome::Queued => Severity::Notice,
            Outcome::Unrecorded | Outcome::Refused | Outcome::Unavailable | Outcome::Failed | Outcome::DeadLettered => {
                Severity::Error
            }
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
    fn each_outcome_has_a_word_of_its_own_and_is_found_by_it() {
        let words: BTreeSet<&str> = Outcome::ALL.into_iter().map(Outcome::as_str).collect();
        assert_eq!(words.len(), Outcome::ALL.len());
        assert!(Outcome::ALL.into_iter().all(|outcome| Outcome::named(outcome.as_str()) == Some(outcome)));
        assert_eq!(Outcome::named("ok"), None);
    }
}
