//! The client for requests with whole bodies, over the network or in a simulation.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::Full;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper_util::client::legacy;

use crate::connection::{Attempt, Watched};
use crate::connector::Failure;

/// The body of a response.
#[derive(Debug)]
pub struct Body(BodyKind);

#[derive(Debug)]
enum BodyKind {
    Network(Incoming),
    Simulated(UnsyncBoxBody<Bytes, Failure>),
}

impl Body {
    /// Creates the body of a simulated response.
    #[must_use]
    pub fn simulated(body: UnsyncBoxBody<Bytes, Failure>) -> Self {
        Body(BodyKind::Simulated(body))
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        match &mut self.get_mut().0 {
            BodyKind::Network(body) => Pin::new(body).poll_frame(cx).map_err(Failure::from),
            BodyKind::Simulated(body) => Pin::new(body).poll_frame(cx),
        }
    }
}

/// The future of a response.
pub type ResponseFuture = Pin<Box<dyn Future<Output = Result<Response<Body>, RequestError>> + Send>>;

/// An HTTP client for requests with whole bodies. Clones share its connections.
#[derive(Clone)]
pub struct Client(Kind);

#[derive(Clone)]
enum Kind {
    Network(legacy::Client<Watched, Full<Bytes>>),
    Simulated(Arc<dyn Transport>),
}

/// Answers requests in place of the network, in a simulation.
pub trait Transport: Send + Sync {
    /// Answers a request.
    fn send(&self, request: Request<Bytes>) -> ResponseFuture;
}

/// Why a request got no response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Connecting failed.
    #[error("the server cannot be reached")]
    Connect,
    /// The connection was closed before any byte of the request was sent, so the server cannot have received it.
    #[error("the server closed the connection before the request was sent")]
    Unsent,
    /// The connection broke, or the response is not HTTP. The server may have received the request.
    #[error("the connection to the server broke")]
    Broken,
}

impl Client {
    /// Creates a client whose requests `transport` answers.
    #[must_use]
    pub fn simulated(transport: Arc<dyn Transport>) -> Self {
        Client(Kind::Simulated(transport))
    }

    /// Sends a request.
    ///
    /// # Errors
    /// If there is no response.
    pub fn request(&self, request: Request<Bytes>) -> ResponseFuture {
        let client = match &self.0 {
            Kind::Network(client) => client,
            Kind::Simulated(transport) => return transport.send(request),
        };
        let mut request = request.map(Full::new);
        let attempt = Attempt::watch(&mut request);
        let response = client.request(request);
        Box::pin(async move {
            match response.await {
                Ok(response) => Ok(response.map(|body| Body(BodyKind::Network(body)))),
                Err(error) if error.is_connect() => Err(RequestError::Connect),
                Err(_) if attempt.is_unsent() => Err(RequestError::Unsent),
                Err(_) => Err(RequestError::Broken),
            }
        })
    }
}

impl From<legacy::Client<Watched, Full<Bytes>>> for Client {
    fn from(client: legacy::Client<Watched, Full<Bytes>>) -> Self {
        Client(Kind::Network(client))
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            Kind::Network(_) => "Client(network)",
            Kind::Simulated(_) => "Client(simulated)",
        })
    }
}
