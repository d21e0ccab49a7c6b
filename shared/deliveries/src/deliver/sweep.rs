//! The work of each minute: the sweep, which rings for the deliveries that are due again, and which destinations get
//! nothing.

use gatehouse_inbox::StoreError;
use gatehouse_payload::time::Timestamp;
use tokio::time::Instant;

use super::{DeliverError, Deliverer, EXPIRED, Stopped};
use crate::destination::Destinations;
use crate::lane::Lane;
use crate::table::{Breaker, DestinationState, Position};

/// The number of pages, of up to 1,000 lanes each, for which a sweep rings for a destination.
const SWEEP_PAGES: usize = 10;
/// The number of lanes for which a sweep rings if a breaker is half-open. Only one sends the probe; others may be
/// blocked.
const PROBES: usize = 10;

impl Deliverer {
    /// Returns the destinations that get nothing now, and why.
    ///
    /// # Errors
    /// If DynamoDB does not respond.
    pub async fn stopped(&self, destinations: &Destinations) -> Result<Vec<(DestinationState, Stopped)>, StoreError> {
        let mut stopped = Vec::new();
        for state in self.table.destinations().await?.into_values() {
            let why = if destinations.is_unusable(&state.name) {
                Stopped::Unusable
            } else if destinations.get(&state.name).is_none() {
                continue;
            } else if state.disabled.is_some() {
                Stopped::Disabled
            } else if state.is_failing(self.clock.now()) && self.table.has_failing(&state.name).await? {
                Stopped::Failing
            } else {
                continue;
            };
            stopped.push((state, why));
        }
        Ok(stopped)
    }

    /// Rings for the lanes whose deliveries are due again, until none is left or `until`. While a breaker is open,
    /// nothing rings for its destination; then one lane is the probe. Returns the number of doorbells.
    ///
    /// # Errors
    /// If DynamoDB or SQS does not respond. The next sweep rings for the rest.
    pub async fn sweep(&self, destinations: &Destinations, until: Instant) -> Result<usize, DeliverError> {
        let now = self.clock.now();
        let mut states: Vec<_> = self.table.destinations().await?.into_values().collect();
        states.retain(|state| destinations.get(&state.name).is_some());
        let (enabled, disabled): (Vec<_>, Vec<_>) = states.into_iter().partition(|state| state.disabled.is_none());
        let mut queue: Vec<(DestinationState, Option<Position>)> =
            enabled.into_iter().map(|state| (state, None)).collect();
        let mut rung = 0;
        // Page by page, so that a destination with many deliveries does not delay the others.
        for _ in 0..SWEEP_PAGES {
            for (state, from) in std::mem::take(&mut queue) {
                let limit = match state.breaker(now) {
                    _ if Instant::now() >= until => return Ok(rung),
                    Breaker::Closed => usize::MAX,
                    Breaker::HalfOpen => PROBES,
                    Breaker::Open(_) => continue,
                };
                let (due, next) = self.table.due(&state.name, now, from).await?;
                let mut lanes: Vec<Lane> = due.into_iter().map(|delivery| delivery.lane).collect();
                lanes.dedup();
                if limit < lanes.len() {
                    // Other lanes in each minute: the first ones may all be blocked by a later delivery.
                    let minute = usize::try_from(now.as_secs() / 60).unwrap_or_default();
                    let first = minute.wrapping_mul(limit) % lanes.len();
                    lanes.rotate_left(first);
                    lanes.truncate(limit);
                }
                // The whole lane: what is due may be below its position, if it was added or resent by a process that
                // ended.
                let doorbells = self.doorbells_of(state.is_slow(now));
                let refused = doorbells.ring(&lanes, true, destinations.are_several()).await;
                rung += lanes.len() - refused.len();
                if let Some((_, error)) = refused.into_iter().next() {
                    return Err(error.into());
                }
                if next.is_some() && limit > PROBES {
                    queue.push((state, next));
                }
            }
        }
        let unusable = destinations.names().filter(|name| destinations.is_unusable(name));
        for name in disabled.iter().map(|state| state.name.as_str()).chain(unusable) {
            self.drop_expired(name, now, until).await?;
        }
        Ok(rung)
    }

    /// Drops the deliveries to a disabled destination whose events have expired. The table would delete them without a
    /// trace, and the deliveries behind them would not be found when the destination is enabled.
    async fn drop_expired(&self, name: &str, now: Timestamp, until: Instant) -> Result<(), StoreError> {
        // The longest waiting ones. The rest follows in the next sweeps.
        let (waiting, _) = self.table.due(name, now, None).await?;
        for delivery in waiting.iter().filter(|delivery| delivery.has_expired(now)) {
            if Instant::now() >= until {
                break;
            }
            self.table.drop_waiting(delivery, EXPIRED, now).await?;
        }
        Ok(())
    }
}
