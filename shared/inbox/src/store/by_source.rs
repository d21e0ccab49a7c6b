//! Lists received events by vendor and hour, with the index `by-source`.
//!
//! The index contains only the attributes that a list shows, so that a list costs one query per hour and reads no
//! payload. It is eventually consistent: an event may be missing for a moment after it was recorded.

use gatehouse_payload::time::Timestamp;

use super::item::{self, Item, attribute, is_expired, number_of, source_hour, text, text_of};
use super::request::failure;
use super::{PageToken, Record, Store, StoreError};
use gatehouse_payload::event::{EventId, Subject};

/// The index by which received events are listed.
pub const SOURCE_INDEX: &str = "by-source";

/// An hour in milliseconds.
const HOUR_MS: i64 = 3_600_000;

/// A received event, as a list shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedEvent {
    /// The event's id.
    pub id: EventId,
    /// The key of its item: the event id, or the key of a conflicting copy.
    pub key: String,
    /// Whether this is the copy of a delivery that conflicted with the record of its id.
    pub conflict: bool,
    /// The vendor's name for the type of the event.
    pub event_type: Option<String>,
    /// The subject that the event is about.
    pub subject: Option<Subject>,
    /// The time of the event.
    pub occurred_at: Timestamp,
    /// The time at which the receiver received it.
    pub received_at: Timestamp,
    /// When its record expires, in seconds since the epoch.
    pub expires_at: i64,
    /// Whether its body could not be read with the vendor's types.
    pub unparsed: bool,
    /// Whether its identity is weak: another event may have the same id.
    pub weak_identity: bool,
}

/// The order of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// By the time of receipt, the latest event first.
    LatestFirst,
    /// By the time of receipt, the oldest event first.
    OldestFirst,
}

/// The events of a vendor that were received within one hour.
#[derive(Debug, Clone, Copy)]
pub struct SourceQuery<'q> {
    /// The vendor.
    pub source: &'q str,
    /// The beginning. The hour is the one of this time.
    pub since: Timestamp,
    /// The end, which may be in a later hour.
    pub until: Timestamp,
    /// The order of the events.
    pub order: Order,
    /// The largest number of events in a page; `None` if only DynamoDB's limit of 1 MB applies.
    pub limit: Option<u16>,
}

impl<'q> SourceQuery<'q> {
    /// Selects the events that were received from `source` between `since` and `until`, within the hour of `since`,
    /// latest first.
    #[must_use]
    pub fn latest_first(source: &'q str, since: Timestamp, until: Timestamp) -> Self {
        SourceQuery { source, since, until, order: Order::LatestFirst, limit: None }
    }
}

/// Returns the hours of a time span, latest first. Each hour is represented by its first moment within the span.
pub fn hours(since: Timestamp, until: Timestamp) -> impl DoubleEndedIterator<Item = Timestamp> {
    let (first, last) = (since.as_millis().div_euclid(HOUR_MS), until.as_millis().div_euclid(HOUR_MS));
    (first..=last).rev().map(move |hour| Timestamp::clamped((hour * HOUR_MS).max(since.as_millis())))
}

impl Store {
    /// Returns a page of the events that a query selects.
    ///
    /// # Errors
    /// If DynamoDB does not respond, or the table lacks the index.
    pub async fn list_by_source(
        &self,
        query: SourceQuery<'_>,
        now: Timestamp,
        from: Option<PageToken>,
    ) -> Result<(Vec<ListedEvent>, Option<PageToken>), StoreError> {
        let SourceQuery { source, since, until, order, limit } = query;
        let query = self
            .reader
            .query()
            .table_name(&self.table)
            .index_name(SOURCE_INDEX)
            .key_condition_expression("source_hour = :hour AND received_at BETWEEN :since AND :until")
            .expression_attribute_values(":hour", text(&source_hour(source, since)))
            .expression_attribute_values(":since", text(&since.to_string()))
            .expression_attribute_values(":until", text(&until.to_string()))
            .scan_index_forward(order == Order::OldestFirst)
            .set_limit(limit.map(i32::from))
            .set_exclusive_start_key(from.map(|token| token.0));
        let response = query.send().await.map_err(|error| failure("Query", &error))?;
        let visible = response.items().iter().filter(|item| !is_expired(item, now));
        let events = visible.filter_map(ListedEvent::of).collect();
        Ok((events, response.last_evaluated_key.map(PageToken)))
    }
}

impl ListedEvent {
    /// Returns what a list shows of a record.
    #[must_use]
    pub fn of_record(record: &Record) -> ListedEvent {
        let event = &record.event;
        ListedEvent {
            id: event.id.clone(),
            key: record.key(),
            conflict: record.conflict,
            event_type: event.event_type.clone(),
            subject: event.subject.clone(),
            occurred_at: event.occurred_at,
            received_at: event.received_at,
            expires_at: record.expires_at,
            unparsed: event.flags.unparsed,
            weak_identity: event.flags.weak_identity,
        }
    }

    fn of(item: &Item) -> Option<ListedEvent> {
        let conflict_of = text_of(item, attribute::CONFLICT_OF);
        let time = |name| text_of(item, name).and_then(Timestamp::parse);
        let received_at = time(attribute::RECEIVED_AT)?;
        Some(ListedEvent {
            id: EventId::from_stored(conflict_of.or_else(|| text_of(item, attribute::EVENT_ID))?.to_owned()),
            key: text_of(item, attribute::EVENT_ID)?.to_owned(),
            conflict: conflict_of.is_some(),
            event_type: text_of(item, attribute::EVENT_TYPE).map(str::to_owned),
            subject: text_of(item, attribute::SUBJECT).map(|subject| Subject::from_stored(subject.to_owned())),
            occurred_at: time(attribute::OCCURRED_AT).unwrap_or(received_at),
            received_at,
            // A record without a readable expiry never expires.
            expires_at: number_of(item, attribute::EXPIRES_AT).unwrap_or(i64::MAX),
            unparsed: item::flags(item).unparsed,
            weak_identity: item::flags(item).weak_identity,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_cover_the_time_span_latest_first() {
        let at = |text| Timestamp::parse(text).unwrap();
        let hours = |since, until| hours(at(since), at(until)).map(|hour| hour.to_string()).collect::<Vec<_>>();
        assert_eq!(
            hours("2026-11-21T22:10:00.000Z", "2026-11-22T00:05:00.000Z"),
            ["2026-11-22T00:00:00.000Z", "2026-11-21T23:00:00.000Z", "2026-11-21T22:10:00.000Z"]
        );
        assert_eq!(hours("2026-11-21T22:10:00.000Z", "2026-11-21T22:10:00.000Z"), ["2026-11-21T22:10:00.000Z"]);
    }
}
