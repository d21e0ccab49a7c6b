//! Steering a live call: a message of ours, posted to the call's `controlUrl`.
//!
//! Who knows that URL can steer the call, and it comes from the message. So it is used only where it leads to Vapi, is
//! never logged, and no redirect is followed.

use bytes::Bytes;
use gatehouse_edge::answering::Action;
use gatehouse_outgoing::{Client, NetworkScope, Tls};
use gatehouse_payload::pointer::Pointer;
use http::{Method, Request, Uri, header};
use http_body_util::Full;
use hyper_util::rt::TokioExecutor;
use tokio::time::timeout_at;

use crate::message::Said;

/// The domains Vapi's control URLs are in.
pub const DOMAINS: [&str; 1] = ["vapi.ai"];

/// Whereto messages may be posted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hosts {
    /// Vapi's, over HTTPS.
    Vapi,
    /// This machine's loopback addresses, over plain HTTP: no real call is heard in.
    Loopback,
    /// Both: for one's own machine.
    VapiAndLoopback,
}

/// Posts messages to live calls.
#[derive(Debug, Clone)]
pub struct Control {
    hosts: Hosts,
    tls: Tls,
}

impl Control {
    /// Reads the machine's root certificates, where anything but this machine is to be reached.
    ///
    /// # Errors
    /// When it has none.
    pub fn new(hosts: Hosts) -> std::io::Result<Self> {
        let tls = if hosts == Hosts::Loopback { Tls::none() } else { Tls::native() };
        Ok(Control { hosts, tls: tls? })
    }

    /// Posts `messages`, one after the other, to the call that `said` is about. Nothing is sent before the action is
    /// called.
    #[must_use]
    pub fn act(&self, said: &Said, messages: Vec<String>) -> Action {
        let url = url(self.hosts, said);
        let tls = self.tls.clone();
        Box::new(move |until| {
            Box::pin(async move {
                let url = url?;
                let reach = if NetworkScope::is_loopback(&url) { NetworkScope::Loopback } else { NetworkScope::Public };
                // A connection kept over Lambda's freeze would be a dead one, so each action has its own.
                let mut client = hyper_util::client::legacy::Client::builder(TokioExecutor::new());
                let client: Client = client.retry_canceled_requests(false).build(tls.connector(reach, None));
                let count = messages.len();
                for (sent, message) in messages.into_iter().enumerate() {
                    let late = |_| Err("no answer in time, though it may have been heard".to_owned());
                    let posted = timeout_at(until, post(&client, &url, message)).await.unwrap_or_else(late);
                    posted.map_err(|why| match count {
                        1 => why,
                        _ => format!("message {} of {count}: {why}", sent + 1),
                    })?;
                }
                Ok(())
            })
        })
    }
}

async fn post(client: &Client, url: &Uri, message: String) -> Result<(), String> {
    let request = Request::builder().method(Method::POST).uri(url).header(header::CONTENT_TYPE, "application/json");
    let request = request.body(Full::new(Bytes::from(message))).map_err(|_| "the message is no request")?;
    let response = client.request(request).await.map_err(|_| "the control URL cannot be reached")?;
    if response.status().is_success() {
        return Ok(());
    }
    Err(format!("the control URL answers with {}", response.status().as_u16()))
}

/// Whether a message's call can be steered: it has a control URL that leads there.
///
/// # Errors
/// Why not.
pub fn target(hosts: Hosts, said: &Said) -> Result<(), &'static str> {
    url(hosts, said).map(drop)
}

fn url(hosts: Hosts, said: &Said) -> Result<Uri, &'static str> {
    let pointer: Pointer = "/call/monitor/controlUrl".parse().map_err(|_| "no such pointer")?;
    let url = said.text(&pointer).ok_or("the message has no control URL")?;
    let url: Uri = url.parse().map_err(|_| "the message's control URL is no URL")?;
    match (is_allowed(hosts, &url), hosts) {
        (true, _) => Ok(url),
        (false, Hosts::Loopback) => Err("the message's control URL does not lead to this machine"),
        (false, _) => Err("the message's control URL does not lead to Vapi"),
    }
}

fn is_allowed(hosts: Hosts, url: &Uri) -> bool {
    let Some(authority) = url.authority().map(|authority| authority.as_str().to_ascii_lowercase()) else {
        return false;
    };
    let is_vapi = || {
        // Neither a name and a password, nor another port, nor anything else a URL may be disguised with.
        let host = authority.strip_suffix(":443").unwrap_or(&authority);
        let labels = |host: &str| host.split('.').all(|label| !label.is_empty() && label.bytes().all(is_of_a_label));
        labels(host) && DOMAINS.iter().any(|domain| host == *domain || host.ends_with(&format!(".{domain}")))
    };
    let is_loopback = || {
        let host = url.host().unwrap_or_default();
        !authority.contains('@') && ["127.0.0.1", "localhost", "[::1]"].contains(&host)
    };
    match (url.scheme_str(), hosts) {
        (Some("https"), Hosts::Vapi | Hosts::VapiAndLoopback) => is_vapi(),
        (Some("http"), Hosts::Loopback | Hosts::VapiAndLoopback) => is_loopback(),
        _ => false,
    }
}

fn is_of_a_label(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-'
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
            "https://.vapi.ai/x",
            "https://api.vapi.ai:99999/x",
            "https://api.vapi.ai:/x",
            "https://a_b.vapi.ai/x",
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
        assert!(!allowed(Hosts::Loopback, "https://api.vapi.ai/x"), "no real call is heard in");
    }
}
