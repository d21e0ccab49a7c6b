//! Fuzzes the receiver: it never answers with 5xx. If the scheme signs bodies, it records signed requests only.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use gatehouse_inbox::queue::Queues;
use gatehouse_inbox::{Inbox, Store};
use gatehouse_payload::event::BODY_LIMIT;
use gatehouse_payload::time::Timestamp;
use gatehouse_receiver::{Deadline, Receiver, Redaction, SecretsCache, Skip};
use gatehouse_runtime::{Clock, Random};
use gatehouse_vendor::Source;
use gatehouse_vendors::AnyVendor;

use super::delivery::Delivery;

/// A DynamoDB client that counts requests and answers each one with success.
#[derive(Debug, Clone, Default)]
struct Table(Arc<AtomicUsize>);

impl HttpConnector for Table {
    fn call(&self, _: HttpRequest) -> HttpConnectorFuture {
        self.0.fetch_add(1, Ordering::Relaxed);
        let ok = http::StatusCode::OK.into();
        HttpConnectorFuture::ready(Ok(HttpResponse::new(ok, SdkBody::from("{}"))))
    }
}

impl HttpClient for Table {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

fn receiver(source: &'static dyn Source, document: &str, table: &Table, clock: Clock) -> Receiver<AnyVendor> {
    let credentials = Credentials::new("fuzz", "fuzz", None, None, "fuzz");
    let sdk = SdkConfig::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::from_static("eu-north-1"))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .http_client(table.clone())
        .build();
    let inbox = Inbox {
        store: Store::new(&sdk, "EventTable", 90),
        queues: Queues::new(&sdk, 1024 * 1024),
        retry_queue: None,
        dead_letter_queue: None,
        clock: clock.clone(),
        random: Random::System,
    };
    let secrets = SecretsCache::fixed(source.profile().secrets, document, false, clock).expect("the document is JSON");
    Receiver {
        vendor: AnyVendor(source),
        inbox,
        secrets,
        redaction: Redaction::default(),
        skip: Skip::default(),
        body_limit: BODY_LIMIT,
    }
}

/// Sends the request to a receiver and checks the response.
pub fn check(input: &[u8]) {
    let now = Timestamp::clamped(1_795_000_000_000);
    let Some(delivery) = Delivery::read(input, now) else { return };
    let (is_signed, signs) = (delivery.signature.is_some(), delivery.scheme.signs);
    let table = Table::default();
    let receiver = receiver(delivery.scheme.source, &delivery.scheme.document, &table, Clock::manual(now));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime can be built");
    let deadline = Deadline::within(Duration::from_secs(10));
    let response = runtime.block_on(receiver.receive(delivery.request, deadline));
    let (status, writes) = (response.status().as_u16(), table.0.load(Ordering::Relaxed));
    assert!([200, 400, 401, 404, 405, 413, 415].contains(&status), "{status}");
    assert_eq!(status == 200, writes > 0, "{status} with {writes} writes");
    assert!(is_signed || !signs || writes == 0, "an unsigned request was recorded");
    assert!(serde_json::from_str::<serde_json::Value>(response.body()).is_ok());
}
