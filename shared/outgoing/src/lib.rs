#![doc = include_str!("../README.md")]

use bytes::Bytes;
use http::Uri;
use http_body_util::Full;
use hyper_util::client::legacy;

pub mod address;
pub mod connection;
pub mod connector;
pub mod sdk;

pub use connection::{Attempt, Watched};
pub use connector::{SsrfGuard, Tls};

/// An HTTP client whose requests have whole bodies.
pub type Client = legacy::Client<Watched, Full<Bytes>>;

/// Whereto connections may lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NetworkScope {
    /// The public Internet.
    Public,
    /// That, and private networks; neither this machine nor the cloud's metadata.
    Private,
    /// This machine alone.
    Loopback,
}

impl NetworkScope {
    /// Whether a URL names this machine: then it means nothing else.
    #[must_use]
    pub fn is_loopback(url: &Uri) -> bool {
        ["127.0.0.1", "localhost", "[::1]"].contains(&url.host().unwrap_or_default())
    }
}
