//! Heads of requests that ask for nothing but an address: read without copying anything.

use std::mem::MaybeUninit;
use std::net::SocketAddr;

use super::head::{check_line_ends, in_host, letters_digits_and};
use crate::service::PlainRequest;

/// Maximum number of fields of a plain head. One with more is parsed like any other.
const MAX_PLAIN_FIELDS: usize = 24;

/// A plain head, and what was made of it.
pub(super) struct PlainHead<T> {
    /// Length of the head in bytes.
    pub(super) len: usize,
    /// The method is HEAD; else it is GET.
    pub(super) is_head: bool,
    pub(super) answer: T,
}

/// Passes the head at the front of `bytes` to `answer`, if it is complete and plain: GET or HEAD in
/// HTTP/1.1, without a body, on a connection that persists, and without any field that decides what
/// is answered, other than `Accept-Encoding`. It is held to the same rules as any head: `None` only
/// says that [`super::head::parse`] has to read it.
pub(super) fn parse<T>(
    bytes: &[u8],
    (peer, via): (SocketAddr, Option<SocketAddr>),
    answer: impl FnOnce(&PlainRequest<'_>) -> Option<T>,
) -> Option<PlainHead<T>> {
    let mut fields = [const { MaybeUninit::uninit() }; MAX_PLAIN_FIELDS];
    let mut parsed = httparse::Request::new(&mut []);
    let Ok(httparse::Status::Complete(len)) = parsed.parse_with_uninit_headers(bytes, &mut fields) else {
        return None;
    };
    let is_head = match parsed.method? {
        "GET" => false,
        "HEAD" => true,
        _ => return None,
    };
    let is_common = |byte: u8| COMMON[usize::from(byte)];
    let target = parsed.path.filter(|target| target.starts_with('/') && target.bytes().all(is_common))?;
    if parsed.version != Some(1) || check_line_ends(&bytes[..len]).is_err() {
        return None;
    }
    let mut hosts = 0;
    for field in parsed.headers.iter() {
        if field.name.eq_ignore_ascii_case("host") {
            hosts += 1;
            if !field.value.iter().all(in_host) {
                return None;
            }
        } else if is_decisive(field) {
            return None;
        }
    }
    if hosts != 1 {
        return None;
    }
    let request = PlainRequest { is_head, target, fields: parsed.headers, peer, via };
    Some(PlainHead { len, is_head, answer: answer(&request)? })
}

/// Whether a field decides what is answered, or what becomes of the connection.
fn is_decisive(field: &httparse::Header<'_>) -> bool {
    if field.name.eq_ignore_ascii_case("connection") {
        // That is what HTTP/1.1 does anyway.
        return !field.value.eq_ignore_ascii_case(b"keep-alive");
    }
    DECISIVE.iter().any(|name| field.name.eq_ignore_ascii_case(name))
}

const DECISIVE: [&str; 10] = [
    "content-length",
    "transfer-encoding",
    "expect",
    "upgrade",
    "range",
    "if-range",
    "if-match",
    "if-none-match",
    "if-modified-since",
    "if-unmodified-since",
];

/// Bytes of a target that every reader understands in the same way.
static COMMON: [bool; 256] = letters_digits_and(b"/-._~!$&'()*+,;=:@%?");

#[cfg(test)]
mod tests {
    use http::Method;

    use super::super::head;
    use super::*;
    use crate::message::framing::RequestFraming;

    fn plain(bytes: &[u8]) -> Option<PlainHead<String>> {
        let client = (([192, 0, 2, 1], 5000).into(), None);
        parse(bytes, client, |request| Some(request.target().to_owned()))
    }

    #[test]
    fn what_is_plain_is_accepted_as_well_and_means_the_same() {
        for (head, is_plain) in [
            ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", true),
            ("HEAD /a/b.txt?c=d%20 HTTP/1.1\r\nHost: x:1\r\nAccept: */*\r\nUser-Agent: y\r\n\r\nGET ", true),
            ("\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", true),
            ("GET / HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n", true),
            ("GET / HTTP/1.1\r\nHost: x\r\nConnection: Keep-Alive\r\n\r\n", true),
            ("GET / HTTP/1.1\r\nHost: x\r\n", false),
            ("POST / HTTP/1.1\r\nHost: x\r\n\r\n", false),
            ("GET / HTTP/1.0\r\nHost: x\r\n\r\n", false),
            ("GET http://x/ HTTP/1.1\r\nHost: x\r\n\r\n", false),
            ("GET /\u{e4} HTTP/1.1\r\nHost: x\r\n\r\n", false),
            ("GET / HTTP/1.1\r\nHost: x\r\nRange: bytes=0-\r\n\r\n", false),
            ("GET / HTTP/1.1\r\nHost: x\r\nCONNECTION: close\r\n\r\n", false),
            ("GET / HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, close\r\n\r\n", false),
            ("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", false),
            ("GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", false),
            ("GET / HTTP/1.1\r\nHost: x\r\nIf-Range: \"a\"\r\n\r\n", false),
            ("GET / HTTP/1.1\r\nHost: x\nA: b\r\n\r\n", false),
            ("GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n", false),
            ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", false),
            ("GET / HTTP/1.1\r\n\r\n", false),
        ] {
            let plain = plain(head.as_bytes());
            assert_eq!(plain.is_some(), is_plain, "{head:?}");
            let Some(plain) = plain else { continue };
            let full = match head::parse(head.as_bytes()) {
                Ok(Some(full)) => full,
                _ => panic!("{head:?} is not accepted"),
            };
            assert_eq!(plain.len, full.len);
            assert_eq!(plain.answer, full.request.uri().to_string());
            assert_eq!(plain.is_head, full.request.method() == Method::HEAD);
            assert!(full.keep_alive && full.framing == RequestFraming::Length(0) && !full.expect_continue);
        }
        let many = "A: b\r\n".repeat(MAX_PLAIN_FIELDS);
        assert!(plain(format!("GET / HTTP/1.1\r\nHost: x\r\n{many}\r\n").as_bytes()).is_none());
    }
}
