//! A table in a DynamoDB behind a fault proxy, and sample events. `tests/memory` compiles this file too, with another
//! `engine`.

use aws_sdk_dynamodb::Client;
use bytes::Bytes;
use gatehouse_inbox::{Store, StoreError};
use gatehouse_local::template::Template;
use gatehouse_local::{FaultProxy, local_sdk};
use gatehouse_payload::time::Timestamp;
use gatehouse_payload::{Event, EventId, Fingerprint, Flags, Nonce, Outcome, Subject};

use crate::engine::{self, Engine};

pub(crate) const TTL_DAYS: u32 = 30;

pub(crate) struct Table {
    pub(crate) store: Store,
    pub(crate) proxy: FaultProxy,
    /// A client that bypasses the proxy.
    pub(crate) client: Client,
    _engine: Engine,
}

impl Table {
    pub(crate) const NAME: &str = "EventTable";

    pub(crate) async fn new() -> Table {
        let engine = engine::start().await;
        let client = Client::new(&local_sdk(&engine.url()));
        Template::read().unwrap().create_table(&client, Self::NAME).await.unwrap();
        let proxy = FaultProxy::start(engine.address).await.unwrap();
        // A store with long limits, because no test checks timeouts and the machine may be busy.
        let store = Store::with_long_limits(&local_sdk(&proxy.url()), Self::NAME, TTL_DAYS);
        store.warm(now()).await;
        Table { store, proxy, client, _engine: engine }
    }

    /// Records an event and returns the outcome without the answer.
    pub(crate) async fn record(&self, event: &Event, now: Timestamp) -> Result<Outcome, StoreError> {
        self.store.record(event, now).await.map(|recorded| recorded.outcome)
    }

    /// Counts the requests that `work` sends, by operation.
    pub(crate) async fn requests(&self, work: impl Future<Output = ()>) -> Vec<(String, usize)> {
        let before = self.proxy.counts();
        work.await;
        let new = |(operation, n): (String, usize)| (n - before.get(&operation).unwrap_or(&0), operation);
        self.proxy.counts().into_iter().map(new).filter(|(n, _)| *n > 0).map(|(n, operation)| (operation, n)).collect()
    }
}

pub(crate) fn now() -> Timestamp {
    Timestamp::parse("2026-11-20T09:00:00Z").unwrap()
}

/// A sample event with a new nonce.
pub(crate) fn event(id: &str, body: &str) -> Event {
    Event {
        id: EventId::new(&["test"], &[id]),
        source: "ada".to_owned(),
        event_type: Some("v1.conversation.message".to_owned()),
        subject: Some(Subject::new("ada", "conversation", "c1")),
        occurred_at: now(),
        received_at: now(),
        fingerprint: Fingerprint::of(body),
        nonce: Nonce::random().unwrap(),
        verified_by: "svix".to_owned(),
        body: Bytes::from(body.to_owned()),
        answer: None,
        asked: None,
        flags: Flags::default(),
        is_one_question: false,
    }
}

/// A body of about `bytes` bytes that hardly compresses and differs for each `seed`.
pub(crate) fn noise(seed: u64, bytes: usize) -> String {
    format!(r#"{{"noise":"{}"}}"#, gatehouse_local::delivery::noise(seed, bytes))
}
