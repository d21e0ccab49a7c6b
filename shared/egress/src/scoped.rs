//! A client for configured URLs, each of which has its own scope.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::{Body, Client, NetworkScope, RequestError, Tls};

/// Time after which an idle connection is closed. It is shorter than the 5 s of uvicorn and Node.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);
/// Largest number of attempts of a request. Several may fail on stale connections before one gets a new connection.
const MAX_ATTEMPTS: usize = 4;
/// Number of failed connects after which the server is unreachable.
const MAX_CONNECTS: usize = 2;

/// Sends requests to configured URLs: to this machine only if the URL names it, and to private networks only if the
/// configuration allows it. Connections are reused.
#[derive(Debug, Clone)]
pub struct ScopedClient {
    public: Client,
    private: Client,
    loopback: Client,
}

impl ScopedClient {
    /// Creates a client. `connect_timeout` is the time limit for connecting.
    #[must_use]
    pub fn new(tls: &Tls, connect_timeout: Duration) -> Self {
        let client = |scope| {
            let mut client = legacy::Client::builder(TokioExecutor::new());
            client.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE_TIMEOUT);
            Client::from(client.build(tls.connector(scope, Some(connect_timeout))))
        };
        ScopedClient {
            public: client(NetworkScope::Public),
            private: client(NetworkScope::Private),
            loopback: client(NetworkScope::Loopback),
        }
    }

    /// Creates a client that sends all requests with `client`, for simulations.
    #[must_use]
    pub fn with_client(client: Client) -> Self {
        ScopedClient { public: client.clone(), private: client.clone(), loopback: client }
    }

    /// Sends a request. Retries only if the server cannot have got it: once if connecting failed, and if the server
    /// closed the connection before any byte was sent.
    ///
    /// # Errors
    /// If there is no response.
    pub async fn send(&self, request: &Request<Bytes>, is_private: bool) -> Result<Response<Body>, RequestError> {
        let client = if NetworkScope::is_loopback(request.uri()) {
            &self.loopback
        } else if is_private {
            &self.private
        } else {
            &self.public
        };
        let mut connects = 0;
        for _ in 0..MAX_ATTEMPTS {
            // Lets the pool drop connections that were closed in the meantime.
            tokio::task::yield_now().await;
            match client.request(request.clone()).await {
                Ok(response) => return Ok(response),
                Err(RequestError::Connect) => connects += 1,
                Err(RequestError::Unsent) => {}
                Err(RequestError::Broken) => return Err(RequestError::Broken),
            }
            if connects == MAX_CONNECTS {
                break;
            }
        }
        Err(RequestError::Connect)
    }
}
