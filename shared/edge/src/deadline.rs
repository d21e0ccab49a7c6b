//! The time left for an answer.

use std::time::Duration;

use gatehouse_payload::time::Timestamp;
use tokio::time::Instant;

/// When an invocation ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline(Instant);

/// No function may run longer, so a later deadline is none.
const LONGEST: i64 = 900_000;

impl Deadline {
    /// A deadline `left` from now.
    #[must_use]
    pub fn within(left: Duration) -> Self {
        Deadline(Instant::now() + left)
    }

    /// The deadline Lambda gives, in milliseconds since the epoch. Absent, past or absurd, as under `cargo lambda watch`,
    /// it is `configured` from now: the function's timeout.
    #[must_use]
    pub fn from_lambda(epoch_ms: Option<u64>, now: Timestamp, configured: Duration) -> Self {
        let left = epoch_ms.and_then(|ms| i64::try_from(ms).ok()).map(|ms| ms.saturating_sub(now.as_millis()));
        match left.filter(|left| (1..=LONGEST).contains(left)) {
            Some(left) => Self::within(Duration::from_millis(left.unsigned_abs())),
            None => Self::within(configured),
        }
    }

    /// The moment itself.
    #[must_use]
    pub fn instant(self) -> Instant {
        self.0
    }

    /// The time left; zero when it has passed.
    #[must_use]
    pub fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_absent_past_or_absurd_deadline_is_the_configured_timeout() {
        let now = Timestamp::clamped(1_775_624_410_000);
        let left = |epoch_ms| Deadline::from_lambda(epoch_ms, now, Duration::from_secs(10)).left();
        assert_eq!(left(Some(1_775_624_413_000)), Duration::from_secs(3));
        for absurd in [None, Some(0), Some(600_000), Some(1_775_624_410_000), Some(1_775_999_999_999), Some(u64::MAX)] {
            assert_eq!(left(absurd), Duration::from_secs(10), "{absurd:?}");
        }
    }
}
