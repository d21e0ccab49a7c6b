//! The keys of the delivery table.
//!
//! A lane is the partition of the deliveries that must follow each other: those of one subject to one destination. A
//! delivery that has no order has a lane of its own. The keys contain hashes, so that their length is limited and they
//! do not show ids.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use gatehouse_payload::time::Timestamp;
use gatehouse_vendor::secrets::is_name;
use gatehouse_vendor::signature::message_id;
use sha2::{Digest, Sha256};

use crate::destination::Order;

/// The prefix of the hash in the lane of a subject.
const SUBJECT: &str = "s-";
/// The prefix of the hash in the lane of a single delivery.
const SINGLE: &str = "e-";

/// A partition of the delivery table: `<destination>/s-<hash of a subject>` or `<destination>/e-<hash of an event's
/// key>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lane {
    destination: String,
    suffix: String,
}

impl Lane {
    /// Returns the lane of an event with this key and subject.
    #[must_use]
    pub fn of(destination: &str, order: Order, subject: Option<&str>, event_key: &str) -> Lane {
        let (prefix, hashed) = match (order, subject) {
            (Order::Subject, Some(subject)) => (SUBJECT, subject),
            (Order::Subject | Order::None, _) => (SINGLE, event_key),
        };
        let suffix = format!("{prefix}{}", HEXLOWER.encode(&Sha256::digest(hashed)));
        Lane { destination: destination.to_owned(), suffix }
    }

    /// Returns the destination's name.
    #[must_use]
    pub fn destination(&self) -> &str {
        &self.destination
    }

    /// Whether its deliveries follow each other, so that they need the lane's lease.
    #[must_use]
    pub fn is_ordered(&self) -> bool {
        self.suffix.starts_with(SUBJECT)
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.destination, self.suffix)
    }
}

/// The error for a text that is not the key of a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the text is not the key of a lane")]
pub struct NotALane;

impl FromStr for Lane {
    type Err = NotALane;

    fn from_str(text: &str) -> Result<Lane, NotALane> {
        let (destination, suffix) = text.split_once('/').ok_or(NotALane)?;
        let hash = suffix.strip_prefix(SUBJECT).or_else(|| suffix.strip_prefix(SINGLE)).ok_or(NotALane)?;
        let is_hash = hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_name(destination) || !is_hash {
            return Err(NotALane);
        }
        Ok(Lane { destination: destination.to_owned(), suffix: suffix.to_owned() })
    }
}

/// The sort key of a delivery, `<received_at>/<message id>`. Keys sort by the time of receipt.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowKey(String);

impl RowKey {
    /// Returns the key of an event's delivery.
    #[must_use]
    pub fn of(received_at: Timestamp, event_key: &str) -> RowKey {
        RowKey(format!("{received_at}/{}", message_id(event_key)))
    }

    /// Returns the key that is stored in an item.
    #[must_use]
    pub fn from_stored(key: String) -> RowKey {
        RowKey(key)
    }

    /// Returns the key's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_a_subject_share_a_lane_unless_they_have_no_order() {
        let lane = |order, subject, key| Lane::of("crm", order, subject, key);
        let (first, second) =
            (lane(Order::Subject, Some("ada:1"), "ada:a"), lane(Order::Subject, Some("ada:1"), "ada:b"));
        assert_eq!(first, second);
        assert!(first.is_ordered() && first != lane(Order::Subject, Some("ada:2"), "ada:a"));
        for single in [lane(Order::None, Some("ada:1"), "ada:a"), lane(Order::Subject, None, "ada:a")] {
            assert!(!single.is_ordered() && single != lane(Order::None, Some("ada:1"), "ada:b"));
        }
        assert_eq!(first.to_string().parse(), Ok(first));
        for text in ["", "crm", "crm/s-", "crm/x-00", "a b/s-00"] {
            assert_eq!(text.parse::<Lane>(), Err(NotALane), "{text}");
        }
    }

    #[test]
    fn keys_of_deliveries_sort_by_receipt() {
        let at = |text| Timestamp::parse(text).unwrap();
        let early = RowKey::of(at("2026-11-30T09:59:59.999Z"), "ada:z");
        let late = RowKey::of(at("2026-11-30T10:00:00Z"), "ada:a");
        assert!(early < late && early.as_str().len() == 93);
    }
}
