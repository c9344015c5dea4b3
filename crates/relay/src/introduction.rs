//! The PROXY protocol, versions 1 and 2, outwards: what a relay says to a target before the client's first byte. By
//! HAProxy's `proxy-protocol.txt`.

use std::net::{IpAddr, SocketAddr};

use crate::listener::Addresses;

/// How version 2 begins (2.2).
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// Version 2, command PROXY.
const PROXY: u8 = 0x21;

/// Families of addresses, over TCP.
const UNSPECIFIED: u8 = 0x00;
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;

/// A version of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

impl ProxyProtocol {
    /// The header. Of a client on a Unix socket there is nothing to be said but that it is unknown.
    pub(crate) fn header(self, addresses: Option<Addresses>) -> Vec<u8> {
        let pair = addresses.map(|Addresses { client, local }| alike(client, local));
        match self {
            ProxyProtocol::V1 => line(pair).into_bytes(),
            ProxyProtocol::V2 => binary(pair),
        }
    }
}

/// IPv4 addresses as such, also if they came to a socket for IPv6; otherwise both as IPv6.
fn alike(client: SocketAddr, local: SocketAddr) -> (SocketAddr, SocketAddr) {
    let (source, target) = (client.ip().to_canonical(), local.ip().to_canonical());
    let as_six = |ip| match ip {
        IpAddr::V4(ip) => IpAddr::V6(ip.to_ipv6_mapped()),
        IpAddr::V6(_) => ip,
    };
    let (source, target) = match (source, target) {
        (IpAddr::V4(_), IpAddr::V4(_)) => (source, target),
        _ => (as_six(source), as_six(target)),
    };
    (SocketAddr::new(source, client.port()), SocketAddr::new(target, local.port()))
}

fn line(pair: Option<(SocketAddr, SocketAddr)>) -> String {
    let Some((client, local)) = pair else { return "PROXY UNKNOWN\r\n".to_owned() };
    let family = if client.is_ipv4() { "TCP4" } else { "TCP6" };
    format!("PROXY {family} {} {} {} {}\r\n", client.ip(), local.ip(), client.port(), local.port())
}

fn binary(pair: Option<(SocketAddr, SocketAddr)>) -> Vec<u8> {
    let mut fields = Vec::new();
    let family = match pair {
        None => UNSPECIFIED,
        Some((client, local)) => {
            for ip in [client.ip(), local.ip()] {
                match ip {
                    IpAddr::V4(ip) => fields.extend(ip.octets()),
                    IpAddr::V6(ip) => fields.extend(ip.octets()),
                }
            }
            fields.extend(client.port().to_be_bytes());
            fields.extend(local.port().to_be_bytes());
            if client.is_ipv4() { TCP4 } else { TCP6 }
        }
    };
    let mut header = SIGNATURE.to_vec();
    header.extend([PROXY, family, 0, fields.len() as u8]);
    header.extend(fields);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(version: ProxyProtocol, client: &str, local: &str) -> Vec<u8> {
        let address = |text: &str| text.parse().expect("an address");
        version.header(Some(Addresses { client: address(client), local: address(local) }))
    }

    #[test]
    fn version_1_is_a_line() {
        let line = |client, local| String::from_utf8(header(ProxyProtocol::V1, client, local)).expect("text");
        assert_eq!(
            line("192.0.2.1:56324", "198.51.100.2:443"),
            "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n"
        );
        assert_eq!(line("[2001:db8::1]:1", "[::1]:65535"), "PROXY TCP6 2001:db8::1 ::1 1 65535\r\n");
        assert_eq!(
            line("[::ffff:192.0.2.1]:7", "[::ffff:10.0.0.1]:8"),
            "PROXY TCP4 192.0.2.1 10.0.0.1 7 8\r\n"
        );
        assert_eq!(line("[::ffff:192.0.2.1]:7", "[::1]:8"), "PROXY TCP6 ::ffff:192.0.2.1 ::1 7 8\r\n");
        assert_eq!(ProxyProtocol::V1.header(None), b"PROXY UNKNOWN\r\n");
    }

    #[test]
    fn version_2_is_binary() {
        let beginning = b"\r\n\r\n\0\r\nQUIT\n\x21";
        let four = header(ProxyProtocol::V2, "192.0.2.1:56324", "198.51.100.2:443");
        let fields = [0x11, 0, 12, 192, 0, 2, 1, 198, 51, 100, 2, 0xdc, 0x04, 1, 187];
        assert_eq!(four, [&beginning[..], &fields].concat());
        let six = header(ProxyProtocol::V2, "[2001:db8::1]:1", "[::1]:65535");
        let mut fields = vec![0x21, 0, 36, 0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        fields.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0xff, 0xff]);
        assert_eq!(six, [&beginning[..], &fields].concat());
        assert_eq!(ProxyProtocol::V2.header(None), [&beginning[..], &[0, 0, 0]].concat());
    }
}
