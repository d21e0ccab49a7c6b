//! Forwards requests to a server on this machine.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

/// A client for one server. Reuses its connections.
#[derive(Debug, Clone)]
pub(crate) struct Upstream {
    address: SocketAddr,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Upstream {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Upstream { address, client: Client::builder(TokioExecutor::new()).build_http() }
    }

    /// Forwards a request and returns the response. `None` if there is no complete response.
    pub(crate) async fn forward(&self, request: Request<Bytes>) -> Option<Response<Bytes>> {
        let path_and_query = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let uri: Uri = format!("http://{}{path_and_query}", self.address).parse().ok()?;
        let (mut parts, body) = request.into_parts();
        parts.uri = uri;
        let response = self.client.request(Request::from_parts(parts, Full::new(body))).await.ok()?;
        let (parts, body) = response.into_parts();
        Some(Response::from_parts(parts, body.collect().await.ok()?.to_bytes()))
    }
}
