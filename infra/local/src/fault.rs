//! A proxy between an SDK and an engine. It counts requests, and injects faults by rules.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use memchr::memmem;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::forward::Upstream;
use crate::http_server::Server;
use crate::random::Random;
use crate::{Error, http_server};

/// The fault of a request to which a rule applies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The connection is closed before the engine sees the request.
    Cut,
    /// The proxy never responds; the engine does not see the request.
    Hang,
    /// The request is forwarded after a delay.
    Delay(Duration),
    /// The engine applies the request, but the connection is closed without a response.
    DropResponse,
    /// The engine applies the request, but the proxy never responds.
    HoldResponse,
    /// The proxy returns an error with this HTTP status and AWS error code; the engine does not see the request.
    Refuse(u16, &'static str),
}

impl Fault {
    /// DynamoDB throttles the request.
    pub const THROTTLE: Fault = Fault::Refuse(400, "ProvisionedThroughputExceededException");
    /// Another transaction holds the item.
    pub const TRANSACTION_CONFLICT: Fault = Fault::Refuse(400, "TransactionConflictException");
    /// The service has an internal error.
    pub const INTERNAL: Fault = Fault::Refuse(500, "InternalServerError");
    /// The request is invalid; a retry would fail too.
    pub const INVALID: Fault = Fault::Refuse(400, "ValidationException");
}

/// A rule that selects requests and their fault.
#[derive(Debug, Clone)]
pub struct Rule {
    fault: Fault,
    operation: Option<&'static str>,
    containing: Option<String>,
    skip: u32,
    times: Option<u32>,
    share: Option<(f64, Random)>,
}

impl Rule {
    /// Creates a rule that applies to every request until the rules are cleared.
    #[must_use]
    pub fn every(fault: Fault) -> Self {
        Rule { fault, operation: None, containing: None, skip: 0, times: None, share: None }
    }

    /// Limits the rule to an operation, such as `PutItem`.
    #[must_use]
    pub fn on(self, operation: &'static str) -> Self {
        Rule { operation: Some(operation), ..self }
    }

    /// Limits the rule to requests whose body contains `text`.
    #[must_use]
    pub fn containing(self, text: &str) -> Self {
        Rule { containing: Some(text.to_owned()), ..self }
    }

    /// Does not apply the rule to the first `skip` requests that match.
    #[must_use]
    pub fn after(self, skip: u32) -> Self {
        Rule { skip, ..self }
    }

    /// Applies the rule `times` times.
    #[must_use]
    pub fn times(self, times: u32) -> Self {
        Rule { times: Some(times), ..self }
    }

    /// Applies the rule to a random share of the requests, from 0 to 1. `seed` makes the choice reproducible.
    #[must_use]
    pub fn share(self, share: f64, seed: u64) -> Self {
        Rule { share: Some((share, Random::new(seed))), ..self }
    }

    fn matches(&self, operation: &str, body: &[u8]) -> bool {
        self.times != Some(0)
            && self.operation.is_none_or(|wanted| wanted == operation)
            && self.containing.as_ref().is_none_or(|text| memmem::find(body, text.as_bytes()).is_some())
    }

    /// Decides whether the rule applies to a request that it matches.
    fn applies(&mut self) -> bool {
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        if let Some((share, random)) = &mut self.share {
            #[allow(clippy::cast_precision_loss, reason = "53 bits fit into an f64")]
            let number = (random.next() >> 11) as f64 / (1u64 << 53) as f64;
            if number >= *share {
                return false;
            }
        }
        self.times = self.times.map(|times| times - 1);
        true
    }
}

#[derive(Debug, Default)]
struct State {
    rules: Vec<Rule>,
    counts: BTreeMap<String, usize>,
}

impl State {
    /// Counts a request and returns its fault, if a rule applies.
    fn record(&mut self, operation: &str, body: &[u8]) -> Option<Fault> {
        *self.counts.entry(operation.to_owned()).or_default() += 1;
        let rule = self.rules.iter_mut().find(|rule| rule.matches(operation, body))?;
        rule.applies().then(|| rule.fault.clone())
    }
}

/// A running proxy; it stops when dropped.
#[derive(Debug)]
pub struct FaultProxy {
    /// The proxy's address.
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
    faults: watch::Sender<u64>,
    _server: Server,
}

impl FaultProxy {
    /// Starts a proxy in front of `upstream`, without rules.
    ///
    /// # Errors
    /// If no port is free.
    pub async fn start(upstream: SocketAddr) -> Result<Self, Error> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let state = Arc::new(Mutex::new(State::default()));
        let faults = watch::channel(0).0;
        let proxy = Proxy { upstream: Upstream::new(upstream), state: Arc::clone(&state), faults: faults.clone() };
        let server = http_server::serve(listener, move |request| handle(request, proxy.clone()));
        Ok(FaultProxy { address, state, faults, _server: server })
    }

    /// Returns the endpoint URL for an SDK.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Adds a rule. If several match a request, the first one decides.
    pub fn add_rule(&self, rule: Rule) {
        self.state(|state| state.rules.push(rule));
    }

    /// Removes all rules.
    pub fn clear_rules(&self) {
        self.state(|state| state.rules.clear());
    }

    /// Waits for the next fault. A fault of the response occurs after the engine has applied the request.
    pub fn next_fault(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut faults = self.faults.subscribe();
        let before = *faults.borrow();
        // An error means that the proxy has stopped, so no further fault can occur.
        async move { drop(faults.wait_for(|count| *count > before).await) }
    }

    /// Returns the number of faults so far.
    #[must_use]
    pub fn fault_count(&self) -> u64 {
        *self.faults.borrow()
    }

    /// Returns the number of requests by operation.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<String, usize> {
        self.state(|state| state.counts.clone())
    }

    /// Resets the request counts.
    pub(crate) fn reset_counts(&self) {
        self.state(|state| state.counts.clear());
    }

    fn state<T>(&self, action: impl FnOnce(&mut State) -> T) -> T {
        action(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The state of the request handler.
#[derive(Debug, Clone)]
struct Proxy {
    upstream: Upstream,
    state: Arc<Mutex<State>>,
    faults: watch::Sender<u64>,
}

async fn handle(request: Request<Bytes>, proxy: Proxy) -> Option<Response<Bytes>> {
    let target = request.headers().get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or_default();
    let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
    let fault = proxy.state.lock().unwrap_or_else(PoisonError::into_inner).record(&operation, request.body());
    let count_fault = || proxy.faults.send_modify(|count| *count += 1);
    if fault.as_ref().is_some_and(|fault| !matches!(fault, Fault::DropResponse | Fault::HoldResponse)) {
        count_fault();
    }
    match fault {
        Some(Fault::Cut) => return None,
        Some(Fault::Hang) => std::future::pending::<()>().await,
        Some(Fault::Refuse(status, code)) => return Some(error_response(status, code)),
        Some(Fault::Delay(delay)) => tokio::time::sleep(delay).await,
        Some(Fault::DropResponse | Fault::HoldResponse) | None => {}
    }
    let response = proxy.upstream.forward(request).await?;
    match fault {
        Some(Fault::DropResponse) => {
            count_fault();
            None
        }
        Some(Fault::HoldResponse) => {
            count_fault();
            std::future::pending().await
        }
        _ => Some(response),
    }
}

fn error_response(status: u16, code: &str) -> Response<Bytes> {
    let body =
        serde_json::json!({"__type": format!("com.amazonaws.fault#{code}"), "message": "injected by the fault proxy"});
    let mut response = Response::new(Bytes::from(body.to_string()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert("content-type", http::HeaderValue::from_static("application/x-amz-json-1.0"));
    response
}
