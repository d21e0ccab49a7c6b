//! The time, from one place.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use gatehouse_payload::time::Timestamp;

/// Tells the time: the machine's, or one a test sets.
#[derive(Debug, Clone, Default)]
pub enum Clock {
    /// The machine's clock.
    #[default]
    System,
    /// A clock that stands still until it is moved; clones share it.
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// A clock that stands at `now`.
    #[must_use]
    pub fn manual(now: Timestamp) -> Self {
        Clock::Manual(Arc::new(AtomicI64::new(now.as_millis())))
    }

    /// The time.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "the one place that asks the machine")]
    pub fn now(&self) -> Timestamp {
        let ms = match self {
            Clock::System => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
            }
            Clock::Manual(ms) => ms.load(Ordering::SeqCst),
        };
        Timestamp::clamped(ms)
    }

    /// Moves a manual clock by `seconds`, back when negative. The machine's clock does not move.
    pub fn advance(&self, seconds: i64) {
        if let Clock::Manual(ms) = self {
            ms.fetch_add(seconds * 1000, Ordering::SeqCst);
        }
    }
}
