//! The head of a response, however it is split, and the bytes after it: a target that speaks first
//! does so at once.

use std::io;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::error::TunnelRefusal;

/// Size of the longest head of a response to the client, in bytes.
///
/// Bound: tunnels.
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// Initial size of the buffer for a head, which most fit, in bytes.
const HEAD_CAPACITY: usize = 2 * 1024;

/// Header fields of a response to the client.
///
/// Bound: tunnels.
const MAX_FIELDS: usize = 64;

/// Interim responses before the final one.
///
/// Bound: tunnels.
const MAX_INTERIM: usize = 8;

/// Bytes of a refusal's body that the client reads.
///
/// Bound: tunnels.
const MAX_BODY_BYTES: usize = 4 * 1024;
/// How long the client waits for them.
const BODY_TIMEOUT: Duration = Duration::from_secs(2);

/// A response, and the bytes that arrived with its head.
#[derive(Debug)]
pub(super) struct ConnectResponse {
    pub(super) status: StatusCode,
    pub(super) fields: HeaderMap,
    pub(super) early: Vec<u8>,
}

impl ConnectResponse {
    /// The first field of that name, if it is text.
    pub(super) fn field(&self, name: &HeaderName) -> Option<&str> {
        self.fields.get(name)?.to_str().ok()
    }

    /// Reads why the server refused.
    pub(super) async fn refusal(&self, stream: &mut (impl AsyncRead + Unpin)) -> TunnelRefusal {
        let mut body = self.early.clone();
        let length = self.field(&http::header::CONTENT_LENGTH).and_then(|length| length.parse().ok());
        let most = length.map_or(MAX_BODY_BYTES, |length: usize| length.min(MAX_BODY_BYTES));
        let whole =
            async { while body.len() < most && stream.read_buf(&mut body).await.is_ok_and(|n| n > 0) {} };
        // A part of it is enough for people.
        let _ = tokio::time::timeout(BODY_TIMEOUT, whole).await;
        body.truncate(most);
        if self.fields.contains_key(http::header::TRANSFER_ENCODING) {
            // The first line of a chunked body is the length of its first chunk.
            let piece = body.iter().position(|byte| *byte == b'\n').map_or(body.len(), |end| end + 1);
            body.drain(..piece);
        }
        TunnelRefusal::new(self.status, self.field(&HeaderName::from_static("proxy-status")), &body)
    }
}

/// Reads a final response, skipping interim ones, up to the end of its head.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<ConnectResponse> {
    let mut bytes = Vec::with_capacity(HEAD_CAPACITY);
    let mut interim = 0;
    loop {
        if let Some((response, length)) = parse(&bytes)? {
            let mut response = response;
            response.early = bytes.split_off(length);
            if !response.status.is_informational() || response.status == StatusCode::SWITCHING_PROTOCOLS {
                return Ok(response);
            }
            interim += 1;
            if interim > MAX_INTERIM {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "too many interim responses"));
            }
            bytes = response.early;
            continue;
        }
        if bytes.len() >= MAX_HEAD_BYTES {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the head of the response is too long"));
        }
        let left = MAX_HEAD_BYTES - bytes.len();
        if (&mut *stream).take(left as u64).read_buf(&mut bytes).await? == 0 {
            let why =
                if bytes.is_empty() { "no response arrived" } else { "the response ended within its head" };
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, why));
        }
    }
}

/// The head at the front of `bytes`, and its length.
fn parse(bytes: &[u8]) -> io::Result<Option<(ConnectResponse, usize)>> {
    let wrong = || io::Error::new(io::ErrorKind::InvalidData, "the response is not HTTP/1.1");
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut head = httparse::Response::new(&mut fields);
    let length = match head.parse(bytes).map_err(|_| wrong())? {
        httparse::Status::Complete(length) => length,
        httparse::Status::Partial => return Ok(None),
    };
    let status = head.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or_else(wrong)?;
    let mut map = HeaderMap::new();
    for field in head.headers {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| wrong())?;
        map.append(name, HeaderValue::from_bytes(field.value).map_err(|_| wrong())?);
    }
    Ok(Some((ConnectResponse { status, fields: map, early: Vec::new() }, length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn interim_answers_are_passed_over_and_the_tail_is_kept() {
        let bytes = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n\
            HTTP/1.1 101 Switching Protocols\r\nUpgrade: connect-tcp\r\n\r\nSSH-2.0-x\r\n";
        let whole = read(&mut &bytes[..]).await.unwrap();
        assert_eq!((whole.status.as_u16(), &*whole.early), (101, &b"SSH-2.0-x\r\n"[..]));
        assert_eq!(whole.field(&http::header::UPGRADE), Some("connect-tcp"));
        assert_eq!(whole.field(&http::header::LINK), None);
        // Wherever it is split.
        for cut in 0..bytes.len() {
            let (one, other) = bytes.split_at(cut);
            let mut stream = one.chain(other);
            let split = read(&mut stream).await.unwrap();
            let mut rest = split.early.clone();
            stream.read_to_end(&mut rest).await.unwrap();
            assert_eq!((split.status.as_u16(), &*rest), (101, &b"SSH-2.0-x\r\n"[..]));
        }
    }

    #[tokio::test]
    async fn what_is_no_answer_is_an_error() {
        let endless = [&b"HTTP/1.1 200 OK\r\nA: "[..], &[b'x'; MAX_HEAD_BYTES]].concat();
        for (bytes, why) in [
            (&b""[..], "no response"),
            (b"HTTP/1.1 200 OK\r\nA: b\r\n", "within its head"),
            (b"SSH-2.0-x\r\n", "not HTTP"),
            (&endless, "too long"),
            (&b"HTTP/1.1 100 Continue\r\n\r\n".repeat(9), "too many interim"),
        ] {
            let error = read(&mut &bytes[..]).await.unwrap_err();
            assert!(error.to_string().contains(why), "{error}");
        }
    }
}
