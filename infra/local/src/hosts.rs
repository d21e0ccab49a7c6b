//! The names by which a local server may be called. A web page whose own name is made to lead to this machine sends
//! that name as `Host`, and is refused: otherwise it could read what is stored here.

use std::net::{IpAddr, UdpSocket};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};

/// The name of the machine that runs a container.
const OF_CONTAINERS: &str = "host.docker.internal";

/// The hosts that a server answers to.
#[derive(Debug, Clone, Default)]
pub struct Hosts(Option<Names>);

#[derive(Debug, Clone)]
struct Names {
    names: Vec<String>,
    /// Whether other machines can reach the server.
    is_open: bool,
}

impl Hosts {
    /// Every host: for a server that a test starts for itself.
    #[must_use]
    pub fn any() -> Self {
        Hosts(None)
    }

    /// Loopback addresses, `localhost`, `*.localhost`, `host` (what the server was told to listen on, which is
    /// `address`) and `allowed`. Where the address is not loopback, also this machine's addresses and
    /// `host.docker.internal`.
    #[must_use]
    pub fn of(host: &str, address: IpAddr, allowed: &[String]) -> Self {
        let names =
            allowed.iter().map(String::as_str).chain([host]).map(|name| unbracketed(&plain(name)).to_owned()).collect();
        Hosts(Some(Names { names, is_open: !address.is_loopback() }))
    }

    /// The answer to a request for another host: 421. `None` where the request may be answered.
    #[must_use]
    pub fn refusal<B>(&self, request: &Request<B>) -> Option<Response<Bytes>> {
        let names = self.0.as_ref()?;
        let headers = request.headers().get_all(header::HOST).iter().map(|host| host.to_str().unwrap_or_default());
        let in_line = request.uri().authority().map(|authority| authority.as_str());
        if headers.chain(in_line).all(|host| names.takes(host)) {
            return None;
        }
        let why = "421: this server answers to localhost only; gatehouse dev --allow-host NAME allows another name\n";
        let mut response = Response::new(Bytes::from_static(why.as_bytes()));
        *response.status_mut() = StatusCode::MISDIRECTED_REQUEST;
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        Some(response)
    }
}

impl Names {
    fn takes(&self, host: &str) -> bool {
        let name = unbracketed(&plain(host)).to_owned();
        if let Ok(address) = name.parse::<IpAddr>() {
            // An address can be listened on only by the machine it belongs to.
            let is_own = || self.is_open && !address.is_unspecified() && UdpSocket::bind((address, 0)).is_ok();
            return address.is_loopback() || self.names.contains(&name) || is_own();
        }
        name == "localhost"
            || name.ends_with(".localhost")
            || self.names.contains(&name)
            || (self.is_open && name == OF_CONTAINERS)
    }
}

/// An IPv6 address stands in brackets where a port may follow.
fn unbracketed(name: &str) -> &str {
    name.trim_start_matches('[').trim_end_matches(']')
}

/// A host without its port, in small letters and without a dot at its end.
fn plain(host: &str) -> String {
    let host = host.trim();
    let name = match host.rsplit_once(':') {
        // An IPv6 address has colons too, and stands in brackets where a port follows.
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
    fn only_names_of_this_machine_and_allowed_ones_are_answered() {
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
