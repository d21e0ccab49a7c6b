//! Asks services for `gatehouse replies try --ask`, and prints the requests.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use gatehouse_egress::client::ResponseFuture;
use gatehouse_egress::{ScopedClient, Tls, Transport};
use gatehouse_local::Error;
use gatehouse_payload::event::{Event, Nonce, Received};
use gatehouse_payload::json::Document;
use gatehouse_receiver::{Redaction, SecretsCache};
use gatehouse_replies::{Asker, Delivery, RuleResult, Rules, ServiceAccess, VapiMessage};
use gatehouse_runtime::Clock;
use gatehouse_services::{Client, PART};
use gatehouse_vapi::{Channel, Vapi};
use gatehouse_vendor::{Proof, Source};
use http::Request;
use tokio::time::Instant;

use crate::secrets::ServicesPlace;

/// Time limit for connecting to a service.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Time limit for the reply, if no rule asks a service.
const DECIDE_WITHIN: Duration = Duration::from_secs(2);

/// Asks services, and records the requests.
pub(super) struct Asking {
    access: ServiceAccess,
    requests: Arc<Recorder>,
}

/// Sends requests over the network, and records them.
struct Recorder {
    network: ScopedClient,
    requests: Mutex<Vec<Request<Bytes>>>,
}

impl Transport for Recorder {
    fn send(&self, request: Request<Bytes>) -> ResponseFuture {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).push(request.clone());
        let network = self.network.clone();
        // The user may ask every service that this machine reaches.
        Box::pin(async move { network.send(&request, true).await })
    }
}

impl Asking {
    pub(super) async fn new(services: &ServicesPlace) -> Result<Self, Error> {
        let missing = "there is no secrets document with services; pass --secrets FILE or --stack NAME";
        let (document, place) = services.read().await?.ok_or(missing)?;
        let sdk = services.sdk().await?;
        let services = SecretsCache::fixed(PART, &document, true, Clock::System);
        let services = services.map_err(|error| format!("{place}: {error}"))?;
        let network = ScopedClient::new(&Tls::native()?, CONNECT_TIMEOUT);
        let requests = Arc::new(Recorder { network, requests: Mutex::default() });
        let http = ScopedClient::with_client(gatehouse_egress::Client::simulated(requests.clone()));
        let client = Client::with_http(http, sdk, Clock::System, true);
        Ok(Asking { access: ServiceAccess::new(client, services), requests })
    }

    /// Decides the reply, and writes each request and how long the services took.
    pub(super) async fn decide(
        &self,
        rules: &Rules,
        channel: Channel,
        message: &VapiMessage,
        body: &[u8],
        text: &mut String,
    ) -> Result<RuleResult, Error> {
        let event = event(channel, body)?;
        let within = rules.longest_question(channel, message.message_type()).unwrap_or(DECIDE_WITHIN);
        let (redaction, clock) = (Redaction::default(), Clock::System);
        let until = Instant::now() + within;
        let delivery = Delivery { event: &event, redaction: &redaction, store: None, clock: &clock, until };
        let asker = Asker::new(&self.access, delivery);
        let chosen = rules.decide(channel, message, &BTreeMap::new(), None, &asker).await;
        for request in self.requests.requests.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            describe(text, &request)?;
        }
        let summary = asker.summary();
        if let (Some(asked), Some(results)) = (summary.asked, summary.results) {
            writeln!(text, "{asked}: {results} in {} ms", summary.took.as_millis())?;
        }
        Ok(chosen)
    }
}

/// Returns the event of a message.
fn event(channel: Channel, body: &[u8]) -> Result<Event, Error> {
    let vapi = match channel {
        Channel::Client => Vapi::CLIENT,
        Channel::Server => Vapi::SERVER,
    };
    let document = Document::read(body)?;
    let (fingerprint, nonce) = (vapi.fingerprint(&document), Nonce::random()?);
    let proof = Proof { by: "try".to_owned(), message_id: None };
    let identity = vapi.identify(&document, &proof, &fingerprint, &nonce);
    let received = Received {
        id: identity.id,
        weak_identity: identity.weak,
        nonce,
        fingerprint,
        received_at: Clock::System.now(),
        verified_by: proof.by,
        body: Bytes::copy_from_slice(body),
        answer: None,
        asked: None,
    };
    Ok(vapi.event(&document, received))
}

/// Writes a request without the values of its secret headers.
fn describe(text: &mut String, request: &Request<Bytes>) -> Result<(), std::fmt::Error> {
    writeln!(text, "{} {}", request.method(), request.uri())?;
    for (name, value) in request.headers() {
        let is_secret = value.is_sensitive() || ["authorization", "x-amz-security-token"].contains(&name.as_str());
        let value = if is_secret { "[hidden]" } else { value.to_str().unwrap_or("[not text]") };
        writeln!(text, "  {name}: {value}")?;
    }
    writeln!(text, "\n{}\n", String::from_utf8_lossy(request.body()))
}
