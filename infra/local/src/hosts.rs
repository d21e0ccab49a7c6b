//! The host names that a local server accepts.
//!
//! This prevents DNS rebinding: a web page whose host name resolves to this machine could otherwise read stored events.
//! The requests of such a page have its host name as `Host`, and are rejected.

use std::net::{IpAddr, UdpSocket};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};

/// The name of the host machine, as seen from a container.
const CONTAINER_HOST: &str = "host.docker.internal";

/// The host names that a server accepts.
#[derive(Debug, Clone, Default)]
pub struct Hosts(Option<Names>);

#[derive(Debug, Clone)]
struct Names {
    names: Vec<String>,
    /// Whether other machines can reach the server.
    is_open: bool,
}

impl Hosts {
    /// Accepts every host name; for servers of tests.
    #[must_use]
    pub fn any() -> Self {
        Hosts(None)
    }

    /// Accepts loopback addresses, `localhost`, `*.localhost`, `host` and `allowed`. `host` is the name that the server
    /// was configured to listen on, and `address` is its address. If that is not a loopback address, this machine's
    /// addresses and `host.docker.internal` are accepted too.
    #[must_use]
    pub fn of(host: &str, address: IpAddr, allowed: &[String]) -> Self {
        let names = allowed
            .iter()
            .map(String::as_str)
            .chain([host])
            .map(|name| without_brackets(&normalized(name)).to_owned())
            .collect();
        Hosts(Some(Names { names, is_open: !address.is_loopback() }))
    }

    /// Returns a 421 response if the request is for another host; `None` if it is accepted.
    #[must_use]
    pub fn refusal<B>(&self, request: &Request<B>) -> Option<Response<Bytes>> {
        let names = self.0.as_ref()?;
        let headers = request.headers().get_all(header::HOST).iter().map(|host| host.to_str().unwrap_or_default());
        let target = request.uri().authority().map(|authority| authority.as_str());
        if headers.chain(target).all(|host| names.contains(host)) {
            return None;
        }
        let message = "421: this server accepts localhost only; gatehouse dev --allow-host NAME allows another name\n";
        let mut response = Response::new(Bytes::from_static(message.as_bytes()));
        *response.status_mut() = StatusCode::MISDIRECTED_REQUEST;
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        Some(response)
    }
}

impl Names {
    fn contains(&self, host: &str) -> bool {
        let name = without_brackets(&normalized(host)).to_owned();
        if let Ok(address) = name.parse::<IpAddr>() {
            // A socket can be bound only to an address of this machine.
            let is_local = || self.is_open && !address.is_unspecified() && UdpSocket::bind((address, 0)).is_ok();
            return address.is_loopback() || self.names.contains(&name) || is_local();
        }
        name == "localhost"
            || name.ends_with(".localhost")
            || self.names.contains(&name)
            || (self.is_open && name == CONTAINER_HOST)
    }
}

/// Removes the brackets of an IPv6 address.
fn without_brackets(name: &str) -> &str {
    name.trim_start_matches('[').trim_end_matches(']')
}

/// Returns a host in lower case, without its port and without a trailing dot.
fn normalized(host: &str) -> String {
    let host = host.trim();
    let name = match host.rsplit_once(':') {
        // An IPv6 address contains colons. It is in brackets if a port follows.
        Some((name, port))
            if port.bytes().all(|byte| byte.is_ascii_digit()) && (!name.contains(':') || name.ends_with(']')) =>
        {
            name
        }
        _ => host,
    };
    name.trim_end_matches('.').to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(hosts: &Hosts, host: &str) -> u16 {
        let request = Request::builder().uri("/").header("host", host).body(()).unwrap();
        hosts.refusal(&request).map_or(200, |response| response.status().as_u16())
    }

    #[test]
    fn hosts_accept_this_machine_and_allowed_names_only() {
        let loopback = Hosts::of("127.0.0.1", IpAddr::from([127, 0, 0, 1]), &["My.Box".to_owned()]);
        for host in [
            "127.0.0.1:9000",
            "127.8.9.1",
            "[::1]:9000",
            "[::1]",
            "localhost",
            "LOCALHOST:1",
            "a.b.localhost:80",
            "localhost.",
            "my.box:9000",
        ] {
            assert_eq!(status(&loopback, host), 200, "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:9000",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "10.0.0.1",
            "0.0.0.0",
            "host.docker.internal",
            "",
            "evil-localhost",
            "1.1.1.1:9000",
            "[2001:db8::1]",
        ] {
            assert_eq!(status(&loopback, host), 421, "{host}");
        }
        let v6 = Hosts::of("::1", IpAddr::from([127, 0, 0, 1]), &["fd00::5".to_owned(), "[fd00::6]".to_owned()]);
        assert_eq!(
            (status(&v6, "[fd00::5]:9000"), status(&v6, "[fd00::6]"), status(&v6, "[fd00::7]")),
            (200, 200, 421)
        );
        let open = Hosts::of("0.0.0.0", IpAddr::from([0, 0, 0, 0]), &[]);
        assert_eq!((status(&open, "host.docker.internal:9000"), status(&open, "0.0.0.0:9000")), (200, 200));
        assert_eq!((status(&open, "192.0.2.7"), status(&open, "evil.example")), (421, 421));
        assert_eq!(status(&Hosts::any(), "evil.example"), 200);
        let absolute = Request::builder().uri("http://evil.example/").header("host", "localhost").body(()).unwrap();
        assert!(loopback.refusal(&absolute).is_some());
        let twice = Request::builder().header("host", "localhost").header("host", "evil.example").body(()).unwrap();
        assert!(loopback.refusal(&twice).is_some());
    }
}
