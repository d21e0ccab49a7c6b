//! The client for agents and key sets.

use std::time::Duration;

use bytes::Bytes;
use gatehouse_edge::chat::Agent;
use gatehouse_outgoing::{Attempt, Client, NetworkScope, Tls};
use http::{HeaderValue, Method, Request, Response, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::timeout;

/// How long a document may take, and how large it may be, in bytes.
const DOCUMENT: (Duration, usize) = (Duration::from_secs(3), 256 * 1024);
/// How long an idle connection is kept. uvicorn and Node close theirs after 5 s.
const KEPT: Duration = Duration::from_secs(4);
/// Most attempts of a request, as long as none can have reached the agent: once for each stale connection,
/// then on a new one.
const TRIES: usize = 4;
/// How often connecting is tried.
const CONNECTS: usize = 2;

/// Asks agents, over connections that are kept.
#[derive(Debug, Clone)]
pub struct Upstream {
    public: Client,
    private: Client,
    loopback: Client,
}

/// Why an agent was not asked, or is not known to have been.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unasked {
    /// No connection: it has not been asked.
    Unreachable,
    /// The connection broke, or what came is no HTTP: it may have been asked.
    Broken,
}

impl Upstream {
    /// Reads the machine's root certificates. Connecting may take `connect`.
    ///
    /// # Errors
    /// When there are no certificates.
    pub fn new(connect: Duration) -> std::io::Result<Self> {
        let tls = Tls::native()?;
        let client = |reach| {
            let mut client = legacy::Client::builder(TokioExecutor::new());
            client.pool_timer(TokioTimer::new()).pool_idle_timeout(KEPT);
            client.build(tls.connector(reach, Some(connect)))
        };
        Ok(Upstream {
            public: client(NetworkScope::Public),
            private: client(NetworkScope::Private),
            loopback: client(NetworkScope::Loopback),
        })
    }

    /// What reaches `url`: this machine where it is named, private networks where the configuration says so.
    fn client(&self, url: &Uri, is_private: bool) -> &Client {
        match is_private {
            _ if NetworkScope::is_loopback(url) => &self.loopback,
            true => &self.private,
            false => &self.public,
        }
    }

    /// Asks an agent. None of the client's headers is sent. The request is sent again only if the agent cannot have got
    /// it: if connecting failed, or the agent had closed the connection before any byte was sent.
    pub(crate) async fn ask(
        &self,
        agent: &Agent,
        body: &Bytes,
        request_id: &HeaderValue,
    ) -> Result<Response<Incoming>, Unasked> {
        let mut connects = 0;
        for _ in 0..TRIES {
            let mut request = request(agent, body, request_id).ok_or(Unasked::Broken)?;
            let attempt = Attempt::watch(&mut request);
            // Connections that were closed meanwhile leave the pool.
            tokio::task::yield_now().await;
            let error = match self.client(&agent.url, agent.is_private).request(request).await {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            connects += usize::from(error.is_connect());
            if connects == CONNECTS {
                return Err(Unasked::Unreachable);
            }
            if !error.is_connect() && !attempt.is_unsent() {
                return Err(Unasked::Broken);
            }
        }
        Err(Unasked::Unreachable)
    }

    /// A JSON document, whole.
    pub(crate) async fn fetch(&self, url: &Uri, is_private: bool) -> Option<Bytes> {
        let request = Request::get(url.clone()).header(header::ACCEPT, "application/json");
        let request = request.body(Full::default()).ok()?;
        let (within, limit) = DOCUMENT;
        let fetched = timeout(within, async {
            let response = self.client(url, is_private).request(request).await.ok()?;
            if !response.status().is_success() {
                return None;
            }
            Some(Limited::new(response.into_body(), limit).collect().await.ok()?.to_bytes())
        });
        fetched.await.ok().flatten()
    }
}

fn request(agent: &Agent, body: &Bytes, request_id: &HeaderValue) -> Option<Request<Full<Bytes>>> {
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
    request.body(Full::new(body.clone())).ok()
}
