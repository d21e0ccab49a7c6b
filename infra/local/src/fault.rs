//! A proxy between the SDK and an engine: counts what passes, and fails it as told.

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

/// What happens to a request a rule matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The connection is closed before the engine sees the request.
    Cut,
    /// It is taken and never answered; the engine does not see it.
    Hang,
    /// It passes, but later.
    Delay(Duration),
    /// The engine applies it, and its answer is lost with the connection.
    LoseAnswer,
    /// The engine applies it, and it is never answered.
    HoldAnswer,
    /// It is refused: the HTTP status and the AWS error code. The engine does not see it.
    Refuse(u16, &'static str),
}

impl Fault {
    /// DynamoDB has no capacity left.
    pub const THROTTLE: Fault = Fault::Refuse(400, "ProvisionedThroughputExceededException");
    /// Another transaction holds the item.
    pub const TRANSACTION_CONFLICT: Fault = Fault::Refuse(400, "TransactionConflictException");
    /// The service has a fault of its own.
    pub const INTERNAL: Fault = Fault::Refuse(500, "InternalServerError");
    /// What was sent is refused for its content, now and always.
    pub const INVALID: Fault = Fault::Refuse(400, "ValidationException");
}

/// Which requests fail, and how.
#[derive(Debug, Clone)]
pub struct Rule {
    fault: Fault,
    operation: Option<&'static str>,
    containing: Option<String>,
    passing: u32,
    times: Option<u32>,
    sometimes: Option<(f64, Random)>,
}

impl Rule {
    /// Every request fails by `fault`, until the rules are cleared.
    #[must_use]
    pub fn every(fault: Fault) -> Self {
        Rule { fault, operation: None, containing: None, passing: 0, times: None, sometimes: None }
    }

    /// Only requests of an operation, such as `PutItem`.
    #[must_use]
    pub fn on(self, operation: &'static str) -> Self {
        Rule { operation: Some(operation), ..self }
    }

    /// Only requests whose body contains `text`.
    #[must_use]
    pub fn containing(self, text: &str) -> Self {
        Rule { containing: Some(text.to_owned()), ..self }
    }

    /// Only after `passing` of them have passed.
    #[must_use]
    pub fn after(self, passing: u32) -> Self {
        Rule { passing, ..self }
    }

    /// Only the first `times` requests.
    #[must_use]
    pub fn times(self, times: u32) -> Self {
        Rule { times: Some(times), ..self }
    }

    /// Only a share of them, from 0 to 1; which ones, `seed` decides.
    #[must_use]
    pub fn sometimes(self, share: f64, seed: u64) -> Self {
        Rule { sometimes: Some((share, Random::new(seed))), ..self }
    }

    fn matches(&self, operation: &str, body: &[u8]) -> bool {
        self.times != Some(0)
            && self.operation.is_none_or(|wanted| wanted == operation)
            && self.containing.as_ref().is_none_or(|text| memmem::find(body, text.as_bytes()).is_some())
    }

    /// Whether it strikes a request that it matches.
    fn strikes(&mut self) -> bool {
        if self.passing > 0 {
            self.passing -= 1;
            return false;
        }
        if let Some((share, random)) = &mut self.sometimes {
            #[allow(clippy::cast_precision_loss, reason = "a share")]
            let drawn = (random.next() >> 11) as f64 / (1u64 << 53) as f64;
            if drawn >= *share {
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
    /// Counts a request, and says what is to happen to it.
    fn meet(&mut self, operation: &str, body: &[u8]) -> Option<Fault> {
        *self.counts.entry(operation.to_owned()).or_default() += 1;
        let rule = self.rules.iter_mut().find(|rule| rule.matches(operation, body))?;
        rule.strikes().then(|| rule.fault.clone())
    }
}

/// A running proxy; it stops when dropped.
#[derive(Debug)]
pub struct FaultProxy {
    /// Where it listens.
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
    struck: watch::Sender<u64>,
    _server: Server,
}

impl FaultProxy {
    /// Starts a proxy in front of `upstream`. It lets everything pass.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn start(upstream: SocketAddr) -> Result<Self, Error> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let state = Arc::new(Mutex::new(State::default()));
        let struck = watch::channel(0).0;
        let path = Path { upstream: Upstream::new(upstream), state: Arc::clone(&state), struck: struck.clone() };
        let server = http_server::serve(listener, move |request| pass(request, path.clone()));
        Ok(FaultProxy { address, state, struck, _server: server })
    }

    /// The URL to give the SDK.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Adds a rule; of several that match, the first counts.
    pub fn fail(&self, rule: Rule) {
        self.state(|state| state.rules.push(rule));
    }

    /// Lets everything pass again.
    pub fn heal(&self) {
        self.state(|state| state.rules.clear());
    }

    /// Waits for the next fault to strike: a request has come, or has been applied where the fault is in its answer.
    pub fn struck(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut struck = self.struck.subscribe();
        let before = *struck.borrow();
        // An error means that the proxy is gone, and nothing will strike any more.
        async move { drop(struck.wait_for(|times| *times > before).await) }
    }

    /// How many faults have struck.
    #[must_use]
    pub fn strikes(&self) -> u64 {
        *self.struck.borrow()
    }

    /// How many requests have come, by operation.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<String, usize> {
        self.state(|state| state.counts.clone())
    }

    /// Counts from zero again.
    pub(crate) fn forget(&self) {
        self.state(|state| state.counts.clear());
    }

    fn state<T>(&self, with: impl FnOnce(&mut State) -> T) -> T {
        with(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[derive(Debug, Clone)]
struct Path {
    upstream: Upstream,
    state: Arc<Mutex<State>>,
    struck: watch::Sender<u64>,
}

async fn pass(request: Request<Bytes>, path: Path) -> Option<Response<Bytes>> {
    let target = request.headers().get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or_default();
    let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
    let fault = path.state.lock().unwrap_or_else(PoisonError::into_inner).meet(&operation, request.body());
    let strike = || path.struck.send_modify(|times| *times += 1);
    if fault.as_ref().is_some_and(|fault| !matches!(fault, Fault::LoseAnswer | Fault::HoldAnswer)) {
        strike();
    }
    match fault {
        Some(Fault::Cut) => return None,
        Some(Fault::Hang) => std::future::pending::<()>().await,
        Some(Fault::Refuse(status, code)) => return Some(refusal(status, code)),
        Some(Fault::Delay(by)) => tokio::time::sleep(by).await,
        Some(Fault::LoseAnswer | Fault::HoldAnswer) | None => {}
    }
    let answer = path.upstream.forward(request).await?;
    match fault {
        Some(Fault::LoseAnswer) => {
            strike();
            None
        }
        Some(Fault::HoldAnswer) => {
            strike();
            std::future::pending().await
        }
        _ => Some(answer),
    }
}

fn refusal(status: u16, code: &str) -> Response<Bytes> {
    let body =
        serde_json::json!({"__type": format!("com.amazonaws.fault#{code}"), "message": "refused by the fault proxy"});
    let mut response = Response::new(Bytes::from(body.to_string()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert("content-type", http::HeaderValue::from_static("application/x-amz-json-1.0"));
    response
}
