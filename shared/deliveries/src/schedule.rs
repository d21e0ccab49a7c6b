//! The times of attempts. Source:
//! <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>.

use std::time::Duration;

use gatehouse_payload::Nonce;
use gatehouse_payload::time::Timestamp;

/// The pauses after each failed attempt, in seconds. After the last one follows the last attempt, 75 hours and 35
/// minutes after the first.
const PAUSES: [i64; 9] = [5, 5 * 60, 30 * 60, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 24 * HOUR];
const HOUR: i64 = 3600;
/// The longest pause that `Retry-After` can ask for, in seconds.
const MAX_RETRY_AFTER: i64 = 24 * HOUR;

/// The number of attempts after which a delivery is dead.
pub const MAX_ATTEMPTS: u32 = 10;

/// Returns the time of the next attempt, after `attempts` failed ones; `None` if that was the last one. Each pause is
/// up to 20 % longer or shorter, by `chance`. `retry_after` is the pause that the receiver asked for: it can only
/// lengthen the pause.
#[must_use]
pub fn next_attempt(attempts: u32, retry_after: Option<Duration>, chance: &Nonce, now: Timestamp) -> Option<Timestamp> {
    let pause = usize::try_from(attempts.checked_sub(1)?).ok().and_then(|n| PAUSES.get(n))?;
    let [byte, ..] = chance.as_bytes();
    // From 800 to 1200 thousandths.
    let jitter = 800 + i64::from(*byte) * 400 / 255;
    let asked = retry_after.map(|pause| i64::try_from(pause.as_millis()).unwrap_or(i64::MAX));
    let pause = (pause * jitter).max(asked.unwrap_or_default().min(MAX_RETRY_AFTER * 1000));
    Some(Timestamp::clamped(now.as_millis() + pause))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pause(attempts: u32, retry_after: Option<u64>, chance: u8) -> Option<i64> {
        let (chance, now) = (Nonce::from([chance; 16]), Timestamp::clamped(0));
        let next = next_attempt(attempts, retry_after.map(Duration::from_secs), &chance, now);
        next.map(|next| next.as_millis() - now.as_millis())
    }

    #[test]
    fn ten_attempts_span_75_hours() {
        let total: i64 = (1..MAX_ATTEMPTS).map(|n| pause(n, None, 127).unwrap()).sum();
        let expected = (75 * 3600 + 35 * 60 + 5) * 1000;
        assert!((total - expected).abs() < expected / 100, "{total}");
        assert_eq!((pause(MAX_ATTEMPTS, None, 0), pause(u32::MAX, None, 0)), (None, None));
        assert_eq!((pause(1, None, 0), pause(1, None, 255)), (Some(4000), Some(6000)));
    }

    #[test]
    fn retry_after_lengthens_a_pause_up_to_a_day() {
        assert_eq!(pause(1, Some(60), 0), Some(60_000));
        assert_eq!(pause(2, Some(60), 0), Some(240_000));
        assert_eq!(pause(1, Some(u64::MAX), 0), Some(86_400_000));
    }
}
