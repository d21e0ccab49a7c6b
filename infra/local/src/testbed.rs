//! A stack on engines of its own, in memory, with a fault proxy before each.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::path::Path;
use std::time::Duration;

use gatehouse_edge::secrets::{DEVELOPMENT, SecretsCache};
use gatehouse_edge::{Receiver, Redaction, Skip};
use gatehouse_inbox::event::BODY_LIMIT;
use gatehouse_inbox::queue::Queues;
use gatehouse_inbox::{Clock, Inbox, Store};

use crate::engine::{Engine, FREE, bind};
use crate::runtime_api::Host;
use crate::services::{QUEUE_MAX_BYTES, Services};
use crate::{Error, FaultProxy, Options, Stack, local_sdk};

/// A stack whose functions see DynamoDB and SQS through proxies; it stops when dropped.
#[derive(Debug)]
pub struct Testbed {
    stack: Stack,
    /// What the functions see of DynamoDB.
    pub dynamodb: FaultProxy,
    /// What the functions see of SQS.
    pub sqs: FaultProxy,
    _engines: [Engine; 2],
}

impl Testbed {
    /// Starts engines, proxies and stack on free loopback ports.
    ///
    /// # Errors
    /// When a part does not start.
    pub async fn start(options: Options) -> Result<Testbed, Error> {
        let engines = [Engine::dynamodb(FREE, None).await?, Engine::sqs(FREE, None).await?];
        let dynamodb = FaultProxy::start(engines[0].address).await?;
        let sqs = FaultProxy::start(engines[1].address).await?;
        let through = Some(Services::embedded(&dynamodb.url(), &sqs.url()));
        let services = Services::embedded(&engines[0].url(), &engines[1].url());
        let stack = Stack::start(Options { through, ..options }, services, bind(FREE).await?).await?;
        // What counts is what events cost.
        dynamodb.forget();
        Ok(Testbed { stack, dynamodb, sqs, _engines: engines })
    }

    /// Records as its functions do.
    #[must_use]
    pub fn inbox(&self, clock: Clock) -> Inbox {
        let (dynamodb, sqs) = (local_sdk(&self.dynamodb.url()), local_sdk(&self.sqs.url()));
        Inbox {
            store: Store::new(&dynamodb, &self.table, 90),
            queues: Queues::new(&sqs, QUEUE_MAX_BYTES),
            retry_queue: Some(self.retry_queue.clone()),
            clock,
        }
    }

    /// A front function's door into it, with the development secrets.
    ///
    /// # Errors
    /// When the development document is no document.
    pub fn door(&self) -> Result<Receiver, Error> {
        let secrets = SecretsCache::fixed(DEVELOPMENT, true, Clock::System)?;
        Ok(Receiver {
            inbox: self.inbox(Clock::System),
            secrets,
            redaction: Redaction::default(),
            skip: Skip::default(),
            body_limit: BODY_LIMIT,
        })
    }

    /// Starts a function binary as a part of it. Of `more` variables, those that are there already are replaced.
    ///
    /// # Errors
    /// When the binary cannot be started.
    pub async fn host(
        &self,
        binary: impl AsRef<Path>,
        timeout: Duration,
        more: &[(&str, &str)],
    ) -> Result<Host, Error> {
        let environment = self.environment();
        let variables = environment.iter().map(|(name, value)| (*name, value.as_str()));
        let timeout_ms = i64::try_from(timeout.as_millis())?;
        Host::start(binary, variables.chain(more.iter().copied()), timeout_ms).await
    }

    /// What a function binary needs in its environment to be part of it.
    #[must_use]
    pub fn environment(&self) -> BTreeMap<&'static str, String> {
        BTreeMap::from([
            ("TABLE_NAME", self.table.clone()),
            ("RETRY_QUEUE_URL", self.retry_queue.clone()),
            ("DEAD_LETTER_QUEUE_URL", self.dead_letter_queue.clone()),
            ("QUEUE_MAX_BYTES", QUEUE_MAX_BYTES.to_string()),
            ("GATEHOUSE_SECRETS", DEVELOPMENT.to_owned()),
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
