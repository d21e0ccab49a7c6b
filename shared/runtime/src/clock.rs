//! The source of the current time.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use gatehouse_payload::time::Timestamp;

/// A clock: the system's, or one that a test sets.
#[derive(Debug, Clone, Default)]
pub enum Clock {
    /// The system's clock.
    #[default]
    System,
    /// A clock that changes only when it is moved. Clones share it.
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// Creates a manual clock that is set to `now`.
    #[must_use]
    pub fn manual(now: Timestamp) -> Self {
        Clock::Manual(Arc::new(AtomicI64::new(now.as_millis())))
    }

    /// Returns the current time.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "the one place that reads the system's clock")]
    pub fn now(&self) -> Timestamp {
        let ms = match self {
            Clock::System => {
                let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
            }
            Clock::Manual(ms) => ms.load(Ordering::SeqCst),
        };
        Timestamp::clamped(ms)
    }

    /// Moves a manual clock by `seconds`, backwards if negative. Does nothing to the system's clock.
    pub fn advance(&self, seconds: i64) {
        if let Clock::Manual(ms) = self {
            ms.fetch_add(seconds * 1000, Ordering::SeqCst);
        }
    }
}
