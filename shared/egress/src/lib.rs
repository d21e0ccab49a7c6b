#![doc = include_str!("../README.md")]

use http::Uri;

pub mod address;
pub mod client;
pub mod connection;
pub mod connector;
pub mod scoped;
pub mod sdk;

pub use client::{Body, Client, RequestError, Transport};
pub use connection::Watched;
pub use connector::{SsrfGuard, Tls};
pub use scoped::ScopedClient;

/// The addresses that connections may lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NetworkScope {
    /// The public Internet.
    Public,
    /// The public Internet and private networks, without this machine and the cloud's metadata service.
    Private,
    /// Only this machine.
    Loopback,
}

impl NetworkScope {
    /// Whether a URL names this machine, so that only [`NetworkScope::Loopback`] allows it.
    #[must_use]
    pub fn is_loopback(url: &Uri) -> bool {
        ["127.0.0.1", "localhost", "[::1]"].contains(&url.host().unwrap_or_default())
    }
}
