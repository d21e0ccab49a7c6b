//! A receiver whose DynamoDB client returns a constant. A measurement contains Gatehouse's own work from request to
//! response, including the SDK's signing and encoding, but no network.

use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use gatehouse_inbox::queue::Queues;
use gatehouse_inbox::{Inbox, Store};
use gatehouse_payload::event::BODY_LIMIT;
use gatehouse_receiver::{Deadline, Receiver, Redaction, SecretsCache, Skip};
use gatehouse_runtime::{Clock, Random};
use gatehouse_vendor::{Parts, Source, Vendor};
use gatehouse_vendors::{Secrets, development};
use http::{HeaderMap, Method, Request};

use crate::Error;

/// An HTTP client that answers every request with success.
#[derive(Debug, Clone)]
struct AlwaysOk;

impl HttpClient for AlwaysOk {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(AlwaysOk)
    }
}

impl HttpConnector for AlwaysOk {
    fn call(&self, _: HttpRequest) -> HttpConnectorFuture {
        HttpConnectorFuture::ready(Ok(HttpResponse::new(http::StatusCode::OK.into(), SdkBody::from("{}"))))
    }
}

/// An inbox whose table and queue accept everything.
#[must_use]
pub fn inbox() -> Inbox {
    let credentials = Credentials::new("guard", "guard", None, None, "guard");
    let sdk = SdkConfig::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new("us-east-1"))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .http_client(SharedHttpClient::new(AlwaysOk))
        .build();
    Inbox {
        store: Store::new(&sdk, "EventTable", 90),
        queues: Queues::new(&sdk, 1_048_576),
        retry_queue: None,
        dead_letter_queue: None,
        clock: Clock::System,
        random: Random::System,
    }
}

/// A receiver with the development secrets.
///
/// # Errors
/// Fails if the development secrets cannot be parsed.
pub fn receiver<V: Vendor>(vendor: V) -> Result<Receiver<V>, Error> {
    Ok(Receiver {
        inbox: inbox(),
        secrets: SecretsCache::fixed(vendor.profile().secrets, development(), true, Clock::System)?,
        vendor,
        redaction: Redaction::default(),
        skip: Skip::default(),
        body_limit: BODY_LIMIT,
    })
}

/// A signed request.
///
/// # Errors
/// Fails if the development secrets have none for the source.
pub fn request(source: &dyn Source, body: &Bytes) -> Result<Request<Bytes>, Error> {
    let secrets = Secrets::parse(development(), true)?;
    let parts = Parts { method: &Method::POST, headers: &HeaderMap::new(), body };
    let signature = secrets
        .of(source)
        .and_then(|credentials| credentials.sign(parts, "msg_guard", Clock::System.now()))
        .ok_or("the development secrets have none for this source")?;
    let path = source.profile().paths.first().copied().unwrap_or("/");
    let mut request = Request::post(path).header("content-type", "application/json");
    for (name, value) in signature {
        request = request.header(name, value);
    }
    Ok(request.body(body.clone())?)
}

/// Passes a request to the receiver.
///
/// # Errors
/// Fails if the event is not recorded.
pub async fn receive<V: Vendor>(receiver: &Receiver<V>, request: Request<Bytes>) -> Result<(), Error> {
    let answer = receiver.receive(request, Deadline::within(Duration::from_secs(10))).await;
    let outcome = answer.headers().get("gatehouse-outcome").and_then(|outcome| outcome.to_str().ok());
    if outcome == Some("recorded") { Ok(()) } else { Err(format!("the event is not recorded but {outcome:?}").into()) }
}
