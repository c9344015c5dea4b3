//! The PROXY protocol, versions 1 and 2, read and written: a proxy sends a header in front of a
//! connection, and names in it the client that the connection belongs to. By HAProxy's
//! [`proxy-protocol.txt`][specification]; the numbers in comments are its sections.
//!
//! [`parse`] takes a prefix of what a connection has delivered, allocates nothing, and never needs
//! more than [`MAX_HEADER_BYTES`]. Reading from a socket is the caller's part, because the bytes
//! behind the header must stay there.
//!
//! Why not the crate `ppp` (2.3): it accepts what we reject, a port of `+1`, datagrams (`0x12`) and
//! families without a transport (`0x10`), and rejects what 2.2 says to skip, a `LOCAL` header of an
//! unknown family or without addresses. It has no bound below the 65,551 bytes that version 2 can
//! announce, so that a peer could make us buffer as much. Each of these would need a check in front
//! of it, and together they are the parser below.
//!
//! [specification]: https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// The longest header of version 1, including its CR LF (2.1).
///
/// Bound: connections.
const V1_MAX_BYTES: usize = 107;

/// What precedes the addresses in version 2, and its first bytes (2.2).
const V2_PREFIX_BYTES: usize = 16;
const V2_SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// Bytes of addresses and further fields (TLVs) in a header of version 2. Proxies send some
/// hundred; the format allows 65,535.
///
/// Bound: connections.
const V2_MAX_PAYLOAD: usize = 4096;

/// Length of the longest header that [`parse`] accepts.
pub const MAX_HEADER_BYTES: usize = V2_PREFIX_BYTES + V2_MAX_PAYLOAD;

/// Version and command of version 2.
const V2_LOCAL: u8 = 0x20;
const V2_PROXY: u8 = 0x21;

/// Address family and transport of version 2, and the bytes that the addresses take.
const UNSPECIFIED: u8 = 0x00;
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;
const UNIX_STREAM: u8 = 0x31;
const TCP4_BYTES: usize = 12;
const TCP6_BYTES: usize = 36;
const UNIX_BYTES: usize = 216;

/// A version of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyVersion {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// The two ends of a proxied connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionAddresses {
    /// Where the connection comes from.
    pub client: SocketAddr,
    /// What the client connected to, which is an address of the proxy.
    pub server: SocketAddr,
}

/// A complete header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyHeader {
    /// Bytes that the header takes; the client's first byte follows.
    pub len: usize,
    /// `None` if the proxy speaks for itself (`LOCAL`), or does not know the client, or names a
    /// Unix socket.
    pub addresses: Option<ConnectionAddresses>,
}

/// Why bytes are not a PROXY header. The text completes "the connection was closed: …".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidProxyHeader(&'static str);

impl InvalidProxyHeader {
    /// The reason, for a log.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.0
    }
}

impl std::fmt::Display for InvalidProxyHeader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for InvalidProxyHeader {}

/// Reads the header at the front of `bytes`. `None` asks for more bytes; all of these belong to the
/// header.
///
/// # Errors
/// The bytes cannot become a valid header, or one longer than [`MAX_HEADER_BYTES`].
pub fn parse(bytes: &[u8]) -> Result<Option<ProxyHeader>, InvalidProxyHeader> {
    let signature = &V2_SIGNATURE[..bytes.len().min(V2_SIGNATURE.len())];
    if bytes.starts_with(signature) { parse_v2(bytes) } else { parse_v1(bytes) }.map_err(InvalidProxyHeader)
}

/// Writes a header. Without addresses (a client on a Unix socket) it says that the client is
/// unknown.
///
/// An IPv4 address that arrived on an IPv6 socket is written as IPv4; if only one of the two is
/// IPv4, both are written as IPv6.
#[must_use]
pub fn encode(version: ProxyVersion, addresses: Option<ConnectionAddresses>) -> Vec<u8> {
    let addresses = addresses.map(same_family);
    match version {
        ProxyVersion::V1 => encode_v1(addresses).into_bytes(),
        ProxyVersion::V2 => encode_v2(addresses),
    }
}

/// `PROXY TCP4 client server client-port server-port CR LF`, or `PROXY UNKNOWN ... CR LF`.
fn parse_v1(bytes: &[u8]) -> Result<Option<ProxyHeader>, &'static str> {
    const PREFIX: &[u8] = b"PROXY ";
    if !bytes.starts_with(&PREFIX[..bytes.len().min(PREFIX.len())]) {
        return Err("it does not begin with a PROXY header");
    }
    let line = &bytes[..bytes.len().min(V1_MAX_BYTES)];
    let Some(end) = line.iter().position(|byte| *byte == b'\n') else {
        return if line.len() == V1_MAX_BYTES { Err("its PROXY header has no end") } else { Ok(None) };
    };
    let text = line[..end].strip_suffix(b"\r").ok_or("the line of its PROXY header ends without CR")?;
    let text = std::str::from_utf8(text).map_err(|_| "its PROXY header is not text")?;
    let mut words = text.split(' ').skip(1);
    let addresses = match words.next() {
        // A receiver must ignore what follows (2.1).
        Some("UNKNOWN") => return Ok(Some(ProxyHeader { len: end + 1, addresses: None })),
        Some("TCP4") => parse_v1_addresses::<Ipv4Addr>(words)?,
        Some("TCP6") => parse_v1_addresses::<Ipv6Addr>(words)?,
        _ => return Err("its PROXY header names a protocol other than TCP4, TCP6, UNKNOWN"),
    };
    Ok(Some(ProxyHeader { len: end + 1, addresses: Some(addresses) }))
}

fn parse_v1_addresses<'a, A: FromStr + Into<IpAddr>>(
    mut words: impl Iterator<Item = &'a str>,
) -> Result<ConnectionAddresses, &'static str> {
    let mut address = || {
        let address = words.next().and_then(|word| word.parse::<A>().ok());
        address.map(Into::into).ok_or("an address in its PROXY header is malformed")
    };
    let (client, server) = (address()?, address()?);
    let mut port = || words.next().and_then(parse_port).ok_or("a port in its PROXY header is malformed");
    let (client_port, server_port) = (port()?, port()?);
    match words.next() {
        None => Ok(ConnectionAddresses {
            client: SocketAddr::new(client, client_port),
            server: SocketAddr::new(server, server_port),
        }),
        Some(_) => Err("text follows the ports in its PROXY header"),
    }
}

/// Digits without a sign or a leading zero.
fn parse_port(word: &str) -> Option<u16> {
    let plain = word.bytes().all(|byte| byte.is_ascii_digit()) && (word == "0" || !word.starts_with('0'));
    plain.then(|| word.parse().ok()).flatten()
}

fn parse_v2(bytes: &[u8]) -> Result<Option<ProxyHeader>, &'static str> {
    let Some((prefix, rest)) = bytes.split_at_checked(V2_PREFIX_BYTES) else { return Ok(None) };
    let len = usize::from(u16::from_be_bytes([prefix[14], prefix[15]]));
    if len > V2_MAX_PAYLOAD {
        return Err("its PROXY header is too long");
    }
    let is_local = match prefix[12] {
        V2_LOCAL => true,
        V2_PROXY => false,
        _ => return Err("its PROXY header has an unknown version or command"),
    };
    let family = prefix[13];
    let needed = match family {
        // A receiver skips the addresses of a local connection, whatever the family (2.2).
        _ if is_local => 0,
        UNSPECIFIED => 0,
        TCP4 => TCP4_BYTES,
        TCP6 => TCP6_BYTES,
        UNIX_STREAM => UNIX_BYTES,
        _ => return Err("its PROXY header is not about a stream"),
    };
    if len < needed {
        return Err("its PROXY header is too short for its addresses");
    }
    let Some(payload) = rest.get(..len) else { return Ok(None) };
    let addresses = match needed {
        TCP4_BYTES => {
            let octets = |at| -> [u8; 4] { std::array::from_fn(|i| payload[at + i]) };
            parse_v2_addresses(Ipv4Addr::from(octets(0)), Ipv4Addr::from(octets(4)), &payload[8..12])
        }
        TCP6_BYTES => {
            let octets = |at| -> [u8; 16] { std::array::from_fn(|i| payload[at + i]) };
            parse_v2_addresses(Ipv6Addr::from(octets(0)), Ipv6Addr::from(octets(16)), &payload[32..36])
        }
        _ => None,
    };
    Ok(Some(ProxyHeader { len: V2_PREFIX_BYTES + len, addresses }))
}

/// Two addresses, and the four bytes of their ports.
fn parse_v2_addresses<A: Into<IpAddr>>(client: A, server: A, ports: &[u8]) -> Option<ConnectionAddresses> {
    let [client_high, client_low, server_high, server_low] = *ports else { return None };
    Some(ConnectionAddresses {
        client: SocketAddr::new(client.into(), u16::from_be_bytes([client_high, client_low])),
        server: SocketAddr::new(server.into(), u16::from_be_bytes([server_high, server_low])),
    })
}

/// Both as IPv4, or both as IPv6.
fn same_family(addresses: ConnectionAddresses) -> ConnectionAddresses {
    let ConnectionAddresses { client, server } = addresses;
    let (source, target) = (client.ip().to_canonical(), server.ip().to_canonical());
    let as_v6 = |ip| match ip {
        IpAddr::V4(ip) => IpAddr::V6(ip.to_ipv6_mapped()),
        IpAddr::V6(_) => ip,
    };
    let (source, target) = match (source, target) {
        (IpAddr::V4(_), IpAddr::V4(_)) => (source, target),
        _ => (as_v6(source), as_v6(target)),
    };
    ConnectionAddresses {
        client: SocketAddr::new(source, client.port()),
        server: SocketAddr::new(target, server.port()),
    }
}

fn encode_v1(addresses: Option<ConnectionAddresses>) -> String {
    let Some(ConnectionAddresses { client, server }) = addresses else {
        return "PROXY UNKNOWN\r\n".to_owned();
    };
    let family = if client.is_ipv4() { "TCP4" } else { "TCP6" };
    format!("PROXY {family} {} {} {} {}\r\n", client.ip(), server.ip(), client.port(), server.port())
}

fn encode_v2(addresses: Option<ConnectionAddresses>) -> Vec<u8> {
    let mut payload = Vec::new();
    let family = match addresses {
        None => UNSPECIFIED,
        Some(ConnectionAddresses { client, server }) => {
            for ip in [client.ip(), server.ip()] {
                match ip {
                    IpAddr::V4(ip) => payload.extend(ip.octets()),
                    IpAddr::V6(ip) => payload.extend(ip.octets()),
                }
            }
            payload.extend(client.port().to_be_bytes());
            payload.extend(server.port().to_be_bytes());
            if client.is_ipv4() { TCP4 } else { TCP6 }
        }
    };
    let mut header = V2_SIGNATURE.to_vec();
    // At most TCP6_BYTES.
    header.extend([V2_PROXY, family, 0, payload.len() as u8]);
    header.extend(payload);
    header
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn v2(command: u8, family: u8, fields: &[u8]) -> Vec<u8> {
        let mut header = V2_SIGNATURE.to_vec();
        header.extend([command, family]);
        header.extend(u16::try_from(fields.len()).expect("short").to_be_bytes());
        header.extend(fields);
        header
    }

    /// Accepted whole, and at no byte before; what follows does not matter.
    fn check(header: &[u8], client: Option<&str>) {
        for len in 0..header.len() {
            assert_eq!(parse(&header[..len]), Ok(None), "{:?}", header[..len].escape_ascii().to_string());
        }
        let client: Option<SocketAddr> = client.map(|client| client.parse().expect("an address"));
        for behind in ["", "GET / HTTP/1.1\r\n", "\n"] {
            let parsed = parse(&[header, behind.as_bytes()].concat()).expect("valid").expect("complete");
            assert_eq!(parsed.len, header.len());
            assert_eq!(parsed.addresses.map(|addresses| addresses.client), client);
        }
    }

    #[test]
    fn good_headers_are_read_to_their_last_byte() {
        check(b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n", Some("192.0.2.1:56324"));
        check(b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 0\r\n", Some("255.255.255.255:65535"));
        check(b"PROXY TCP6 2001:db8::1 ::1 1 65535\r\n", Some("[2001:db8::1]:1"));
        check(b"PROXY UNKNOWN\r\n", None);
        check(b"PROXY UNKNOWN whatever it says \xc3\xa9\r\n", None);
        let four = [192, 0, 2, 1, 198, 51, 100, 2, 0xdc, 0x04, 1, 187];
        check(&v2(0x21, 0x11, &four), Some("192.0.2.1:56324"));
        check(&v2(0x21, 0x11, &[&four[..], &[4, 0, 1, 0]].concat()), Some("192.0.2.1:56324"));
        check(&v2(0x20, 0x11, &four), None);
        check(&v2(0x20, 0x00, &[]), None);
        check(&v2(0x20, 0x00, &[7; V2_MAX_PAYLOAD]), None);
        check(&v2(0x21, 0x00, &[1, 2, 3]), None);
        check(&v2(0x21, 0x31, &[b'x'; 216]), None);
        let mut six = [0_u8; 36];
        six[..2].copy_from_slice(&[0x20, 0x01]);
        six[15] = 5;
        six[33] = 80;
        check(&v2(0x21, 0x21, &six), Some("[2001::5]:80"));
    }

    #[test]
    fn the_longest_line_is_read_and_a_longer_one_is_not() {
        let line = |len: usize| [&b"PROXY UNKNOWN "[..], &vec![b'x'; len - 16], b"\r\n"].concat();
        check(&line(V1_MAX_BYTES), None);
        assert!(parse(&line(V1_MAX_BYTES + 1)).is_err());
    }

    #[test]
    fn malformed_headers_are_refused() {
        for line in [
            "GET / HTTP/1.1\r\n",
            "proxy TCP4 192.0.2.1 198.51.100.2 1 2\r\n",
            "PROXY  TCP4 192.0.2.1 198.51.100.2 1 2\r\n",
            "PROXY TCP4  192.0.2.1 198.51.100.2 1 2\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 1 2 \r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 1 2 3\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 1\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 01 2\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 +1 2\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 65536 2\r\n",
            "PROXY TCP4 192.0.2.01 198.51.100.2 1 2\r\n",
            "PROXY TCP4 2001:db8::1 ::1 1 2\r\n",
            "PROXY TCP6 192.0.2.1 198.51.100.2 1 2\r\n",
            "PROXY UDP4 192.0.2.1 198.51.100.2 1 2\r\n",
            "PROXY \r\n",
            "PROXY UNKNOWN\n",
        ] {
            assert!(parse(line.as_bytes()).is_err(), "{line:?}");
        }
        for header in [
            v2(0x11, 0x11, &[0; 12]),
            v2(0x22, 0x11, &[0; 12]),
            v2(0x21, 0x12, &[0; 12]),
            v2(0x21, 0x11, &[0; 11]),
            v2(0x21, 0x21, &[0; 35]),
            v2(0x21, 0x31, &[0; 215]),
            v2(0x21, 0x41, &[0; 216]),
            v2(0x20, 0x00, &[0; V2_MAX_PAYLOAD + 1]),
        ] {
            assert!(parse(&header).is_err(), "{header:?}");
        }
    }

    fn header(version: ProxyVersion, client: &str, server: &str) -> Vec<u8> {
        let address = |text: &str| text.parse().expect("an address");
        encode(version, Some(ConnectionAddresses { client: address(client), server: address(server) }))
    }

    #[test]
    fn version_1_is_a_line() {
        let line =
            |client, server| String::from_utf8(header(ProxyVersion::V1, client, server)).expect("text");
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
        assert_eq!(encode(ProxyVersion::V1, None), b"PROXY UNKNOWN\r\n");
    }

    #[test]
    fn version_2_is_binary() {
        let beginning = b"\r\n\r\n\0\r\nQUIT\n\x21";
        let four = header(ProxyVersion::V2, "192.0.2.1:56324", "198.51.100.2:443");
        let fields = [0x11, 0, 12, 192, 0, 2, 1, 198, 51, 100, 2, 0xdc, 0x04, 1, 187];
        assert_eq!(four, [&beginning[..], &fields].concat());
        let six = header(ProxyVersion::V2, "[2001:db8::1]:1", "[::1]:65535");
        let mut fields = vec![0x21, 0, 36, 0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        fields.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0xff, 0xff]);
        assert_eq!(six, [&beginning[..], &fields].concat());
        assert_eq!(encode(ProxyVersion::V2, None), [&beginning[..], &[0, 0, 0]].concat());
    }

    fn socket_address() -> impl Strategy<Value = SocketAddr> {
        // IPv4-mapped addresses among them, which both ends have to agree on.
        let ip = prop_oneof![
            any::<[u8; 4]>().prop_map(IpAddr::from),
            any::<[u8; 16]>().prop_map(IpAddr::from),
            any::<[u8; 4]>().prop_map(|ip| IpAddr::V6(Ipv4Addr::from(ip).to_ipv6_mapped())),
        ];
        (ip, any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(ip, port))
    }

    proptest! {
        #[test]
        fn a_written_header_is_read_back_and_what_follows_is_left(
            is_v1 in any::<bool>(),
            client in socket_address(),
            server in socket_address(),
            is_known in any::<bool>(),
            behind in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            let version = if is_v1 { ProxyVersion::V1 } else { ProxyVersion::V2 };
            let addresses = is_known.then_some(ConnectionAddresses { client, server });
            let header = encode(version, addresses);
            let parsed = parse(&[&header[..], &behind].concat()).unwrap().unwrap();
            prop_assert_eq!(parsed.len, header.len());
            prop_assert_eq!(parsed.addresses, addresses.map(same_family));
            for len in 0..header.len() {
                prop_assert_eq!(parse(&header[..len]), Ok(None));
            }
        }

        #[test]
        fn no_bytes_make_the_parser_ask_for_more_than_its_bound(
            mut bytes in proptest::collection::vec(any::<u8>(), MAX_HEADER_BYTES..MAX_HEADER_BYTES + 100),
            start in proptest::sample::select(vec![&b""[..], b"PROXY ", b"PROXY TCP4 ", V2_SIGNATURE]),
        ) {
            bytes[..start.len()].copy_from_slice(start);
            prop_assert_ne!(parse(&bytes), Ok(None));
        }
    }
}
