//! The deadline of an invocation.

use std::time::Duration;

use gatehouse_payload::time::Timestamp;
use tokio::time::Instant;

/// The time at which an invocation ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline(Instant);

/// The timeout of the functions that receive webhooks: `Globals.Function.Timeout` in the template.
pub const TIMEOUT: Duration = Duration::from_secs(10);
/// Lambda's limit for a function's timeout, in milliseconds. A later deadline is invalid.
const MAX_TIMEOUT_MS: i64 = 900_000;

impl Deadline {
    /// Creates a deadline that is `remaining` from now.
    #[must_use]
    pub fn within(remaining: Duration) -> Self {
        Deadline(Instant::now() + remaining)
    }

    /// Creates a deadline from the time that Lambda passes, in milliseconds since the epoch. If that time is absent,
    /// past or too late (as under `cargo lambda watch`), the deadline is the function's timeout, `configured`, from
    /// now.
    #[must_use]
    pub fn from_lambda(epoch_ms: Option<u64>, now: Timestamp, configured: Duration) -> Self {
        let remaining = epoch_ms.and_then(|ms| i64::try_from(ms).ok()).map(|ms| ms.saturating_sub(now.as_millis()));
        match remaining.filter(|remaining| (1..=MAX_TIMEOUT_MS).contains(remaining)) {
            Some(remaining) => Self::within(Duration::from_millis(remaining.unsigned_abs())),
            None => Self::within(configured),
        }
    }

    /// Returns the deadline as an instant.
    #[must_use]
    pub fn instant(self) -> Instant {
        self.0
    }

    /// Returns the remaining time; zero if the deadline has passed.
    #[must_use]
    pub fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn invalid_lambda_deadline_becomes_configured_timeout() {
        let now = Timestamp::clamped(1_775_624_410_000);
        let left = |epoch_ms| Deadline::from_lambda(epoch_ms, now, Duration::from_secs(10)).left();
        assert_eq!(left(Some(1_775_624_413_000)), Duration::from_secs(3));
        for invalid in [None, Some(0), Some(600_000), Some(1_775_624_410_000), Some(1_775_999_999_999), Some(u64::MAX)]
        {
            assert_eq!(left(invalid), Duration::from_secs(10), "{invalid:?}");
        }
    }
}
