//! The HTTP client for agents and key sets.

use std::time::Duration;

use bytes::Bytes;
use gatehouse_chat::Agent;
use gatehouse_egress::{Body, Client, NetworkScope, RequestError, Tls};
use http::{HeaderValue, Method, Request, Response, Uri, header};
use http_body_util::{BodyExt, Limited};
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::timeout;

/// Time limit for fetching a JSON document.
const FETCH_TIMEOUT: Duration = Duration::from_secs(3);
/// Largest JSON document, in bytes.
const MAX_DOCUMENT_BYTES: usize = 256 * 1024;
/// Time after which an idle connection is closed. It is shorter than the 5 s of uvicorn and Node.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);
/// Largest number of attempts of a request. Several may fail on stale connections before one gets a new connection.
const MAX_ATTEMPTS: usize = 4;
/// Number of failed connects after which the agent is unreachable.
const MAX_CONNECTS: usize = 2;

/// Sends requests to agents and fetches key sets. Connections are reused.
#[derive(Debug, Clone)]
pub struct Upstream {
    public: Client,
    private: Client,
    loopback: Client,
}

/// Why a request got no response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ForwardError {
    /// Connecting failed. The agent did not get the request.
    Unreachable,
    /// The connection broke, or the response is not HTTP. The agent may have got the request.
    Broken,
}

impl Upstream {
    /// Creates a client with the machine's root certificates. `connect_timeout` is the time limit for connecting.
    ///
    /// # Errors
    /// When the machine has no root certificates.
    pub fn new(connect_timeout: Duration) -> std::io::Result<Self> {
        let tls = Tls::native()?;
        let client = |scope| {
            let mut client = legacy::Client::builder(TokioExecutor::new());
            client.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE_TIMEOUT);
            Client::from(client.build(tls.connector(scope, Some(connect_timeout))))
        };
        Ok(Upstream {
            public: client(NetworkScope::Public),
            private: client(NetworkScope::Private),
            loopback: client(NetworkScope::Loopback),
        })
    }

    /// Creates an upstream that sends all requests with `client`, for simulations.
    #[must_use]
    pub fn with_client(client: Client) -> Self {
        Upstream { public: client.clone(), private: client.clone(), loopback: client }
    }

    /// Returns the client that may connect to `url`: to this machine only if `url` names it, to private networks only
    /// if the configuration allows it.
    fn client(&self, url: &Uri, is_private: bool) -> &Client {
        if NetworkScope::is_loopback(url) {
            &self.loopback
        } else if is_private {
            &self.private
        } else {
            &self.public
        }
    }

    /// Forwards a request to an agent, without the client's headers. Retries only if the agent cannot have got the
    /// request: if connecting failed, or the agent closed the connection before any byte was sent.
    pub(crate) async fn forward(
        &self,
        agent: &Agent,
        body: &Bytes,
        request_id: &HeaderValue,
    ) -> Result<Response<Body>, ForwardError> {
        let mut connects = 0;
        for _ in 0..MAX_ATTEMPTS {
            let request = request(agent, body, request_id).ok_or(ForwardError::Broken)?;
            // Lets the pool drop connections that were closed in the meantime.
            tokio::task::yield_now().await;
            match self.client(&agent.url, agent.is_private).request(request).await {
                Ok(response) => return Ok(response),
                Err(RequestError::Connect) => connects += 1,
                Err(RequestError::Unsent) => {}
                Err(RequestError::Broken) => return Err(ForwardError::Broken),
            }
            if connects == MAX_CONNECTS {
                return Err(ForwardError::Unreachable);
            }
        }
        Err(ForwardError::Unreachable)
    }

    /// Fetches a JSON document. `None` if that fails or takes too long.
    pub(crate) async fn fetch(&self, url: &Uri, is_private: bool) -> Option<Bytes> {
        let request = Request::get(url.clone()).header(header::ACCEPT, "application/json");
        let request = request.body(Bytes::new()).ok()?;
        let fetched = timeout(FETCH_TIMEOUT, async {
            let response = self.client(url, is_private).request(request).await.ok()?;
            if !response.status().is_success() {
                return None;
            }
            Some(Limited::new(response.into_body(), MAX_DOCUMENT_BYTES).collect().await.ok()?.to_bytes())
        });
        fetched.await.ok().flatten()
    }
}

/// Builds the request for an agent.
fn request(agent: &Agent, body: &Bytes, request_id: &HeaderValue) -> Option<Request<Bytes>> {
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(agent.url.clone())
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, "text/event-stream")
        .header(header::ACCEPT_ENCODING, "identity")
        .header("x-request-id", request_id);
    if let Some(token) = &agent.token {
        let mut value = HeaderValue::try_from(format!("Bearer {}", &**token)).ok()?;
        value.set_sensitive(true);
        request = request.header(header::AUTHORIZATION, value);
    }
    request.body(body.clone()).ok()
}
