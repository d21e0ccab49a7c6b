//! Connects to allowed addresses only. The addresses of a host name are checked after it is resolved, so that it cannot
//! lead to another network.

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

/// Why a connection could not be established.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The TLS configuration: how servers are verified.
#[derive(Debug, Clone)]
pub struct Tls(pub(crate) ClientConfig);

impl Tls {
    /// Creates a configuration that verifies servers with the machine's root certificates.
    ///
    /// # Errors
    /// If the machine has no root certificates.
    pub fn native() -> io::Result<Self> {
        let config = Self::builder()?.with_native_roots()?;
        Ok(Tls(config.with_no_client_auth()))
    }

    /// Creates a configuration that trusts no server, for clients that do not use TLS. Does not read the machine's root
    /// certificates, which takes time.
    ///
    /// # Errors
    /// If TLS cannot be set up.
    pub fn none() -> io::Result<Self> {
        Ok(Tls(Self::builder()?.with_root_certificates(RootCertStore::empty()).with_no_client_auth()))
    }

    fn builder() -> io::Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(io::Error::other)
    }

    /// Returns a connector for addresses within `scope`. It uses TLS, except that connections to this machine may be
    /// plain. `timeout` is the time limit for connecting.
    #[must_use]
    pub fn connector(&self, scope: NetworkScope, timeout: Option<Duration>) -> Watched {
        let tls = HttpsConnectorBuilder::new().with_tls_config(self.0.clone());
        let tls = if scope == NetworkScope::Loopback { tls.https_or_http() } else { tls.https_only() };
        Watched(tls.enable_http1().wrap_connector(SsrfGuard::new(scope, timeout)))
    }
}

/// Connects only to addresses within a scope, which prevents server-side request forgery.
#[derive(Debug, Clone)]
pub struct SsrfGuard {
    scope: NetworkScope,
    http: HttpConnector<ScopedResolver>,
}

impl SsrfGuard {
    fn new(scope: NetworkScope, timeout: Option<Duration>) -> Self {
        let mut http = HttpConnector::new_with_resolver(ScopedResolver { scope, resolver: GaiResolver::new() });
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(timeout);
        SsrfGuard { scope, http }
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
        // The HTTP connector does not resolve an IP address in a URL, so `ScopedResolver` cannot check it.
        let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
        if host.parse::<IpAddr>().is_ok_and(|address| !is_within(self.scope, address)) {
            return Box::pin(async { Err(Failure::from(blocked_address())) });
        }
        let connecting = self.http.call(url);
        Box::pin(async move { connecting.await.map_err(Failure::from) })
    }
}

/// Resolves host names to addresses within a scope.
#[derive(Debug, Clone)]
struct ScopedResolver {
    scope: NetworkScope,
    resolver: GaiResolver,
}

impl Service<Name> for ScopedResolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.resolver.poll_ready(cx)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let (scope, resolving) = (self.scope, self.resolver.call(name));
        Box::pin(async move {
            let allowed: Vec<_> = resolving.await?.filter(|address| is_within(scope, address.ip())).collect();
            if allowed.is_empty() { Err(blocked_address()) } else { Ok(allowed.into_iter()) }
        })
    }
}

/// The error for a blocked address. It does not name the address, so that it does not reveal the network.
fn blocked_address() -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, "connections to this address are not allowed")
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn connects(scope: NetworkScope, url: &str) -> bool {
        let mut connector = SsrfGuard::new(scope, Some(Duration::from_secs(5)));
        std::future::poll_fn(|cx| connector.poll_ready(cx)).await.unwrap();
        connector.call(url.parse().unwrap()).await.is_ok()
    }

    #[tokio::test]
    async fn only_the_loopback_scope_connects_to_this_machine() {
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
