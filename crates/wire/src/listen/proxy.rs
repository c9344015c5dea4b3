//! The PROXY protocol, versions 1 and 2: a proxy in front says whose connection it passes on.
//!
//! By HAProxy's `proxy-protocol.txt`. Read from peers that are trusted to say it (`Options::proxy_protocol`), and
//! from these always: a connection of theirs without a header is closed, because whoever is allowed to leave it
//! out could hide, and whoever is allowed to send one without being trusted could pass for anybody.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::task::{Poll, ready};

use rustix::net::RecvFlags;
use tokio::io::Interest;

use crate::connection::Connection;
use crate::connection::buffer::Buffer;
use crate::options::Options;

/// The longest header of version 1, its CR LF among it (2.1).
const V1_BYTES: usize = 107;

/// What stands before the addresses in version 2, and how it begins (2.2).
const V2_HEAD: usize = 16;
const V2_SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// Most bytes of addresses and further fields (TLVs) in version 2. Proxies send some hundred.
const V2_BYTES: usize = 4096;

/// The proxy through which a request came, in its extensions beside [`crate::PeerAddr`], which is the client's
/// address then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ViaProxy(pub SocketAddr);

/// A whole header: its length, and the client's address unless the proxy speaks for itself or does not know.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) len: usize,
    pub(crate) client: Option<SocketAddr>,
}

/// Reads the header at the front of `bytes`. `None`: more bytes are needed, and all of these belong to it.
pub(crate) fn parse(bytes: &[u8]) -> Result<Option<Header>, &'static str> {
    let signature = &V2_SIGNATURE[..bytes.len().min(V2_SIGNATURE.len())];
    if bytes.starts_with(signature) { second(bytes) } else { first(bytes) }
}

/// `PROXY TCP4 client server client-port server-port CR LF`, or `PROXY UNKNOWN ... CR LF`.
fn first(bytes: &[u8]) -> Result<Option<Header>, &'static str> {
    const BEGINNING: &[u8] = b"PROXY ";
    if !bytes.starts_with(&BEGINNING[..bytes.len().min(BEGINNING.len())]) {
        return Err("it does not begin with a PROXY header");
    }
    let line = &bytes[..bytes.len().min(V1_BYTES)];
    let Some(end) = line.iter().position(|byte| *byte == b'\n') else {
        return if line.len() == V1_BYTES { Err("the header has no end") } else { Ok(None) };
    };
    let text = line[..end].strip_suffix(b"\r").ok_or("the header's line ends without CR")?;
    let text = std::str::from_utf8(text).map_err(|_| "the header is no text")?;
    let mut words = text.split(' ').skip(1);
    let client = match words.next() {
        // Whatever follows is to be ignored (2.1).
        Some("UNKNOWN") => return Ok(Some(Header { len: end + 1, client: None })),
        Some("TCP4") => line_addresses::<Ipv4Addr>(words)?,
        Some("TCP6") => line_addresses::<Ipv6Addr>(words)?,
        _ => return Err("the header names another protocol than TCP4, TCP6, UNKNOWN"),
    };
    Ok(Some(Header { len: end + 1, client: Some(client) }))
}

fn line_addresses<'a, A: FromStr + Into<IpAddr>>(
    mut words: impl Iterator<Item = &'a str>,
) -> Result<SocketAddr, &'static str> {
    let mut address =
        || words.next().and_then(|word| word.parse::<A>().ok()).ok_or("an address is malformed");
    let (client, _server) = (address()?, address()?);
    let mut port = || words.next().and_then(port).ok_or("a port is malformed");
    let (client_port, _server_port) = (port()?, port()?);
    match words.next() {
        None => Ok(SocketAddr::new(client.into(), client_port)),
        Some(_) => Err("something stands behind the ports"),
    }
}

/// Digits only, and none too many in front.
fn port(word: &str) -> Option<u16> {
    let plain = word.bytes().all(|byte| byte.is_ascii_digit()) && (word == "0" || !word.starts_with('0'));
    plain.then(|| word.parse().ok()).flatten()
}

fn second(bytes: &[u8]) -> Result<Option<Header>, &'static str> {
    let Some((head, rest)) = bytes.split_at_checked(V2_HEAD) else { return Ok(None) };
    let len = usize::from(u16::from_be_bytes([head[14], head[15]]));
    if len > V2_BYTES {
        return Err("the header is too long");
    }
    let local = match head[12] {
        0x20 => true,
        0x21 => false,
        _ => return Err("the header is of another version or command"),
    };
    let addresses = match head[13] {
        // Local connections and families that nobody here can use: the header is skipped (2.2).
        _ if local => 0,
        0x00 => 0,
        0x11 => 12,
        0x21 => 36,
        0x31 => 216,
        _ => return Err("the header speaks of something else than a stream"),
    };
    if len < addresses {
        return Err("the header is too short for its addresses");
    }
    let Some(fields) = rest.get(..len) else { return Ok(None) };
    let client = match (addresses, fields) {
        (12, [a, b, c, d, _, _, _, _, high, low, ..]) => {
            let ip = Ipv4Addr::new(*a, *b, *c, *d);
            Some(SocketAddr::new(ip.into(), u16::from_be_bytes([*high, *low])))
        }
        (36, fields) => {
            let mut ip = [0; 16];
            ip.copy_from_slice(&fields[..16]);
            let port = u16::from_be_bytes([fields[32], fields[33]]);
            Some(SocketAddr::new(Ipv6Addr::from(ip).into(), port))
        }
        _ => None,
    };
    Ok(Some(Header { len: V2_HEAD + len, client }))
}

/// Reads the header that a new connection begins with, not one byte beyond it, and takes the client's address
/// from it. False when the connection is to be closed; the log says why.
pub(crate) async fn accept(connection: &mut Connection, options: &Options) -> bool {
    connection.timer().set(options.head_timeout);
    let refused: &dyn std::fmt::Display = match read_header(connection).await {
        Ok(Ok(client)) => {
            connection.timer().set(options.keep_alive_timeout);
            if let Some(client) = client {
                let proxy = std::mem::replace(&mut connection.peer, client);
                connection.set_via(proxy);
            }
            return true;
        }
        // As a proxy does that looks whether anybody is there.
        Ok(Err("")) => return false,
        Ok(Err(reason)) => &{ reason },
        Err(error) if error.kind() == io::ErrorKind::TimedOut => &"its PROXY header did not come in time",
        Err(error) => &{ error },
    };
    tracing::warn!(proxy = %connection.peer, reason = %refused, "connection of a proxy closed");
    false
}

/// The client's address, or what is wrong with the header; nothing is said of a connection that says nothing.
async fn read_header(connection: &mut Connection) -> io::Result<Result<Option<SocketAddr>, &'static str>> {
    let mut buffer = Buffer::borrow();
    loop {
        let before = buffer.filled().len();
        let peeked = peek(connection, &mut buffer).await?;
        if peeked == 0 {
            return Ok(Err(if before == 0 { "" } else { "its PROXY header broke off" }));
        }
        let taken = match parse(buffer.filled()) {
            Ok(None) => peeked,
            Ok(Some(header)) => {
                discard(connection, header.len - before)?;
                return Ok(Ok(header.client));
            }
            Err(reason) => return Ok(Err(reason)),
        };
        discard(connection, taken)?;
    }
}

/// Waits for more bytes and copies them behind what is there; they stay in the socket.
async fn peek(connection: &mut Connection, buffer: &mut Buffer) -> io::Result<usize> {
    let n = poll_fn(|cx| {
        loop {
            if connection.poll_readable(cx)?.is_pending() {
                ready!(connection.timer().poll_expired(cx));
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            let stream = connection.stream();
            let room = &mut buffer.spare()[..V2_HEAD + V2_BYTES];
            match stream
                .try_io(Interest::READABLE, || Ok(rustix::net::recv(stream, room, RecvFlags::PEEK)?.0))
            {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return Poll::Ready(result),
            }
        }
    })
    .await?;
    buffer.fill(n);
    Ok(n)
}

/// Takes `n` bytes that are there out of the socket.
fn discard(connection: &Connection, mut n: usize) -> io::Result<()> {
    let mut piece = [0_u8; 512];
    while n > 0 {
        let most = n.min(piece.len());
        n -= rustix::net::recv(connection.stream(), &mut piece[..most], RecvFlags::DONTWAIT)?.0;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
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
        let client = client.map(|client| client.parse().expect("an address"));
        for behind in ["", "GET / HTTP/1.1\r\n", "\n"] {
            let want = Header { len: header.len(), client };
            assert_eq!(parse(&[header, behind.as_bytes()].concat()), Ok(Some(want)));
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
        check(&v2(0x20, 0x00, &[7; V2_BYTES]), None);
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
        check(&line(V1_BYTES), None);
        assert!(parse(&line(V1_BYTES + 1)).is_err());
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
            v2(0x20, 0x00, &[0; V2_BYTES + 1]),
        ] {
            assert!(parse(&header).is_err(), "{header:?}");
        }
    }
}
