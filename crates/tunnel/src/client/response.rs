//! The head of an answer, however it is split, and what came behind it: servers that speak first do so at once.

use std::io;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::error::Refusal;

/// The longest head, in bytes.
const LONGEST: usize = 16 * 1024;

/// What most heads fit in, with what comes behind, in bytes.
const USUAL: usize = 2 * 1024;

/// The most fields that one may have.
const FIELDS: usize = 64;

/// Interim answers that may come before the real one.
const INTERIM: usize = 8;

/// How much of a refusal's body is read, in bytes, and for how long.
const BODY: usize = 4 * 1024;
const PATIENCE: Duration = Duration::from_secs(2);

/// An answer, and what has come of what follows.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) status: StatusCode,
    fields: HeaderMap,
    pub(super) early: Vec<u8>,
}

impl Answered {
    /// The first field of that name, if it is text.
    pub(super) fn field(&self, name: &HeaderName) -> Option<&str> {
        self.fields.get(name)?.to_str().ok()
    }

    /// What it says besides its status.
    pub(super) async fn refusal(&self, stream: &mut (impl AsyncRead + Unpin)) -> Refusal {
        let mut body = self.early.clone();
        let length = self.field(&http::header::CONTENT_LENGTH).and_then(|length| length.parse().ok());
        let most = length.map_or(BODY, |length: usize| length.min(BODY));
        let whole =
            async { while body.len() < most && stream.read_buf(&mut body).await.is_ok_and(|n| n > 0) {} };
        // Half of it may do: it is for people.
        let _ = tokio::time::timeout(PATIENCE, whole).await;
        body.truncate(most);
        if self.fields.contains_key(http::header::TRANSFER_ENCODING) {
            // In pieces: the first line is the length of the first.
            let piece = body.iter().position(|byte| *byte == b'\n').map_or(body.len(), |end| end + 1);
            body.drain(..piece);
        }
        Refusal::new(self.status, self.field(&HeaderName::from_static("proxy-status")), &body)
    }
}

/// Reads up to the end of a head that is not an interim one.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Answered> {
    let mut bytes = Vec::with_capacity(USUAL);
    let mut interim = 0;
    loop {
        if let Some((answer, length)) = parse(&bytes)? {
            let mut answer = answer;
            answer.early = bytes.split_off(length);
            if !answer.status.is_informational() || answer.status == StatusCode::SWITCHING_PROTOCOLS {
                return Ok(answer);
            }
            interim += 1;
            if interim > INTERIM {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "interim answers without end"));
            }
            bytes = answer.early;
            continue;
        }
        if bytes.len() >= LONGEST {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the answer's head is too long"));
        }
        let left = LONGEST - bytes.len();
        if (&mut *stream).take(left as u64).read_buf(&mut bytes).await? == 0 {
            let why = if bytes.is_empty() { "no answer came" } else { "the answer ended in its head" };
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, why));
        }
    }
}

/// The head that `bytes` begin with, and how long it is.
fn parse(bytes: &[u8]) -> io::Result<Option<(Answered, usize)>> {
    let wrong = || io::Error::new(io::ErrorKind::InvalidData, "the answer is not HTTP/1.1");
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
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
    Ok(Some((Answered { status, fields: map, early: Vec::new() }, length)))
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
        let endless = [&b"HTTP/1.1 200 OK\r\nA: "[..], &[b'x'; LONGEST]].concat();
        for (bytes, why) in [
            (&b""[..], "no answer"),
            (b"HTTP/1.1 200 OK\r\nA: b\r\n", "in its head"),
            (b"SSH-2.0-x\r\n", "not HTTP"),
            (&endless, "too long"),
            (&b"HTTP/1.1 100 Continue\r\n\r\n".repeat(9), "without end"),
        ] {
            let error = read(&mut &bytes[..]).await.unwrap_err();
            assert!(error.to_string().contains(why), "{error}");
        }
    }
}
