//! The state of a subject, folded from its records.

use gatehouse_inbox::store::Record;
use gatehouse_payload::Event;
use gatehouse_vendor::{Conversation, Source};
use gatehouse_vendors::of_vendor;

/// Folds the records of one subject's timeline. The result does not depend on the order of the records.
///
/// The state is not stored. Copies of conflicting deliveries are counted and not folded: the first record stays the
/// current one.
#[must_use]
pub fn fold(records: &[Record]) -> Conversation {
    let vendor = records.first().and_then(|record| of_vendor(&record.event.source));
    vendor.map_or_else(Conversation::default, |source| fold_with(source, records))
}

/// Folds the records of one subject with a given source.
#[must_use]
pub fn fold_with(source: &dyn Source, records: &[Record]) -> Conversation {
    let events = in_order(records);
    let conflicts = records.len() - events.len();
    let mut conversation = Conversation { conflicts, ..source.fold(&events) };
    // The sort is stable: messages of the same time stay in the order of arrival.
    conversation.messages.sort_by_key(|message| message.at);
    conversation
}

/// Returns the events by time, then by arrival.
fn in_order(records: &[Record]) -> Vec<&Event> {
    let mut events: Vec<&Event> =
        records.iter().filter(|record| !record.conflict).map(|record| &record.event).collect();
    events.sort_by_cached_key(|event| (event.occurred_at, event.received_at, event.id.clone()));
    events
}
