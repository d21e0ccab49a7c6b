//! Controls a live call by posting messages to its `controlUrl`.
//!
//! Anyone who knows that URL can control the call, and it comes from the message. Therefore it is used only if its host
//! is one of the [`ControlHosts`], it is never logged, and redirects are not followed.

use bytes::Bytes;
use gatehouse_egress::{Client, NetworkScope, Tls};
use gatehouse_payload::pointer::Pointer;
use gatehouse_receiver::responder::Action;
use http::{Method, Request, Uri, header};
use hyper_util::rt::TokioExecutor;
use tokio::time::timeout_at;

use crate::message::VapiMessage;

/// The domains of Vapi's control URLs.
pub const DOMAINS: [&str; 1] = ["vapi.ai"];

/// The hosts that messages may be posted to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ControlHosts {
    /// Vapi's hosts, over HTTPS.
    Vapi,
    /// Loopback addresses, over plain HTTP. Real calls cannot be reached.
    Loopback,
    /// Vapi's hosts and loopback addresses, for a developer's machine.
    VapiAndLoopback,
}

/// Posts messages to live calls.
#[derive(Debug, Clone)]
pub struct Control {
    hosts: ControlHosts,
    connection: Connection,
}

#[derive(Debug, Clone)]
enum Connection {
    /// Each action opens its own, because connections do not survive a freeze of the Lambda environment.
    New(Tls),
    /// All actions use one client.
    Shared(Client),
}

impl Connection {
    fn client(&self, scope: NetworkScope) -> Client {
        match self {
            Connection::New(tls) => {
                let mut client = hyper_util::client::legacy::Client::builder(TokioExecutor::new());
                client.retry_canceled_requests(false).build(tls.connector(scope, None)).into()
            }
            Connection::Shared(client) => client.clone(),
        }
    }
}

impl Control {
    /// Builds the client. Reads the machine's root certificates unless `hosts` is [`ControlHosts::Loopback`].
    ///
    /// # Errors
    /// If the machine has no root certificates.
    pub fn new(hosts: ControlHosts) -> std::io::Result<Self> {
        let tls = if hosts == ControlHosts::Loopback { Tls::none() } else { Tls::native() };
        Ok(Control { hosts, connection: Connection::New(tls?) })
    }

    /// Creates a control that posts with `client`, for simulations.
    #[must_use]
    pub fn with_client(client: Client, hosts: ControlHosts) -> Self {
        Control { hosts, connection: Connection::Shared(client) }
    }

    /// An action that posts `messages` in sequence to the call of `message`. Nothing is sent before the action runs.
    #[must_use]
    pub fn act(&self, message: &VapiMessage, messages: Vec<String>) -> Action {
        let url = url(self.hosts, message);
        let connection = self.connection.clone();
        Box::new(move |until| {
            Box::pin(async move {
                let url = url?;
                let scope = if NetworkScope::is_loopback(&url) { NetworkScope::Loopback } else { NetworkScope::Public };
                let client = connection.client(scope);
                let count = messages.len();
                for (sent, message) in messages.into_iter().enumerate() {
                    let timed_out = |_| Err("timed out; the call may have received the message".to_owned());
                    let posted = timeout_at(until, post(&client, &url, message)).await.unwrap_or_else(timed_out);
                    posted.map_err(|reason| match count {
                        1 => reason,
                        _ => format!("message {} of {count}: {reason}", sent + 1),
                    })?;
                }
                Ok(())
            })
        })
    }
}

async fn post(client: &Client, url: &Uri, message: String) -> Result<(), String> {
    let request = Request::builder().method(Method::POST).uri(url).header(header::CONTENT_TYPE, "application/json");
    let request = request.body(Bytes::from(message)).map_err(|_| "the message cannot be sent as a request")?;
    let response = client.request(request).await.map_err(|_| "the control URL cannot be reached")?;
    if response.status().is_success() {
        return Ok(());
    }
    Err(format!("the control URL returned status {}", response.status().as_u16()))
}

/// Checks that a message's call can be controlled: the message has a control URL with an allowed host.
///
/// # Errors
/// The reason why it cannot be controlled.
pub fn target(hosts: ControlHosts, message: &VapiMessage) -> Result<(), &'static str> {
    url(hosts, message).map(drop)
}

fn url(hosts: ControlHosts, message: &VapiMessage) -> Result<Uri, &'static str> {
    let pointer: Pointer = "/call/monitor/controlUrl".parse().map_err(|_| "the pointer is invalid")?;
    let url = message.text(&pointer).ok_or("the message has no control URL")?;
    let url: Uri = url.parse().map_err(|_| "the message's control URL is not a URL")?;
    match (is_allowed(hosts, &url), hosts) {
        (true, _) => Ok(url),
        (false, ControlHosts::Loopback) => Err("the message's control URL does not lead to this machine"),
        (false, _) => Err("the message's control URL does not lead to Vapi"),
    }
}

fn is_allowed(hosts: ControlHosts, url: &Uri) -> bool {
    let Some(authority) = url.authority().map(|authority| authority.as_str().to_ascii_lowercase()) else {
        return false;
    };
    let is_vapi = || {
        // Only plain host names pass, so credentials, other ports and disguised hosts are rejected.
        let host = authority.strip_suffix(":443").unwrap_or(&authority);
        let is_host_name =
            |host: &str| host.split('.').all(|label| !label.is_empty() && label.bytes().all(is_label_byte));
        is_host_name(host) && DOMAINS.iter().any(|domain| host == *domain || host.ends_with(&format!(".{domain}")))
    };
    let is_loopback = || {
        let host = url.host().unwrap_or_default();
        !authority.contains('@') && ["127.0.0.1", "localhost", "[::1]"].contains(&host)
    };
    match (url.scheme_str(), hosts) {
        (Some("https"), ControlHosts::Vapi | ControlHosts::VapiAndLoopback) => is_vapi(),
        (Some("http"), ControlHosts::Loopback | ControlHosts::VapiAndLoopback) => is_loopback(),
        _ => false,
    }
}

fn is_label_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_vapis_hosts_over_https_are_allowed() {
        let allowed = |hosts, url: &str| url.parse().is_ok_and(|url| is_allowed(hosts, &url));
        for url in [
            "https://phone-call-websocket.aws-us-west-2-backend-production3.vapi.ai/2c9d/control",
            "https://api.VAPI.ai:443/x",
            "https://vapi.ai",
        ] {
            assert!(allowed(ControlHosts::Vapi, url), "{url}");
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
            assert!(!allowed(ControlHosts::Vapi, url), "{url}");
        }
        assert!(allowed(ControlHosts::VapiAndLoopback, "http://127.0.0.1:9/x"));
        assert!(!allowed(ControlHosts::VapiAndLoopback, "http://10.0.0.1/x"));
        assert!(!allowed(ControlHosts::Loopback, "https://api.vapi.ai/x"), "real calls cannot be reached");
    }
}
