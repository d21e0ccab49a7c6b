//! The source of the current time.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use gatehouse_payload::time::Timestamp;
use tokio::time::Instant;

/// A clock: the system's, or one that a test or a simulation sets.
#[derive(Debug, Clone, Default)]
pub enum Clock {
    /// The system's clock.
    #[default]
    System,
    /// A clock that changes only when it is moved. Clones share it.
    Manual(Arc<AtomicI64>),
    /// A clock that runs with the timers of the Tokio runtime, which may be paused.
    Runtime {
        /// The instant at which the clock shows `start`.
        origin: Instant,
        /// The time at `origin`. Clones share it, so that the clock can be moved.
        start: Arc<AtomicI64>,
    },
}

impl Clock {
    /// Creates a manual clock that is set to `now`.
    #[must_use]
    pub fn manual(now: Timestamp) -> Self {
        Clock::Manual(Arc::new(AtomicI64::new(now.as_millis())))
    }

    /// Creates a clock that shows `now`, and runs with the timers of the Tokio runtime.
    #[must_use]
    pub fn runtime(now: Timestamp) -> Self {
        Clock::Runtime { origin: Instant::now(), start: Arc::new(AtomicI64::new(now.as_millis())) }
    }

    /// Returns the current time.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "the one place that reads the system's clock")]
    pub fn now(&self) -> Timestamp {
        let in_ms = |duration: std::time::Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        let ms = match self {
            Clock::System => in_ms(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()),
            Clock::Manual(ms) => ms.load(Ordering::SeqCst),
            Clock::Runtime { origin, start } => start.load(Ordering::SeqCst).saturating_add(in_ms(origin.elapsed())),
        };
        Timestamp::clamped(ms)
    }

    /// Moves a clock by `seconds`, backwards if negative. Does nothing to the system's clock.
    pub fn advance(&self, seconds: i64) {
        match self {
            Clock::System => {}
            Clock::Manual(ms) | Clock::Runtime { start: ms, .. } => {
                ms.fetch_add(seconds * 1000, Ordering::SeqCst);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn runtime_clock_runs_with_timers_and_can_be_moved() {
        let clock = Clock::runtime(Timestamp::clamped(1_775_624_410_000));
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(clock.now().as_millis(), 1_775_624_415_000);
        clock.clone().advance(-10);
        assert_eq!(clock.now().as_millis(), 1_775_624_405_000);
    }
}
