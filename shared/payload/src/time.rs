//! Points in time, read from every format that the vendors use.

use std::fmt;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::value::RawValue;

/// A point in time in UTC, in milliseconds since the Unix epoch, between the years 2000 and 2100.
///
/// Displays as `2026-04-08T05:00:10.546Z`, always 24 characters, so that text order is time order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

const FIRST: i64 = 946_684_800_000; // 2000-01-01T00:00:00Z
const END: i64 = 4_102_444_800_000; // 2100-01-01T00:00:00Z

impl Timestamp {
    /// The time `ms` milliseconds after the epoch; `None` outside 2000–2100, where no event can have happened.
    #[must_use]
    pub fn from_millis(ms: i64) -> Option<Self> {
        (FIRST..END).contains(&ms).then_some(Timestamp(ms))
    }

    /// The time nearest to `ms` within 2000–2100. For clocks, whose reading cannot be rejected.
    #[must_use]
    pub fn clamped(ms: i64) -> Self {
        Timestamp(ms.clamp(FIRST, END - 1))
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub fn as_millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down.
    #[must_use]
    pub fn as_secs(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// The time `seconds` later (earlier if negative), clamped to 2000–2100.
    #[must_use]
    pub fn plus_secs(self, seconds: i64) -> Self {
        Timestamp::clamped(self.0.saturating_add(seconds.saturating_mul(1000)))
    }

    /// Reads a date and time in RFC 3339 with any precision. Without `Z` or an offset the time is UTC.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let moment = text.parse::<jiff::Timestamp>().ok().or_else(|| {
            // `DateTime` ignores an offset, but `Timestamp` above has already read every text with one.
            let local = text.parse::<DateTime>().ok()?;
            local.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
        })?;
        Self::from_millis(moment.as_millisecond())
    }

    /// Reads a JSON value: a date and time for [`parse`](Self::parse), or milliseconds since the epoch. Milliseconds
    /// may be a number (also `1.722115418016999E12`, as Vapi has sent it) or a string with a number.
    #[must_use]
    pub fn from_json(value: &RawValue) -> Option<Self> {
        match crate::json::string(value) {
            Some(text) => Self::parse(&text).or_else(|| Self::from_number(text.trim())),
            None => Self::from_number(value.get()),
        }
    }

    fn from_number(text: &str) -> Option<Self> {
        let ms: f64 = text.parse().ok()?;
        // Every millisecond of the accepted years is exact in an f64. Larger numbers are rejected before the cast.
        #[allow(clippy::cast_possible_truncation)]
        (ms.abs() < 1e15).then(|| ms.floor() as i64).and_then(Self::from_millis)
    }
}

impl serde::Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moment = jiff::Timestamp::from_millisecond(self.0).map_err(|_| fmt::Error)?;
        write!(f, "{}", moment.strftime("%Y-%m-%dT%H:%M:%S.%3fZ"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(value: &str) -> Option<String> {
        Timestamp::from_json(serde_json::from_str(value).unwrap()).map(|t| t.to_string())
    }

    #[test]
    fn every_format_seen_in_practice_is_read() {
        for (value, expected) in [
            (r#""2020-09-20T00:00:00+00:00""#, "2020-09-20T00:00:00.000Z"),
            (r#""2025-10-28T17:34:49+02:00""#, "2025-10-28T15:34:49.000Z"),
            (r#""2024-01-17T22:23:35.835""#, "2024-01-17T22:23:35.835Z"),
            (r#""2023-12-08T19:06:04.890000""#, "2023-12-08T19:06:04.890Z"),
            (r#""2026-04-08T05:00:10.546Z""#, "2026-04-08T05:00:10.546Z"),
            (r#""2026-04-28T11:42:13Z""#, "2026-04-28T11:42:13.000Z"),
            ("1750314425860", "2025-06-19T06:27:05.860Z"),
            ("1.722115418016999E12", "2024-07-27T21:23:38.016Z"),
            (r#""1750314425860""#, "2025-06-19T06:27:05.860Z"),
        ] {
            assert_eq!(json(value).as_deref(), Some(expected), "{value}");
        }
    }

    #[test]
    fn invalid_or_unlikely_time_is_none() {
        for value in [
            r#""""#,
            r#""soon""#,
            "null",
            "{}",
            "true",
            "0",
            "-1",
            "1750314425",
            "1e400",
            "4102444800000",
            r#""1999-12-31T23:59:59.999Z""#,
            r#""2100-01-01T00:00:00Z""#,
            r#""2024-02-30T00:00:00Z""#,
            r#""\ud800""#,
        ] {
            assert_eq!(json(value), None, "{value}");
        }
    }

    #[test]
    fn text_order_is_time_order() {
        let mut moments = [FIRST, 1_750_314_425_860, 1_750_314_425_861, END - 1].map(Timestamp);
        moments.reverse();
        let mut texts = moments.map(|t| t.to_string());
        moments.sort();
        texts.sort();
        assert_eq!(texts, moments.map(|t| t.to_string()));
        assert!(texts.iter().all(|t| t.len() == 24));
    }
}
