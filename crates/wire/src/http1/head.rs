//! Reading a request's head: from bytes to `http::request::Parts`, or to the reason why not.
//!
//! Stricter than it has to be wherever two readers of the same bytes could disagree about where a
//! message ends (RFC 9112 section 11.2, request smuggling): a bare CR or LF, `Transfer-Encoding`
//! beside `Content-Length`, a list of lengths, a missing or second `Host`, white space before a
//! colon and folded lines are all refused, and the connection is closed.

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderName, HeaderValue, Method, Request, StatusCode, Uri, Version};

use super::refusal::RequestRefusal;
use crate::message::framing::RequestFraming;

/// Maximum number of header fields in a request.
///
/// Bound: requests.
const MAX_FIELDS: usize = 100;

/// A request's head and what follows from it for the connection.
pub(crate) struct RequestHead {
    pub(crate) request: Request<()>,
    /// Bytes of the head, the empty line included.
    pub(crate) len: usize,
    pub(crate) framing: RequestFraming,
    pub(crate) keep_alive: bool,
    pub(crate) expect_continue: bool,
    pub(crate) upgrade: bool,
}

const fn bad(reason: &'static str) -> RequestRefusal {
    RequestRefusal::new(StatusCode::BAD_REQUEST, reason)
}

/// Reads the head at the start of `bytes`. `None`: it is not complete yet.
pub(crate) fn parse(bytes: &[u8]) -> Result<Option<RequestHead>, RequestRefusal> {
    let mut fields = [const { MaybeUninit::<httparse::Header<'_>>::uninit() }; MAX_FIELDS];
    let mut parsed = httparse::Request::new(&mut []);
    let len = match parsed.parse_with_uninit_headers(bytes, &mut fields) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) => return check_line_ends(bytes).map(|()| None),
        Err(httparse::Error::TooManyHeaders) => {
            return Err(RequestRefusal::new(
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "more than 100 header fields",
            ));
        }
        Err(httparse::Error::Version) => {
            return Err(RequestRefusal::new(
                StatusCode::HTTP_VERSION_NOT_SUPPORTED,
                "not HTTP/1.0 or HTTP/1.1",
            ));
        }
        Err(httparse::Error::HeaderName) => return Err(bad("malformed header field name")),
        Err(httparse::Error::HeaderValue) => return Err(bad("malformed header field value")),
        Err(_) => return Err(bad("malformed request line")),
    };
    check_line_ends(&bytes[..len])?;

    // One copy of the head; all names and values of the request are slices of it.
    let text = Bytes::copy_from_slice(&bytes[..len]);
    let slice = |part: &[u8]| text.slice(offset_in(bytes, part)..offset_in(bytes, part) + part.len());

    let method = parsed.method.unwrap_or_default();
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| bad("malformed method"))?;
    let version = if parsed.version == Some(0) { Version::HTTP_10 } else { Version::HTTP_11 };
    let target = parsed.path.unwrap_or_default().as_bytes();
    let uri = Uri::from_maybe_shared(slice(target)).map_err(|_| bad("malformed request target"))?;
    check_target(&method, &uri)?;

    let mut request = Request::new(());
    let mut meaning = ConnectionFields::default();
    let headers = request.headers_mut();
    headers.reserve(parsed.headers.len());
    for field in parsed.headers.iter() {
        let name =
            HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| bad("malformed header field name"))?;
        meaning.record(&name, field.value)?;
        let value = HeaderValue::from_maybe_shared(slice(field.value))
            .map_err(|_| bad("malformed header field value"))?;
        headers.append(name, value);
    }
    let framing = meaning.framing(version)?;
    meaning.check_host(version)?;
    let expect_continue = meaning.expects_continue(version)?;
    let keep_alive = !meaning.close && (version == Version::HTTP_11 || meaning.keep_alive);
    let upgrade = meaning.connection_upgrade && meaning.upgrade;

    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.version_mut() = version;
    Ok(Some(RequestHead { request, len, framing, keep_alive, expect_continue, upgrade }))
}

/// What may be in a Host.
static HOST_BYTES: [bool; 256] = letters_digits_and(b"-._~!$&'()*+;=:[]%");

pub(super) fn in_host(byte: &u8) -> bool {
    HOST_BYTES[usize::from(*byte)]
}

/// A table of the letters, the digits and `others`.
pub(super) const fn letters_digits_and(others: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let mut at = 0;
    while at < others.len() {
        table[others[at] as usize] = true;
        at += 1;
    }
    table
}

/// The position of `part`, which httparse gives as a slice of `whole`.
fn offset_in(whole: &[u8], part: &[u8]) -> usize {
    (part.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize)
}

/// Checks that every line ends in CR LF and neither stands alone. RFC 9112 section 2.2 permits to
/// refuse the rest, in which a proxy in front may see another message.
pub(super) fn check_line_ends(bytes: &[u8]) -> Result<(), RequestRefusal> {
    let mut previous = 0;
    for &byte in bytes {
        if (byte == b'\n') != (previous == b'\r') {
            return Err(bad("bare CR or LF in the head"));
        }
        previous = byte;
    }
    Ok(())
}

fn check_target(method: &Method, uri: &Uri) -> Result<(), RequestRefusal> {
    if *method == Method::CONNECT {
        // authority-form: RFC 9112 section 3.2.3
        return if uri.authority().is_some() && uri.scheme().is_none() {
            Ok(())
        } else {
            Err(bad("CONNECT needs host:port"))
        };
    }
    match uri.path() {
        "*" if *method == Method::OPTIONS => Ok(()),
        path if path.starts_with('/') => Ok(()),
        // absolute-form without a path: http://host means http://host/
        "" if uri.scheme().is_some() => Ok(()),
        _ => Err(bad("malformed request target")),
    }
}

/// What the fields say about the connection itself, collected in one pass over them.
#[derive(Default)]
struct ConnectionFields<'a> {
    hosts: u32,
    length: Option<&'a [u8]>,
    coding: Option<&'a [u8]>,
    expect: Option<&'a [u8]>,
    close: bool,
    keep_alive: bool,
    connection_upgrade: bool,
    upgrade: bool,
}

impl<'a> ConnectionFields<'a> {
    fn record(&mut self, name: &HeaderName, value: &'a [u8]) -> Result<(), RequestRefusal> {
        if *name == HOST {
            self.hosts += 1;
            if !value.iter().all(in_host) {
                return Err(bad("malformed Host"));
            }
        } else if *name == CONNECTION {
            for option in value.split(|byte| *byte == b',') {
                let option = option.trim_ascii();
                self.close |= option.eq_ignore_ascii_case(b"close");
                self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                self.connection_upgrade |= option.eq_ignore_ascii_case(b"upgrade");
            }
        } else if *name == CONTENT_LENGTH {
            if self.length.replace(value).is_some() {
                return Err(bad("more than one Content-Length"));
            }
        } else if *name == TRANSFER_ENCODING {
            if self.coding.replace(value).is_some() {
                return Err(bad("more than one Transfer-Encoding"));
            }
        } else if *name == EXPECT {
            self.expect = Some(value);
        } else if *name == UPGRADE {
            self.upgrade = true;
        }
        Ok(())
    }

    /// RFC 9112 section 3.2: exactly one Host in HTTP/1.1, at most one before.
    fn check_host(&self, version: Version) -> Result<(), RequestRefusal> {
        match self.hosts {
            0 if version == Version::HTTP_11 => Err(bad("no Host")),
            0 | 1 => Ok(()),
            _ => Err(bad("more than one Host")),
        }
    }

    /// RFC 9112 section 6.3, refusing whatever two readers could understand differently.
    fn framing(&self, version: Version) -> Result<RequestFraming, RequestRefusal> {
        if let Some(coding) = self.coding {
            if self.length.is_some() {
                return Err(bad("Transfer-Encoding beside Content-Length"));
            }
            if version == Version::HTTP_10 {
                return Err(bad("Transfer-Encoding in HTTP/1.0"));
            }
            if !coding.eq_ignore_ascii_case(b"chunked") {
                return Err(RequestRefusal::new(
                    StatusCode::NOT_IMPLEMENTED,
                    "a transfer coding other than chunked",
                ));
            }
            return Ok(RequestFraming::Chunked);
        }
        let Some(digits) = self.length else { return Ok(RequestFraming::Length(0)) };
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
            return Err(bad("malformed Content-Length"));
        }
        let number = std::str::from_utf8(digits).ok().and_then(|text| text.parse().ok());
        number
            .map(RequestFraming::Length)
            .ok_or(RequestRefusal::new(StatusCode::PAYLOAD_TOO_LARGE, "Content-Length beyond 2^64"))
    }

    /// RFC 9110 section 10.1.1. HTTP/1.0 clients cannot expect anything.
    fn expects_continue(&self, version: Version) -> Result<bool, RequestRefusal> {
        match self.expect {
            Some(_) if version == Version::HTTP_10 => Ok(false),
            Some(value) if value.eq_ignore_ascii_case(b"100-continue") => Ok(true),
            Some(_) => Err(RequestRefusal::new(
                StatusCode::EXPECTATION_FAILED,
                "an expectation other than 100-continue",
            )),
            None => Ok(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(head: &str) -> u16 {
        match parse(head.as_bytes()) {
            Err(refusal) => refusal.status.as_u16(),
            Ok(Some(_)) => panic!("accepted {head:?}"),
            Ok(None) => panic!("waits for more of {head:?}"),
        }
    }

    fn accepted(head: &str) -> RequestHead {
        parse(head.as_bytes()).expect("accepted").expect("complete")
    }

    #[test]
    fn a_head_is_read_to_its_empty_line_and_no_further() {
        let text = "GET /a?b HTTP/1.1\r\nHost: x\r\nX-Y:  z \r\n\r\n";
        let head = accepted(&format!("{text}GET "));
        assert_eq!(head.len, text.len());
        assert_eq!(head.request.uri().path(), "/a");
        assert_eq!(head.request.headers()["x-y"], "z");
        assert!(head.keep_alive && !head.upgrade && !head.expect_continue);
    }

    #[test]
    fn an_empty_line_before_the_request_line_is_skipped() {
        assert_eq!(accepted("\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n").request.uri().path(), "/");
    }

    #[test]
    fn every_prefix_of_a_good_head_waits_for_more() {
        let head = "POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
        for len in 0..head.len() {
            assert!(matches!(parse(&head.as_bytes()[..len]), Ok(None)), "prefix of {len} bytes");
        }
        assert_eq!(accepted(head).framing, RequestFraming::Chunked);
    }

    #[test]
    fn what_two_readers_could_understand_differently_is_refused() {
        for head in [
            "GET / HTTP/1.1\nHost: x\n\n",
            "GET / HTTP/1.1\r\nHost: x\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\nA: b\rc\r\n\r\n",
            "GET / HTTP/1.1\r\nHost : x\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
            "GET  / HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET x HTTP/1.1\r\nHost: x\r\n\r\n",
            "CONNECT / HTTP/1.1\r\nHost: x\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1, 1\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0x1\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: \r\n\r\n",
            "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\nA\0: b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\nA: \0\r\n\r\n",
            "\x16\x03\x01\x02\x00\x01",
        ] {
            assert_eq!(refused(head), 400, "{head:?}");
        }
    }

    #[test]
    fn what_cannot_be_done_says_so() {
        assert_eq!(refused("GET / HTTP/2.0\r\nHost: x\r\n\r\n"), 505);
        assert_eq!(refused("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"), 501);
        assert_eq!(refused("POST / HTTP/1.1\r\nHost: x\r\nExpect: more\r\n\r\n"), 417);
        assert_eq!(
            refused("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n"),
            413
        );
        let many = "A: b\r\n".repeat(101);
        assert_eq!(refused(&format!("GET / HTTP/1.1\r\nHost: x\r\n{many}\r\n")), 431);
    }

    #[test]
    fn a_connection_persists_by_version_and_by_what_it_says() {
        assert!(!accepted("GET / HTTP/1.0\r\n\r\n").keep_alive);
        assert!(accepted("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n").keep_alive);
        assert!(!accepted("GET / HTTP/1.1\r\nHost: x\r\nConnection: foo, Close\r\n\r\n").keep_alive);
        assert!(accepted("GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n").upgrade);
    }
}
