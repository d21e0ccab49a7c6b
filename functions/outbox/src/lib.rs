//! Reads the event table's stream, and adds a delivery for each event and each destination that gets it.
//!
//! A batch that fails is repeated from its first failed change, until it succeeds or the stream's records are a day
//! old.

use std::time::Duration;

use gatehouse_deliveries::destination::MAX_AGE;
use gatehouse_deliveries::outbox::{BatchResponse, ItemFailure, StreamBatch};
use gatehouse_deliveries::{DeliveryTable, doorbell::Doorbells};
use gatehouse_deliveries::{Destinations, Outbox, PART};
use gatehouse_inbox::Store;
use gatehouse_receiver::SecretsCache;
use gatehouse_runtime::config::{ConfigError, needed};
use gatehouse_runtime::{Clock, Config};
use tokio::time::Instant;

/// The function's name.
pub const FUNCTION: &str = "outbox";
/// The function's timeout in the template.
pub const TIMEOUT: Duration = Duration::from_secs(60);
/// The state that an instance keeps between batches.
#[derive(Debug)]
pub struct State {
    /// Adds deliveries.
    pub outbox: Outbox,
    /// The destinations in the secrets document.
    pub destinations: SecretsCache<Destinations>,
    /// The clock that determines from when a new destination gets events.
    pub clock: Clock,
}

impl State {
    /// Builds the state from the environment variables.
    ///
    /// # Errors
    /// If a variable is missing or invalid.
    pub fn from_env() -> Result<Self, ConfigError> {
        let get = |name: &str| std::env::var(name).ok();
        let config = Config::read(&get)?;
        let sdk = gatehouse_runtime::aws::function_config();
        let table = needed(&get, "DELIVERY_TABLE_NAME", "the delivery table's name")?;
        let queue = needed(&get, "DELIVERY_QUEUE_URL", "the delivery queue's URL")?;
        Ok(State {
            outbox: Outbox {
                store: Store::with_long_limits(&sdk, &config.table, config.ttl_days),
                table: DeliveryTable::new(&sdk, &table),
                doorbells: Doorbells::new(&sdk, &queue),
                since: Default::default(),
            },
            destinations: SecretsCache::from_env(PART, &sdk, &get, Clock::System).with_max_age(MAX_AGE),
            clock: Clock::System,
        })
    }
}

/// Handles a batch. The response names the change from which Lambda repeats it.
pub async fn handle(batch: StreamBatch, state: &State) -> BatchResponse {
    let started = Instant::now();
    let destinations = state.destinations.get().await;
    let Some(destinations) = destinations.filter(|destinations| !destinations.are_unreadable()) else {
        // Without them it is not known which deliveries to add.
        tracing::error!(function = FUNCTION, "the destinations could not be loaded; Lambda retries the batch");
        let first = batch.records.into_iter().next();
        let failure = first.map(|change| ItemFailure { sequence_number: change.dynamodb.sequence_number });
        return BatchResponse { failures: failure.into_iter().collect() };
    };
    let added = state.outbox.add(&batch, &destinations, state.clock.now()).await;
    let (changes, deliveries) = (batch.records.len(), added.deliveries);
    let ms = gatehouse_receiver::log::milliseconds(started.elapsed());
    match added.error {
        Some(error) => tracing::error!(
            function = FUNCTION,
            changes,
            deliveries,
            ms,
            error,
            "deliveries could not be added; Lambda retries the batch"
        ),
        None => tracing::debug!(function = FUNCTION, changes, deliveries, ms, "batch"),
    }
    added.response
}
