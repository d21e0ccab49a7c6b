//! Sends the deliveries of the lanes that doorbells name. The lanes of a batch are handled concurrently. Each minute, a
//! sweep rings for the deliveries that are due again, and a log line reports each destination that gets nothing.

use std::time::Duration;

use aws_lambda_events::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent, SqsMessage};
use futures_util::future::join_all;
use gatehouse_deliveries::deliver::{Deliverer, Report, Rung, SlowLimits, Stopped};
use gatehouse_deliveries::destination::MAX_AGE;
use gatehouse_deliveries::doorbell::{Doorbell, Doorbells};
use gatehouse_deliveries::send::{CONNECT_TIMEOUT, Sender};
use gatehouse_deliveries::table::State as DeliveryState;
use gatehouse_deliveries::{DeliveryTable, Destinations, PART};
use gatehouse_egress::{ScopedClient, Tls};
use gatehouse_inbox::Store;
use gatehouse_inbox::queue::Queues;
use gatehouse_receiver::log::{OUTCOME_TARGET, is_word, milliseconds};
use gatehouse_receiver::{Deadline, SecretsCache};
use gatehouse_runtime::config::{ConfigError, needed};
use gatehouse_runtime::{Clock, Config, Random};
use serde_json::Value;
use tokio::time::Instant;

/// The function's name.
pub const FUNCTION: &str = "deliver";
/// The function's timeout in the template.
pub const TIMEOUT: Duration = Duration::from_secs(60);
/// The visibility timeout of the delivery queues in the template.
pub const VISIBILITY: Duration = Duration::from_secs(360);
/// The remaining time at which nothing more is begun. It suffices to respond.
const STOP_BEFORE: Duration = Duration::from_secs(2);

/// The state that an instance keeps between invocations.
#[derive(Debug)]
pub struct State {
    /// Sends deliveries.
    pub deliverer: Deliverer,
    /// Hides doorbells.
    pub queues: Queues,
    /// The destinations in the secrets document.
    pub destinations: SecretsCache<Destinations>,
}

/// Why the function cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A variable is missing or invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The machine has no root certificates.
    #[error("no root certificates: {0}")]
    Tls(#[from] std::io::Error),
}

impl State {
    /// Builds the state from the environment variables.
    ///
    /// # Errors
    /// If a variable is missing or invalid, or the machine has no root certificates.
    pub fn from_env() -> Result<Self, StartError> {
        let get = |name: &str| std::env::var(name).ok();
        let config = Config::read(&get)?;
        let sdk = gatehouse_runtime::aws::function_config();
        let table = needed(&get, "DELIVERY_TABLE_NAME", "the delivery table's name")?;
        let queue = needed(&get, "DELIVERY_QUEUE_URL", "the delivery queue's URL")?;
        let slow_queue = needed(&get, "SLOW_DELIVERY_QUEUE_URL", "the slow delivery queue's URL")?;
        let http = ScopedClient::new(&Tls::native()?, CONNECT_TIMEOUT);
        Ok(State {
            deliverer: Deliverer {
                store: Store::with_long_limits(&sdk, &config.table, config.ttl_days),
                table: DeliveryTable::new(&sdk, &table),
                sender: Sender::new(http, sdk.clone(), false),
                doorbells: Doorbells::new(&sdk, &queue),
                slow_doorbells: Doorbells::of_slow(&sdk, &slow_queue),
                slow_limits: SlowLimits::default(),
                clock: Clock::System,
                random: Random::System,
                states: Default::default(),
            },
            queues: Queues::new(&sdk, config.queue_max_bytes),
            destinations: SecretsCache::from_env(PART, &sdk, &get, Clock::System).with_max_age(MAX_AGE),
        })
    }
}

/// Why an invocation failed. Lambda repeats it.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The event is neither a batch nor the timer's.
    #[error("the event is neither a batch of a delivery queue nor a sweep")]
    Event,
    /// The destinations could not be loaded.
    #[error("the destinations could not be loaded")]
    Destinations,
    /// The sweep failed. Contains the reason.
    #[error("the sweep failed: {0}")]
    Sweep(String),
}

/// Handles a batch of a delivery queue, or the timer's event, which is any object without `Records`.
///
/// # Errors
/// If the event is of another form, or the destinations cannot be read, or a sweep fails.
pub async fn handle(event: Value, state: &State, deadline: Deadline) -> Result<SqsBatchResponse, Failure> {
    if event.get("Records").is_some() {
        let batch: SqsEvent = serde_json::from_value(event).map_err(|_| Failure::Event)?;
        return Ok(handle_batch(batch, state, deadline).await);
    }
    let reported = report_stopped(state).await;
    sweep(state, deadline).await?;
    reported?;
    Ok(SqsBatchResponse::default())
}

/// Handles a batch of a delivery queue. The response lists the doorbells that must ring again.
pub async fn handle_batch(batch: SqsEvent, state: &State, deadline: Deadline) -> SqsBatchResponse {
    let destinations = state.destinations.get().await;
    let destinations = destinations.as_deref();
    let done = join_all(batch.records.iter().map(|message| async {
        match destinations {
            Some(destinations) => answer(message, state, destinations, deadline).await,
            None => {
                tracing::error!(
                    function = FUNCTION,
                    "the destinations could not be loaded; SQS redelivers the message"
                );
                false
            }
        }
    }));
    let mut response = SqsBatchResponse::default();
    for (message, is_done) in batch.records.iter().zip(done.await) {
        if !is_done {
            let mut failure = BatchItemFailure::default();
            failure.item_identifier = message.message_id.clone().unwrap_or_default();
            response.batch_item_failures.push(failure);
        }
    }
    response
}

/// Handles a doorbell. Returns whether it is done.
async fn answer(message: &SqsMessage, state: &State, destinations: &Destinations, deadline: Deadline) -> bool {
    let Some(mut doorbell) = Doorbell::read(message.body.as_deref().unwrap_or_default()) else {
        tracing::error!(function = FUNCTION, "a message on a delivery queue names no lane; it is dropped");
        return true;
    };
    let receives = message.attributes.get("ApproximateReceiveCount").and_then(|count| count.parse::<u32>().ok());
    doorbell.is_whole |= receives.is_none_or(|receives| receives > 1);
    let until = deadline.instant().checked_sub(STOP_BEFORE).unwrap_or_else(Instant::now);
    match state.deliverer.drain(&doorbell, destinations, until, &log).await {
        Ok(Rung::Done) => true,
        Ok(Rung::Again(pause)) => {
            hide(message, state, state.deliverer.doorbells_of(doorbell.is_slow), pause).await;
            false
        }
        Err(error) => {
            let (destination, message) = (
                doorbell.lane.destination(),
                "a lane could not be read, changed or passed on; SQS redelivers its message",
            );
            tracing::warn!(function = FUNCTION, destination, %error, message);
            false
        }
    }
}

/// Hides a doorbell until it must ring again. If SQS does not accept the change, it rings after the queue's visibility
/// timeout.
async fn hide(message: &SqsMessage, state: &State, doorbells: &Doorbells, pause: Duration) {
    let Some(handle) = message.receipt_handle.as_deref() else { return };
    if let Err(error) = state.queues.hide(doorbells.queue(), handle, pause).await {
        let message = "the visibility of a message could not be changed; it returns after the queue's timeout";
        tracing::warn!(function = FUNCTION, %error, message);
    }
}

/// Writes a log line for each destination that gets nothing now.
async fn report_stopped(state: &State) -> Result<(), Failure> {
    let destinations = state.destinations.get().await.ok_or(Failure::Destinations)?;
    let stopped = state.deliverer.stopped(&destinations).await;
    for (destination, why) in stopped.map_err(|error| Failure::Sweep(error.to_string()))? {
        let (name, failures) = (destination.name.as_str(), destination.failures);
        let failing_since = destination.failing_since.map(|since| since.to_string());
        let (stopped, reason) = match why {
            Stopped::Disabled => ("disabled", destination.disabled.as_deref().unwrap_or_default()),
            Stopped::Failing => ("failing", "the last attempts failed"),
            Stopped::Unusable => ("unusable", "its entry in the secrets document has a defect"),
        };
        tracing::warn!(
            target: OUTCOME_TARGET, function = FUNCTION, stopped, destination = name, reason, failures, failing_since,
            "destination"
        );
    }
    Ok(())
}

/// Rings for the deliveries that are due again.
///
/// # Errors
/// If DynamoDB, SQS or Secrets Manager does not respond.
pub async fn sweep(state: &State, deadline: Deadline) -> Result<usize, Failure> {
    let destinations = state.destinations.get().await.ok_or(Failure::Destinations)?;
    let until = deadline.instant().checked_sub(STOP_BEFORE).unwrap_or_else(Instant::now);
    let rung = state.deliverer.sweep(&destinations, until).await;
    rung.map_err(|error| Failure::Sweep(error.to_string()))
}

/// Writes the log line of an attempt.
fn log(report: &Report<'_>) {
    let delivery = report.delivery;
    let (destination, event_id) = (delivery.lane.destination(), delivery.event_key.as_str());
    let event_type = delivery.event_type.as_deref().filter(|name| is_word(name));
    let subject = delivery.subject.as_deref();
    let (attempt, status, reason) = (delivery.attempts, delivery.status, delivery.reason.as_deref());
    let (state, ms) = (delivery.state.as_str(), milliseconds(report.took));
    if report.is_aborted {
        tracing::info!(
            target: OUTCOME_TARGET, function = FUNCTION, destination, event_id, subject, ms,
            "the destination is slow; the aborted attempt is repeated from the slow delivery queue"
        );
        return;
    }
    if delivery.state == DeliveryState::Dead {
        tracing::error!(
            target: OUTCOME_TARGET, function = FUNCTION, delivery = state, ms, destination, event_type, event_id,
            subject, attempt, status, reason, "delivery"
        );
    } else {
        tracing::info!(
            target: OUTCOME_TARGET, function = FUNCTION, delivery = state, ms, destination, event_type, event_id,
            subject, attempt, status, reason, "delivery"
        );
    }
}
