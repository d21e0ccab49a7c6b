//! Classifies IP addresses as public (RFC 6890 and its registries), private or loopback.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::NetworkScope;

/// Whether `address` is within `scope`.
#[must_use]
pub fn is_within(scope: NetworkScope, address: IpAddr) -> bool {
    let address = unwrap_v4(address);
    match scope {
        NetworkScope::Public => is_public(address),
        NetworkScope::Private => is_public(address) || is_private(address),
        NetworkScope::Loopback => address.is_loopback(),
    }
}

/// Returns the IPv4 address within an IPv4-mapped, NAT64, 6to4 or IPv4-compatible address; any other address unchanged.
fn unwrap_v4(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    };
    match v6.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => v4(high, low),
        [0x2002, high, low, ..] => v4(high, low),
        // IPv4-compatible addresses (deprecated). `::` and `::1` are not among them.
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => v4(high, low),
        _ => address,
    }
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        // Only 2000::/3 is allocated for public use.
        IpAddr::V6(v6) => (v6.segments()[0] & 0xe000) == 0x2000 && !is_special_v6(v6),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let is_special = matches!(
        address.octets(),
        [0 | 10 | 127, ..]
            | [100, 64..=127, ..]
            | [169, 254, ..]
            | [172, 16..=31, ..]
            | [192, 0, 0 | 2, _]
            | [192, 88, 99, _]
            | [192, 168, ..]
            | [198, 18 | 19, ..]
            | [198, 51, 100, _]
            | [203, 0, 113, _]
            | [224..=255, ..]
    );
    !is_special
}

/// Whether an address is in a part of 2000::/3 that is not public: Teredo and other protocols, benchmarks,
/// documentation.
fn is_special_v6(address: Ipv6Addr) -> bool {
    matches!(address.segments(), [0x2001, 0..=0x01ff, ..] | [0x2001, 0xdb8, ..] | [0x3fff, 0..=0x0fff, ..])
}

fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_private(),
        // AWS serves instance metadata within fd00:ec2::/32.
        IpAddr::V6(v6) => v6.is_unique_local() && !matches!(v6.segments(), [0xfd00, 0xec2, ..]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_within_their_scope_only() {
        let scopes = |address: &str| {
            let address = address.parse().unwrap();
            [NetworkScope::Public, NetworkScope::Private, NetworkScope::Loopback].map(|scope| is_within(scope, address))
        };
        for public in ["1.1.1.1", "52.94.236.248", "172.32.0.1", "192.0.1.1", "2606:4700::1111", "::ffff:8.8.8.8"] {
            assert_eq!(scopes(public), [true, true, false], "{public}");
        }
        for private in ["10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "fd12::1", "::ffff:10.0.0.1"] {
            assert_eq!(scopes(private), [false, true, false], "{private}");
        }
        for loopback in ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(scopes(loopback), [false, false, true], "{loopback}");
        }
        for special in [
            "0.0.0.0",
            "169.254.169.254",
            "169.254.170.2",
            "100.64.0.1",
            "192.0.0.192",
            "198.18.0.1",
            "203.0.113.7",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "2002:a9fe:a9fe::1",
            "::a9fe:a9fe",
            "fe80::1",
            "fd00:ec2::254",
            "ff02::1",
            "2001:db8::1",
            "2001::1",
            "64:ff9b:1::1",
            "4000::1",
        ] {
            assert_eq!(scopes(special), [false, false, false], "{special}");
        }
    }
}
