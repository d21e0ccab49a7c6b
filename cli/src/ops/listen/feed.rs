//! Finds new events in the index `by-source`.

use std::collections::HashMap;

use gatehouse_inbox::store::by_source::{ListedEvent, SourceQuery, hours};
use gatehouse_inbox::{Store, StoreError};
use gatehouse_payload::event::source_names;
use gatehouse_payload::time::Timestamp;
use gatehouse_runtime::Clock;
use gatehouse_vendors::vendors;

/// How far each poll looks back, in seconds. The index shows an event a moment after it was recorded.
const OVERLAP: i64 = 10;
/// How far a poll looks back once in [`LOOK_BACK_EVERY`], in seconds. An event that was queued is recorded minutes after
/// it was received.
const LOOK_BACK: i64 = 10 * 60;
/// In seconds.
const LOOK_BACK_EVERY: i64 = 60;
/// How far the clock of a function may be ahead of this one, in seconds.
const AHEAD: i64 = 60;

/// The events that are received from a time on, each once.
#[derive(Debug)]
pub(super) struct Feed {
    start: Timestamp,
    /// The beginning of the last complete poll.
    polled_at: Option<Timestamp>,
    looked_back_at: Timestamp,
    /// The time at which each event was received that a later poll may find again, by its key.
    seen: HashMap<String, Timestamp>,
}

impl Feed {
    pub(super) fn new(start: Timestamp) -> Feed {
        Feed { start, polled_at: None, looked_back_at: start, seen: HashMap::new() }
    }

    /// Whether a poll has succeeded.
    pub(super) fn has_begun(&self) -> bool {
        self.polled_at.is_some()
    }

    /// Calls `take` with each new event, in the order in which they were received, until it returns false.
    ///
    /// # Errors
    /// If DynamoDB does not respond, or the table lacks the index. The next poll finds the remaining events.
    pub(super) async fn poll(
        &mut self,
        store: &Store,
        mut take: impl AsyncFnMut(ListedEvent) -> bool,
    ) -> Result<(), StoreError> {
        let now = Clock::System.now();
        let looks_back = now >= self.looked_back_at.plus_secs(LOOK_BACK_EVERY);
        let overlap = if looks_back { LOOK_BACK } else { OVERLAP };
        let since = self.polled_at.map_or(self.start, |at| at.plus_secs(-overlap).max(self.start));
        let until = now.plus_secs(AHEAD);
        for hour in hours(since, until).rev() {
            let mut events = Vec::new();
            for source in vendors().flat_map(source_names) {
                let mut next_page = None;
                loop {
                    let (page, next) =
                        store.list_by_source(SourceQuery::latest_first(source, hour, until), now, next_page).await?;
                    events.extend(page.into_iter().filter(|event| self.is_new(event)));
                    next_page = next;
                    if next_page.is_none() {
                        break;
                    }
                }
            }
            events.sort_by(|a, b| (a.received_at, &a.key).cmp(&(b.received_at, &b.key)));
            for event in events {
                self.seen.insert(event.key.clone(), event.received_at);
                if !take(event).await {
                    return Ok(());
                }
            }
        }
        self.polled_at = Some(now);
        if looks_back {
            self.looked_back_at = now;
        }
        let oldest = now.plus_secs(-2 * LOOK_BACK);
        self.seen.retain(|_, received_at| *received_at >= oldest);
        Ok(())
    }

    /// Whether an event has not been taken yet. An event that replaced an expired one has the same key.
    fn is_new(&self, event: &ListedEvent) -> bool {
        self.seen.get(&event.key) != Some(&event.received_at)
    }
}
