//! A front function's door whose DynamoDB is a constant: what is left is Gatehouse's own work, from request to answer,
//! the SDK's signing and encoding included.

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
use gatehouse_edge::scheme::Parts;
use gatehouse_edge::secrets::{DEVELOPMENT, Secrets, SecretsCache};
use gatehouse_edge::{Deadline, Endpoint, Receiver, Redaction, Skip, Source};
use gatehouse_inbox::event::BODY_LIMIT;
use gatehouse_inbox::queue::Queues;
use gatehouse_inbox::{Clock, Inbox, Store};
use http::{HeaderMap, Method, Request};

use crate::Error;

/// A store that takes everything.
#[derive(Debug, Clone)]
struct Taken;

impl HttpClient for Taken {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(Taken)
    }
}

impl HttpConnector for Taken {
    fn call(&self, _: HttpRequest) -> HttpConnectorFuture {
        HttpConnectorFuture::ready(Ok(HttpResponse::new(http::StatusCode::OK.into(), SdkBody::from("{}"))))
    }
}

/// A store and a queue that take everything.
#[must_use]
pub fn inbox() -> Inbox {
    let credentials = Credentials::new("guard", "guard", None, None, "guard");
    let sdk = SdkConfig::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new("us-east-1"))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .http_client(SharedHttpClient::new(Taken))
        .build();
    Inbox {
        store: Store::new(&sdk, "EventTable", 90),
        queues: Queues::new(&sdk, 1_048_576),
        retry_queue: None,
        clock: Clock::System,
    }
}

/// The door, with the development secrets.
///
/// # Errors
/// When the development document cannot be read.
pub fn door() -> Result<Receiver, Error> {
    Ok(Receiver {
        inbox: inbox(),
        secrets: SecretsCache::fixed(DEVELOPMENT, true, Clock::System)?,
        redaction: Redaction::default(),
        skip: Skip::default(),
        body_limit: BODY_LIMIT,
    })
}

/// A signed request.
///
/// # Errors
/// When the development document has no secret for the source.
pub fn request(source: Source, body: &Bytes) -> Result<Request<Bytes>, Error> {
    let secrets = Secrets::parse(DEVELOPMENT, true)?;
    let parts = Parts { method: &Method::POST, headers: &HeaderMap::new(), body };
    let signature = source.sign(parts, &secrets, "msg_guard", Clock::System.now()).ok_or("nothing to sign with")?;
    let mut request = Request::post("/").header("content-type", "application/json");
    for (name, value) in signature {
        request = request.header(name, value);
    }
    Ok(request.body(body.clone())?)
}

/// Receives a request.
///
/// # Errors
/// When it is not recorded.
pub async fn receive(door: &Receiver, source: Source, request: Request<Bytes>) -> Result<(), Error> {
    let endpoint = Endpoint { function: "guard", paths: &["/"], source };
    let answer = door.receive(&endpoint, request, Deadline::within(Duration::from_secs(10))).await;
    let outcome = answer.headers().get("gatehouse-outcome").and_then(|outcome| outcome.to_str().ok());
    if outcome == Some("recorded") { Ok(()) } else { Err(format!("the event is {outcome:?}").into()) }
}
