//! Steering a live call: a message of ours, posted to the call's `controlUrl`.
//!
//! Who knows that URL can steer the call, and it comes from the message. So it is used only where it leads to Vapi, is never
//! logged, and no redirect is followed.

use std::sync::Arc;

use bytes::Bytes;
use gatehouse_edge::answering::Action;
use gatehouse_payload::pointer::Pointer;
use http::{Method, Request, Uri, header};
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use crate::message::Said;

/// The domains Vapi's control URLs are in.
pub const DOMAINS: [&str; 1] = ["vapi.ai"];

/// Whereto messages may be posted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hosts {
    /// Vapi's, over HTTPS.
    Vapi,
    /// Those, and this machine's loopback addresses over plain HTTP: for one's own machine and for tests.
    VapiAndLoopback,
}

/// Posts messages to live calls.
#[derive(Debug, Clone)]
pub struct Control {
    hosts: Hosts,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl Control {
    /// Reads the machine's root certificates.
    ///
    /// # Errors
    /// When it has none.
    pub fn new(hosts: Hosts) -> std::io::Result<Self> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = HttpsConnectorBuilder::new().with_provider_and_native_roots(provider)?;
        let connector = match hosts {
            Hosts::Vapi => tls.https_only(),
            Hosts::VapiAndLoopback => tls.https_or_http(),
        };
        // Actions are rare, and a connection kept over Lambda's freeze is a dead one.
        let mut client = Client::builder(TokioExecutor::new());
        client.pool_max_idle_per_host(0).retry_canceled_requests(false);
        Ok(Control { hosts, client: client.build(connector.enable_http1().build()) })
    }

    /// Posts `messages`, one after the other, to the call that `said` is about. Nothing is sent before the action is polled.
    #[must_use]
    pub fn act(&self, said: &Said<'_>, messages: Vec<String>) -> Action {
        let url = url(self.hosts, said);
        let client = self.client.clone();
        Box::pin(async move {
            let url = url?;
            for message in messages {
                let request = Request::builder()
                    .method(Method::POST)
                    .uri(url.clone())
                    .header(header::CONTENT_TYPE, "application/json")
                    .body(Full::new(Bytes::from(message)))
                    .map_err(|_| "the message is no request")?;
                let response = client.request(request).await.map_err(|_| "the control URL cannot be reached")?;
                if !response.status().is_success() {
                    return Err(format!("the control URL answers with {}", response.status().as_u16()));
                }
            }
            Ok(())
        })
    }
}

/// Whether a message's call can be steered: it has a control URL that leads to Vapi.
///
/// # Errors
/// Why not.
pub fn target(said: &Said<'_>) -> Result<(), &'static str> {
    url(Hosts::Vapi, said).map(drop)
}

fn url(hosts: Hosts, said: &Said<'_>) -> Result<Uri, &'static str> {
    let pointer: Pointer = "/call/monitor/controlUrl".parse().map_err(|_| "no such pointer")?;
    let url = said.text(&pointer).ok_or("the message has no control URL")?;
    let url: Uri = url.parse().map_err(|_| "the message's control URL is no URL")?;
    if is_allowed(hosts, &url) { Ok(url) } else { Err("the message's control URL does not lead to Vapi") }
}

fn is_allowed(hosts: Hosts, url: &Uri) -> bool {
    let (Some(authority), Some(host)) = (url.authority(), url.host()) else { return false };
    // A name and a password in a URL are a classic disguise.
    if authority.as_str().contains('@') {
        return false;
    }
    let host = host.to_ascii_lowercase();
    let is_vapi =
        DOMAINS.iter().any(|domain| host.strip_suffix(domain).is_some_and(|sub| sub.is_empty() || sub.ends_with('.')));
    let is_loopback = ["127.0.0.1", "localhost", "[::1]"].contains(&host.as_str());
    match url.scheme_str() {
        Some("https") => is_vapi && matches!(url.port_u16(), None | Some(443)),
        Some("http") => is_loopback && hosts == Hosts::VapiAndLoopback,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_vapis_own_hosts_are_allowed_and_only_over_https() {
        let allowed = |hosts, url: &str| url.parse().is_ok_and(|url| is_allowed(hosts, &url));
        for url in [
            "https://phone-call-websocket.aws-us-west-2-backend-production3.vapi.ai/2c9d/control",
            "https://api.VAPI.ai:443/x",
            "https://vapi.ai",
        ] {
            assert!(allowed(Hosts::Vapi, url), "{url}");
        }
        for url in [
            "http://api.vapi.ai/x",
            "https://evilvapi.ai/x",
            "https://vapi.ai.example.com/x",
            "https://vapi.ai@example.com/x",
            "https://user:pass@api.vapi.ai/x",
            "https://api.vapi.ai:8443/x",
            "https://example.com/vapi.ai",
            "https://169.254.169.254/latest",
            "http://127.0.0.1/x",
            "https://vapi.ai./x",
            "ftp://api.vapi.ai/x",
            "/control",
            "vapi.ai:443",
            "https://",
            "",
        ] {
            assert!(!allowed(Hosts::Vapi, url), "{url}");
        }
        assert!(allowed(Hosts::VapiAndLoopback, "http://127.0.0.1:9/x"));
        assert!(!allowed(Hosts::VapiAndLoopback, "http://10.0.0.1/x"));
    }
}
