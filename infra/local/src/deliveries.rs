//! Runs the functions outbox and deliver: the event sources of the table's stream and of the delivery queues, and the
//! timer.

use std::sync::Arc;
use std::time::Duration;

use aws_lambda_events::sqs::SqsEvent;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use gatehouse_deliveries::deliver::{Deliverer, SlowLimits};
use gatehouse_deliveries::doorbell::Doorbells;
use gatehouse_deliveries::lane::Lane;
use gatehouse_deliveries::outbox::StreamBatch;
use gatehouse_deliveries::send::{CONNECT_TIMEOUT, Sender};
use gatehouse_deliveries::{DeliveryTable, Destinations, Outbox, PART};
use gatehouse_egress::{ScopedClient, Tls};
use gatehouse_inbox::Store;
use gatehouse_inbox::queue::Queues;
use gatehouse_receiver::{Deadline, SecretsCache};
use gatehouse_runtime::Random;
use gatehouse_runtime::aws::function_config;
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;

use crate::Error;
use crate::event_source::QueueSource;
use crate::services::Services;
use crate::stack::Options;
use crate::status::About;
use crate::table_stream::{POLL_INTERVAL, TableStream};

/// The largest number of full batches that are handled at the same time: the template's `MaximumConcurrency` for the
/// delivery queue and the slow delivery queue.
const MAX_CONCURRENCY: [usize; 2] = [20, 5];
/// The largest number of doorbells in a batch: the template's `BatchSize`.
const BATCH: u32 = 10;
/// How often the sweep runs. In AWS, it runs each minute.
const SWEEP_EVERY: Duration = Duration::from_secs(2);
/// How long a doorbell takes if its server responds at once.
const DOORBELL_TIME: Duration = Duration::from_millis(5);
/// Pause before a failed request is repeated.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// The key of the item with the position in the stream, which Lambda stores itself.
const CHECKPOINT: (&str, &str) = ("stream", "checkpoint");

/// The functions that deliver events.
#[derive(Debug, Clone)]
pub struct Deliveries {
    /// The function outbox.
    pub outbox: Arc<outbox::State>,
    /// The function deliver.
    pub deliver: Arc<deliver::State>,
    services: Services,
    /// The delivery queue and the slow delivery queue.
    sources: [QueueSource; 2],
    event_table: String,
    delivery_table: String,
}

impl Deliveries {
    /// Creates the functions.
    ///
    /// # Errors
    /// If the secrets document is not a JSON object, or the machine has no root certificates.
    pub(crate) fn new(options: &Options, services: &Services, about: &About) -> Result<Deliveries, Error> {
        let destinations = || -> Result<SecretsCache<Destinations>, Error> {
            match options.destinations_file.as_ref().filter(|_| options.secrets_file.is_none()) {
                Some(file) => Ok(SecretsCache::file(PART, file.clone(), options.clock.clone())),
                None => options.secrets_cache(PART),
            }
        };
        let store = Store::with_long_limits(&services.dynamodb, &about.table, options.ttl_days);
        let table = DeliveryTable::new(&services.dynamodb, &about.delivery_table);
        let doorbells = Doorbells::new(&services.sqs, &about.delivery_queue);
        let clock = options.clock.clone();
        let (own_table, own_doorbells, since) = (table.clone(), doorbells.clone(), Default::default());
        let outbox = Outbox { store: store.clone(), table: own_table, doorbells: own_doorbells, since };
        let http = ScopedClient::new(&Tls::native()?, CONNECT_TIMEOUT);
        let deliverer = Deliverer {
            store,
            table,
            // Lambda functions and queues of AWS are reached with the user's credentials, as services are.
            sender: Sender::new(http, function_config(), true).with_local_queues(&services.sqs),
            doorbells,
            slow_doorbells: Doorbells::of_slow(&services.sqs, &about.slow_delivery_queue),
            slow_limits: SlowLimits::default(),
            clock: clock.clone(),
            random: Random::System,
            states: Default::default(),
        };
        let queues = Queues::new(&services.sqs, services.queue_max_bytes);
        let source = |queue: &String| QueueSource {
            client: services.sqs_client(),
            queue: queue.clone(),
            visibility: deliver::TIMEOUT,
        };
        Ok(Deliveries {
            outbox: Arc::new(outbox::State { outbox, destinations: destinations()?, clock }),
            deliver: Arc::new(deliver::State { deliverer, queues, destinations: destinations()? }),
            sources: [&about.delivery_queue, &about.slow_delivery_queue].map(source),
            services: services.clone(),
            event_table: about.table.clone(),
            delivery_table: about.delivery_table.clone(),
        })
    }

    /// Runs the functions in the background, until the returned task is aborted.
    pub(crate) fn run(self) -> JoinHandle<()> {
        tokio::spawn(async move {
            // Before anything is sent: it releases all leases.
            while let Err(error) = self.recover().await {
                tracing::warn!(%error, "the delivery table cannot be read; retrying");
                sleep(RETRY_PAUSE * 10).await;
            }
            let [usual, slow] = &self.sources;
            tokio::join!(
                self.read_stream(),
                self.answer_doorbells(usual, MAX_CONCURRENCY[0]),
                self.answer_doorbells(slow, MAX_CONCURRENCY[1]),
                self.sweep_forever()
            );
        })
    }

    /// Passes the changes of the table to the outbox, batch after batch.
    async fn read_stream(&self) {
        let mut stream = loop {
            match self.open_stream().await {
                Ok(stream) => break stream,
                Err(error) => {
                    tracing::warn!(%error, "the stream of the table cannot be read; retrying");
                    sleep(RETRY_PAUSE * 10).await;
                }
            }
        };
        let mut is_failing = false;
        loop {
            match self.take_changes(&mut stream).await {
                Ok(0) => sleep(POLL_INTERVAL).await,
                Ok(_) => {}
                Err(error) => {
                    if !is_failing {
                        tracing::warn!(%error, "the stream of the table could not be processed; retrying");
                    }
                    is_failing = true;
                    sleep(RETRY_PAUSE).await;
                    continue;
                }
            }
            is_failing = false;
        }
    }

    /// Opens the stream where an earlier run ended.
    async fn open_stream(&self) -> Result<TableStream, Error> {
        let mut stream = TableStream::open(&self.services.dynamodb, &self.event_table).await?;
        let get = self.dynamodb().get_item().table_name(&self.delivery_table).set_key(Some(checkpoint_key()));
        let checkpoint = get.send().await?.item.unwrap_or_default();
        if let Some(AttributeValue::S(number)) = checkpoint.get("sequence_number") {
            stream.continue_after(number).await;
        }
        Ok(stream)
    }

    /// Passes one batch to the outbox. Returns its number of changes.
    ///
    /// # Errors
    /// If the stream cannot be read, or the outbox has reported a failure. The batch is then repeated.
    pub async fn take_changes(&self, stream: &mut TableStream) -> Result<usize, Error> {
        let batch: StreamBatch = stream.next().await?;
        let Some(last) = batch.records.last().map(|change| change.dynamodb.sequence_number.clone()) else {
            return Ok(0);
        };
        let changes = batch.records.len();
        let response = outbox::handle(batch, &self.outbox).await;
        if !response.failures.is_empty() {
            stream.go_back(&response).await?;
            return Err("the outbox has reported a failure".into());
        }
        let mut item = checkpoint_key();
        item.insert("sequence_number".to_owned(), AttributeValue::S(last));
        self.dynamodb().put_item().table_name(&self.delivery_table).set_item(Some(item)).send().await?;
        Ok(changes)
    }

    /// Passes the doorbells of a queue to the function deliver, several batches at the same time: a server that does
    /// not answer must not delay the others.
    async fn answer_doorbells(&self, source: &QueueSource, max_concurrency: usize) {
        let free = Arc::new(Semaphore::new(max_concurrency * BATCH as usize));
        let mut batches = JoinSet::new();
        let mut is_failing = false;
        loop {
            while batches.try_join_next().is_some() {}
            // Nobody closes the semaphore.
            let Ok(mut permits) = free.clone().acquire_many_owned(BATCH).await else { return };
            match source.receive(Duration::from_secs(1)).await {
                Ok(Some(event)) => {
                    let (deliveries, source) = (self.clone(), source.clone());
                    drop(permits.split((BATCH as usize).saturating_sub(event.records.len())));
                    batches.spawn(async move {
                        deliveries.answer(event, &source).await;
                        drop(permits);
                    });
                    is_failing = false;
                }
                Ok(None) => is_failing = false,
                Err(error) => {
                    if !is_failing {
                        tracing::warn!(%error, "receiving from a delivery queue failed; retrying");
                    }
                    is_failing = true;
                    sleep(RETRY_PAUSE).await;
                }
            }
        }
    }

    /// Passes a batch to the function deliver. What it does not settle rings again.
    async fn answer(&self, event: SqsEvent, source: &QueueSource) {
        let response = deliver::handle_batch(event.clone(), &self.deliver, Deadline::within(deliver::TIMEOUT)).await;
        if let Err(error) = source.settle(event, &response).await {
            tracing::warn!(%error, "a batch of a delivery queue could not be deleted; it is repeated");
        }
    }

    async fn sweep_forever(&self) {
        loop {
            let rung =
                deliver::sweep(&self.deliver, Deadline::within(deliver::TIMEOUT)).await.unwrap_or_else(|error| {
                    tracing::warn!(%error, "the sweep of the delivery table failed; retrying");
                    0
                });
            // Otherwise the next sweep would ring again for lanes whose doorbells still wait.
            let all = DOORBELL_TIME.saturating_mul(u32::try_from(rung).unwrap_or(u32::MAX));
            sleep(SWEEP_EVERY.max(all)).await;
        }
    }

    /// Releases all leases, and rings for everything that waits: the senders of an earlier run do not exist any more.
    async fn recover(&self) -> Result<(), Error> {
        let scan = self.dynamodb().scan().table_name(&self.delivery_table).consistent_read(true);
        let mut items = scan.into_paginator().items().send();
        let mut lanes: Vec<Lane> = Vec::new();
        while let Some(item) = items.next().await {
            let item = item?;
            let text = |name: &str| item.get(name).and_then(|value| value.as_s().ok()).cloned().unwrap_or_default();
            let Ok(lane) = text("lane").parse::<Lane>() else { continue };
            if text("row") == "lease" {
                self.deliver.deliverer.table.break_lease(&lane).await?;
            } else if text("state") == "waiting" {
                lanes.push(lane);
            }
        }
        lanes.sort();
        lanes.dedup();
        // It is not known yet how many destinations there are.
        match self.deliver.deliverer.doorbells.ring(&lanes, true, true).await.into_iter().next() {
            Some((_, error)) => Err(error.into()),
            None => Ok(()),
        }
    }

    fn dynamodb(&self) -> Client {
        self.services.dynamodb_client()
    }
}

fn checkpoint_key() -> std::collections::HashMap<String, AttributeValue> {
    let (lane, row) = CHECKPOINT;
    [("lane", lane), ("row", row)].map(|(name, value)| (name.to_owned(), AttributeValue::S(value.to_owned()))).into()
}
