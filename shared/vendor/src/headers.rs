//! Reads and checks the headers of a delivery, for every scheme.

use gatehouse_payload::time::Timestamp;
use http::HeaderMap;

use crate::verification::{Reason, Rejection};

/// Accepted difference between a timestamp and now, in either direction, in seconds.
pub const TOLERANCE: i64 = 300;

/// Returns the value of a header that must occur exactly once and not be empty.
///
/// # Errors
/// If it is missing, empty, repeated or not ASCII text.
pub fn header<'h>(headers: &'h HeaderMap, name: &str) -> Result<&'h str, Rejection> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => match value.to_str().map(str::trim) {
            Ok("") => Err(Rejection::new(Reason::Unsigned, format!("the header {name} is empty"))),
            Ok(value) => Ok(value),
            Err(_) => Err(Rejection::new(Reason::Malformed, format!("the header {name} is not ASCII text"))),
        },
        (None, _) => Err(Rejection::new(Reason::Unsigned, format!("the header {name} is missing"))),
        _ => Err(Rejection::new(Reason::Malformed, format!("the header {name} occurs more than once; send it once"))),
    }
}

/// Rejects a header that is not a time in seconds since the epoch, or is further from `now` than [`TOLERANCE`].
///
/// # Errors
/// If the value is not a whole number, or too far from `now`.
pub fn check_timestamp(name: &str, timestamp: &str, now: Timestamp) -> Result<(), Rejection> {
    let is_digits = !timestamp.is_empty() && timestamp.bytes().all(|b| b.is_ascii_digit());
    let sent: i64 = timestamp.parse().ok().filter(|_| is_digits).ok_or_else(|| {
        Rejection::new(Reason::Malformed, format!("the header {name} is not a whole number of seconds since 1970"))
    })?;
    check_distance(name, sent, now)
}

/// Rejects a time, in seconds since the epoch, that is further from `now` than [`TOLERANCE`].
///
/// # Errors
/// If it is; the message says by how much.
pub fn check_distance(name: &str, sent: i64, now: Timestamp) -> Result<(), Rejection> {
    let age = now.as_secs().saturating_sub(sent);
    let direction = if age > TOLERANCE {
        "in the past"
    } else if age < -TOLERANCE {
        "in the future"
    } else {
        return Ok(());
    };
    let distance = age.unsigned_abs();
    Err(Rejection::new(
        Reason::Stale,
        format!(
            "the header {name} is {distance} s {direction}, but at most {TOLERANCE} s are accepted; sign the delivery \
             again or correct the clock"
        ),
    ))
}
