//! A proxy between the SDK and an engine: counts what passes, and fails it as told.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::net::TcpListener;

use crate::http_server::Server;
use crate::{Error, http_server};

/// What happens to a request a rule matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The connection is closed before the engine sees the request.
    Cut,
    /// It is taken and never answered; the engine does not see it.
    Hang,
    /// The engine applies it, and its answer is lost with the connection.
    LoseAnswer,
    /// It is refused: the HTTP status and the AWS error code. The engine does not see it.
    Refuse(u16, &'static str),
}

/// Which requests fail, and how.
#[derive(Debug, Clone)]
pub struct Rule {
    fault: Fault,
    operation: Option<&'static str>,
    containing: Option<String>,
    times: Option<u32>,
}

impl Rule {
    /// Every request fails by `fault`, until the rules are cleared.
    #[must_use]
    pub fn every(fault: Fault) -> Self {
        Rule { fault, operation: None, containing: None, times: None }
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

    /// Only the first `times` requests.
    #[must_use]
    pub fn times(self, times: u32) -> Self {
        Rule { times: Some(times), ..self }
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
        let rule = self.rules.iter_mut().find(|rule| {
            rule.times != Some(0)
                && rule.operation.is_none_or(|wanted| wanted == operation)
                && rule.containing.as_ref().is_none_or(|text| contains(body, text.as_bytes()))
        })?;
        rule.times = rule.times.map(|times| times - 1);
        Some(rule.fault.clone())
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    needle.is_empty() || haystack.windows(needle.len()).any(|window| window == needle)
}

/// A running proxy; it stops when dropped.
#[derive(Debug)]
pub struct FaultProxy {
    /// Where it listens.
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
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
        let client = Client::builder(TokioExecutor::new()).build_http();
        let shared = Arc::clone(&state);
        let server =
            http_server::serve(listener, move |request| pass(request, upstream, client.clone(), Arc::clone(&shared)));
        Ok(FaultProxy { address, state, _server: server })
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

    /// How many requests have come, by operation.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<String, usize> {
        self.state(|state| state.counts.clone())
    }

    fn state<T>(&self, with: impl FnOnce(&mut State) -> T) -> T {
        with(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn pass(
    request: Request<Bytes>,
    upstream: SocketAddr,
    client: Client<HttpConnector, Full<Bytes>>,
    state: Arc<Mutex<State>>,
) -> Option<Response<Bytes>> {
    let target = request.headers().get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or_default();
    let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
    let fault = state.lock().unwrap_or_else(PoisonError::into_inner).meet(&operation, request.body());
    match fault {
        Some(Fault::Cut) => return None,
        Some(Fault::Hang) => std::future::pending::<()>().await,
        Some(Fault::Refuse(status, code)) => return Some(refusal(status, code)),
        Some(Fault::LoseAnswer) | None => {}
    }
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let uri: Uri = format!("http://{upstream}{path}").parse().ok()?;
    let (mut parts, body) = request.into_parts();
    parts.uri = uri;
    let answer = client.request(Request::from_parts(parts, Full::new(body))).await.ok()?;
    let (parts, body) = answer.into_parts();
    let body = body.collect().await.ok()?.to_bytes();
    (fault != Some(Fault::LoseAnswer)).then(|| Response::from_parts(parts, body))
}

fn refusal(status: u16, code: &str) -> Response<Bytes> {
    let body =
        serde_json::json!({"__type": format!("com.amazonaws.fault#{code}"), "message": "refused by the fault proxy"});
    let mut response = Response::new(Bytes::from(body.to_string()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert("content-type", http::HeaderValue::from_static("application/x-amz-json-1.0"));
    response
}
