//! Passes whole requests on to a server on this machine.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

/// The way to one server, over connections that are kept.
#[derive(Debug, Clone)]
pub(crate) struct Upstream {
    address: SocketAddr,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Upstream {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Upstream { address, client: Client::builder(TokioExecutor::new()).build_http() }
    }

    /// The server's whole response. `None`: the server closed the connection without a response.
    pub(crate) async fn forward(&self, request: Request<Bytes>) -> Option<Response<Bytes>> {
        let resource = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let uri: Uri = format!("http://{}{resource}", self.address).parse().ok()?;
        let (mut parts, body) = request.into_parts();
        parts.uri = uri;
        let answer = self.client.request(Request::from_parts(parts, Full::new(body))).await.ok()?;
        let (parts, body) = answer.into_parts();
        Some(Response::from_parts(parts, body.collect().await.ok()?.to_bytes()))
    }
}
