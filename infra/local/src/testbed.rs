//! A stack with in-memory engines and a fault proxy in front of each, for tests.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::path::Path;
use std::time::Duration;

use gatehouse_inbox::queue::Queues;
use gatehouse_inbox::{Inbox, Store};
use gatehouse_payload::event::BODY_LIMIT;
use gatehouse_receiver::{Receiver, Redaction, SecretsCache, Skip};
use gatehouse_runtime::{Clock, Random};

use gatehouse_vendor::Vendor;
use gatehouse_vendors::development;

use crate::engine::{Engine, FREE, bind};
use crate::runtime_api::Host;
use crate::services::{QUEUE_MAX_BYTES, Services};
use crate::{Error, FaultProxy, Options, Stack, local_sdk};

/// A running stack whose functions use DynamoDB and SQS through fault proxies; it stops when dropped.
#[derive(Debug)]
pub struct Testbed {
    stack: Stack,
    /// The functions' proxy to DynamoDB.
    pub dynamodb: FaultProxy,
    /// The functions' proxy to SQS.
    pub sqs: FaultProxy,
    _engines: [Engine; 2],
}

impl Testbed {
    /// Starts engines, proxies and stack on free loopback ports.
    ///
    /// # Errors
    /// If a part does not start.
    pub async fn start(options: Options) -> Result<Testbed, Error> {
        let engines = [Engine::dynamodb(FREE, None).await?, Engine::sqs(FREE, None).await?];
        let dynamodb = FaultProxy::start(engines[0].address).await?;
        let sqs = FaultProxy::start(engines[1].address).await?;
        let through = Some(Services::embedded(&dynamodb.url(), &sqs.url()));
        let services = Services::embedded(&engines[0].url(), &engines[1].url());
        let stack = Stack::start(Options { through, ..options }, services, bind(FREE).await?).await?;
        // Creating the stack made requests; tests count only the requests for events.
        dynamodb.reset_counts();
        Ok(Testbed { stack, dynamodb, sqs, _engines: engines })
    }

    /// Creates an inbox like that of the stack's functions.
    #[must_use]
    pub fn inbox(&self, clock: Clock) -> Inbox {
        let (dynamodb, sqs) = (local_sdk(&self.dynamodb.url()), local_sdk(&self.sqs.url()));
        Inbox {
            store: Store::new(&dynamodb, &self.table, 90),
            queues: Queues::new(&sqs, QUEUE_MAX_BYTES),
            retry_queue: Some(self.retry_queue.clone()),
            dead_letter_queue: Some(self.dead_letter_queue.clone()),
            clock,
            random: Random::System,
        }
    }

    /// Returns the receiver of a webhook function, with the development secrets.
    ///
    /// # Errors
    /// If the development document is not JSON.
    pub fn receiver<V: Vendor>(&self, vendor: V) -> Result<Receiver<V>, Error> {
        self.receiver_with(vendor, development())
    }

    /// Returns the receiver of a webhook function, with the secrets of `document`.
    ///
    /// # Errors
    /// If the document is not a JSON object.
    pub fn receiver_with<V: Vendor>(&self, vendor: V, document: &str) -> Result<Receiver<V>, Error> {
        let secrets = SecretsCache::fixed(vendor.profile().secrets, document, true, Clock::System)?;
        Ok(Receiver {
            vendor,
            inbox: self.inbox(Clock::System),
            secrets,
            redaction: Redaction::default(),
            skip: Skip::default(),
            body_limit: BODY_LIMIT,
        })
    }

    /// Starts a function binary that uses this stack. `overrides` adds or replaces environment variables.
    ///
    /// # Errors
    /// If the binary cannot be started.
    pub async fn host(
        &self,
        binary: impl AsRef<Path>,
        timeout: Duration,
        overrides: &[(&str, &str)],
    ) -> Result<Host, Error> {
        let environment = self.environment();
        let variables = environment.iter().map(|(name, value)| (*name, value.as_str()));
        let timeout_ms = i64::try_from(timeout.as_millis())?;
        Host::start(binary, variables.chain(overrides.iter().copied()), timeout_ms).await
    }

    /// Returns the environment variables of a function binary that uses this stack.
    #[must_use]
    pub fn environment(&self) -> BTreeMap<&'static str, String> {
        BTreeMap::from([
            ("TABLE_NAME", self.table.clone()),
            ("RETRY_QUEUE_URL", self.retry_queue.clone()),
            ("DEAD_LETTER_QUEUE_URL", self.dead_letter_queue.clone()),
            ("QUEUE_MAX_BYTES", QUEUE_MAX_BYTES.to_string()),
            ("GATEHOUSE_SECRETS", development().to_owned()),
            ("AWS_SAM_LOCAL", "true".to_owned()),
            ("AWS_ENDPOINT_URL_DYNAMODB", self.dynamodb.url()),
            ("AWS_ENDPOINT_URL_SQS", self.sqs.url()),
        ])
    }
}

impl Deref for Testbed {
    type Target = Stack;

    fn deref(&self) -> &Stack {
        &self.stack
    }
}
