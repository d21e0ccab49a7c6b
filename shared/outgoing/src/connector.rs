//! Connections to allowed addresses alone: a name's addresses are looked at once it is resolved, so that it cannot lead
//! elsewhere.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_rustls::{ConfigBuilderExt, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tower_service::Service;

use crate::NetworkScope;
use crate::address::is_within;
use crate::connection::Watched;

/// Why a connection could not be made.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// How servers are verified.
#[derive(Debug, Clone)]
pub struct Tls(pub(crate) ClientConfig);

impl Tls {
    /// By the machine's root certificates.
    ///
    /// # Errors
    /// When it has none.
    pub fn native() -> io::Result<Self> {
        let config = Self::builder()?.with_native_roots()?;
        Ok(Tls(config.with_no_client_auth()))
    }

    /// Not at all, since nothing is reached over TLS: reading the machine's roots takes a while.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn none() -> io::Result<Self> {
        Ok(Tls(Self::builder()?.with_root_certificates(RootCertStore::empty()).with_no_client_auth()))
    }

    fn builder() -> io::Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(io::Error::other)
    }

    /// Connections within `reach`: plain to this machine, over TLS to everywhere else. Connecting may take `limit`.
    #[must_use]
    pub fn connector(&self, reach: NetworkScope, limit: Option<Duration>) -> Watched {
        let tls = HttpsConnectorBuilder::new().with_tls_config(self.0.clone());
        let tls = if reach == NetworkScope::Loopback { tls.https_or_http() } else { tls.https_only() };
        Watched(tls.enable_http1().wrap_connector(SsrfGuard::new(reach, limit)))
    }
}

/// Connects within a reach.
#[derive(Debug, Clone)]
pub struct SsrfGuard {
    reach: NetworkScope,
    http: HttpConnector<ScopedResolver>,
}

impl SsrfGuard {
    fn new(reach: NetworkScope, limit: Option<Duration>) -> Self {
        let mut http = HttpConnector::new_with_resolver(ScopedResolver { reach, names: GaiResolver::new() });
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(limit);
        SsrfGuard { reach, http }
    }
}

impl Service<Uri> for SsrfGuard {
    type Response = TokioIo<TcpStream>;
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Failure>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.http.poll_ready(cx).map_err(Failure::from)
    }

    fn call(&mut self, url: Uri) -> Self::Future {
        // Nobody resolves what is an address already.
        let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
        if host.parse::<IpAddr>().is_ok_and(|address| !is_within(self.reach, address)) {
            return Box::pin(async { Err(Failure::from(blocked_address())) });
        }
        let connecting = self.http.call(url);
        Box::pin(async move { connecting.await.map_err(Failure::from) })
    }
}

/// Resolves names to addresses within a reach.
#[derive(Debug, Clone)]
struct ScopedResolver {
    reach: NetworkScope,
    names: GaiResolver,
}

impl Service<Name> for ScopedResolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.names.poll_ready(cx)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let (reach, resolving) = (self.reach, self.names.call(name));
        Box::pin(async move {
            let within: Vec<_> = resolving.await?.filter(|address| is_within(reach, address.ip())).collect();
            if within.is_empty() { Err(blocked_address()) } else { Ok(within.into_iter()) }
        })
    }
}

/// Says nothing of what is where.
fn blocked_address() -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, "the address is not one that may be connected to")
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn connects(reach: NetworkScope, url: &str) -> bool {
        let mut connector = SsrfGuard::new(reach, Some(Duration::from_secs(5)));
        std::future::poll_fn(|cx| connector.poll_ready(cx)).await.unwrap();
        connector.call(url.parse().unwrap()).await.is_ok()
    }

    #[tokio::test]
    async fn neither_an_address_nor_a_name_leads_to_this_machine_unless_it_is_meant() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"] {
            let url = format!("http://{host}:{port}/");
            assert!(!connects(NetworkScope::Public, &url).await, "{host}");
            assert!(!connects(NetworkScope::Private, &url).await, "{host}");
        }
        for host in ["127.0.0.1", "localhost"] {
            assert!(connects(NetworkScope::Loopback, &format!("http://{host}:{port}/")).await, "{host}");
        }
        for elsewhere in ["http://169.254.169.254/", "http://10.0.0.1/", "http://[fd00:ec2::254]/"] {
            assert!(!connects(NetworkScope::Loopback, elsewhere).await, "{elsewhere}");
            assert!(!connects(NetworkScope::Public, elsewhere).await, "{elsewhere}");
        }
    }
}
