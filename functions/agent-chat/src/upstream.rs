//! The HTTP client for agents and key sets.

use std::time::Duration;

use bytes::Bytes;
use gatehouse_chat::Agent;
use gatehouse_egress::{Body, Client, RequestError, ScopedClient, Tls};
use http::{HeaderValue, Method, Request, Response, Uri, header};
use http_body_util::{BodyExt, Limited};
use tokio::time::timeout;

/// Time limit for fetching a JSON document.
const FETCH_TIMEOUT: Duration = Duration::from_secs(3);
/// Largest JSON document, in bytes.
const MAX_DOCUMENT_BYTES: usize = 256 * 1024;

/// Sends requests to agents and fetches key sets. Connections are reused.
#[derive(Debug, Clone)]
pub struct Upstream(ScopedClient);

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
        Ok(Upstream(ScopedClient::new(&Tls::native()?, connect_timeout)))
    }

    /// Creates an upstream that sends all requests with `client`, for simulations.
    #[must_use]
    pub fn with_client(client: Client) -> Self {
        Upstream(ScopedClient::with_client(client))
    }

    /// Forwards a request to an agent, without the client's headers.
    pub(crate) async fn forward(
        &self,
        agent: &Agent,
        body: &Bytes,
        request_id: &HeaderValue,
    ) -> Result<Response<Body>, ForwardError> {
        let request = request(agent, body, request_id).ok_or(ForwardError::Broken)?;
        self.0.send(&request, agent.is_private).await.map_err(|error| match error {
            RequestError::Connect | RequestError::Unsent => ForwardError::Unreachable,
            RequestError::Broken => ForwardError::Broken,
        })
    }

    /// Fetches a JSON document. `None` if that fails or takes too long.
    pub(crate) async fn fetch(&self, url: &Uri, is_private: bool) -> Option<Bytes> {
        let request = Request::get(url.clone()).header(header::ACCEPT, "application/json");
        let request = request.body(Bytes::new()).ok()?;
        let fetched = timeout(FETCH_TIMEOUT, async {
            let response = self.0.send(&request, is_private).await.ok()?;
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
