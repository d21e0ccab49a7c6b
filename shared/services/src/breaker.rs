//! The circuit breaker: stops asking a service that fails repeatedly. The state belongs to one instance of a function.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Number of failures in a row that open the breaker.
const FAILURES: u32 = 5;
/// Shortest pause after the fifth failure.
const OPEN_FOR: Duration = Duration::from_secs(10);
/// Longest pause that `Retry-After` can set.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);

/// The breakers of all services, by name.
#[derive(Debug, Default)]
pub(crate) struct Breakers(Mutex<HashMap<String, Breaker>>);

#[derive(Debug, Default)]
struct Breaker {
    /// Failures in a row.
    failures: u32,
    /// The end of the pause; `None` while the breaker is closed.
    open_until: Option<Instant>,
}

impl Breakers {
    /// Whether the service may be asked now. After the pause, one question is a probe: further questions must wait for
    /// its result, for at most another pause.
    pub(crate) fn admits(&self, service: &str, now: Instant) -> bool {
        self.with(service, |breaker| match breaker.open_until {
            None => true,
            Some(until) if now < until => false,
            Some(_) => {
                breaker.open_until = Some(now + OPEN_FOR);
                true
            }
        })
    }

    /// Closes the breaker.
    pub(crate) fn succeeded(&self, service: &str) {
        self.with(service, |breaker| *breaker = Breaker::default());
    }

    /// Counts a failure. `retry_after` is the pause in the service's response.
    pub(crate) fn failed(&self, service: &str, retry_after: Option<Duration>, now: Instant) {
        self.with(service, |breaker| {
            breaker.failures = breaker.failures.saturating_add(1);
            if breaker.failures >= FAILURES {
                let pause = retry_after.map_or(OPEN_FOR, |pause| pause.min(MAX_RETRY_AFTER));
                breaker.open_until = Some(now + pause.max(OPEN_FOR));
            }
        });
    }

    fn with<T>(&self, service: &str, f: impl FnOnce(&mut Breaker) -> T) -> T {
        // The state is consistent after every assignment, so a poisoned lock can be used.
        let mut breakers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        f(breakers.entry(service.to_owned()).or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn breaker_opens_after_five_failures_and_admits_one_probe() {
        let (breakers, now) = (Breakers::default(), Instant::now());
        for _ in 0..4 {
            breakers.failed("a", None, now);
        }
        breakers.succeeded("a");
        for n in 0..5 {
            assert!(breakers.admits("a", now), "{n}");
            breakers.failed("a", None, now);
        }
        assert!(!breakers.admits("a", now) && breakers.admits("b", now));
        let later = now + Duration::from_secs(10);
        assert!(breakers.admits("a", later) && !breakers.admits("a", later), "one probe");
        breakers.failed("a", None, later);
        assert!(!breakers.admits("a", later + Duration::from_secs(9)));
        breakers.succeeded("a");
        assert!(breakers.admits("a", later));
    }

    #[tokio::test(start_paused = true)]
    async fn retry_after_extends_the_pause_up_to_a_minute() {
        let now = Instant::now();
        for (seconds, pause) in [(1, 10), (30, 30), (3600, 60)] {
            let breakers = Breakers::default();
            for _ in 0..5 {
                breakers.failed("a", Some(Duration::from_secs(seconds)), now);
            }
            assert!(!breakers.admits("a", now + Duration::from_secs(pause - 1)), "{seconds}");
            assert!(breakers.admits("a", now + Duration::from_secs(pause)), "{seconds}");
        }
    }
}
