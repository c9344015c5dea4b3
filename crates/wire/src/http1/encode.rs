//! Writing a response's head.

use http::header::{CONNECTION, CONTENT_LENGTH, DATE, TRANSFER_ENCODING};
use http::{HeaderMap, StatusCode, Version};

use crate::connection::buffer::PooledBuffer;
use crate::message::date;
use crate::message::framing::ResponseFraming;

/// What becomes of the connection after the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Persistence {
    /// It persists, for a client of this version: HTTP/1.0 needs a field that says so.
    Keep(Version),
    Close,
}

/// Appends the head of a response to `out`.
pub(crate) fn head(
    out: &mut PooledBuffer,
    status: StatusCode,
    headers: &HeaderMap,
    framing: ResponseFraming,
    persistence: Persistence,
) {
    head_with(out, status, &[], headers, framing, persistence);
}

/// The same with further fields that are encoded already: whole lines, none of them about framing,
/// persistence or the time.
pub(crate) fn head_with(
    out: &mut PooledBuffer,
    status: StatusCode,
    lines: &[u8],
    headers: &HeaderMap,
    framing: ResponseFraming,
    persistence: Persistence,
) {
    if status == StatusCode::OK {
        out.push(b"HTTP/1.1 200 OK\r\n");
    } else {
        out.push(b"HTTP/1.1 ");
        out.push(status.as_str().as_bytes());
        out.push(b" ");
        out.push(status.canonical_reason().unwrap_or_default().as_bytes());
        out.push(b"\r\n");
    }

    out.push(lines);
    let switches = status == StatusCode::SWITCHING_PROTOCOLS;
    let mut has_date = false;
    for (name, value) in headers {
        match *name {
            // The engine writes framing and persistence itself, so that they match what it does.
            CONTENT_LENGTH | TRANSFER_ENCODING => continue,
            CONNECTION if !switches => continue,
            DATE => has_date = true,
            _ => {}
        }
        out.push(name.as_str().as_bytes());
        out.push(b": ");
        out.push(value.as_bytes());
        out.push(b"\r\n");
    }
    match framing {
        ResponseFraming::Length(length) => {
            out.push(b"content-length: ");
            out.push(Digits::new(length).as_bytes());
            out.push(b"\r\n");
        }
        ResponseFraming::Chunked => out.push(b"transfer-encoding: chunked\r\n"),
        ResponseFraming::None | ResponseFraming::UntilClose => {}
    }
    match persistence {
        _ if switches => {}
        Persistence::Close => out.push(b"connection: close\r\n"),
        Persistence::Keep(Version::HTTP_10) => out.push(b"connection: keep-alive\r\n"),
        Persistence::Keep(_) => {}
    }
    if !has_date {
        out.push(b"date: ");
        date::with_date(|date| out.push(date));
        out.push(b"\r\n");
    }
    out.push(b"\r\n");
}

/// A number in decimal, without an allocation.
struct Digits {
    digits: [u8; 20],
    start: usize,
}

impl Digits {
    fn new(mut number: u64) -> Digits {
        let mut this = Digits { digits: [b'0'; 20], start: 20 };
        loop {
            this.start -= 1;
            this.digits[this.start] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                return this;
            }
        }
    }

    fn as_bytes(&self) -> &[u8] {
        &self.digits[self.start..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_in_decimal() {
        for number in [0, 7, 10, 4_294_967_296, u64::MAX] {
            assert_eq!(Digits::new(number).as_bytes(), number.to_string().as_bytes());
        }
    }
}
