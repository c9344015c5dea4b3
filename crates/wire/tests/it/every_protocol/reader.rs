//! A client that reads a body as far as the test wants, by whichever protocol.

use super::Protocol;
use crate::support::HttpClient;
use crate::support::frames::{
    CANCEL, DATA, END, END_HEADERS, Framed, GOAWAY, HEADERS, PING, RST_STREAM, RawFrame, block,
};

/// A segment on the loopback.
const SEGMENT: u64 = 65_536;

/// An error code (RFC 9113, 7).
const INTERNAL_ERROR: u32 = 2;

/// Bytes in a record of TLS.
const RECORD: u64 = 16 * 1024;

pub(crate) struct Reader {
    protocol: Protocol,
    connection: Connection,
    /// Bytes of the current body that were taken off the connection.
    pub(crate) taken: u64,
    /// HTTP/1: `Content-Length`.
    length: usize,
    /// HTTP/2: the error code that the last body was reset with.
    reset: Option<u32>,
}

enum Connection {
    Http1(HttpClient),
    Http2 {
        framed: Framed,
        /// Of the latest request; 0 before the first.
        stream: u32,
        /// Of the latest DATA frame, and not yet asked for.
        rest: Vec<u8>,
        /// Whether the current body is over.
        ended: bool,
    },
}

impl Reader {
    pub(crate) fn over(protocol: Protocol, client: HttpClient) -> Reader {
        let connection = match protocol.is_http2() {
            false => Connection::Http1(client),
            true => {
                Connection::Http2 { framed: Framed::wide(client), stream: 0, rest: Vec::new(), ended: false }
            }
        };
        Reader { protocol, connection, taken: 0, length: 0, reset: None }
    }

    /// Requests `path`, and waits for the response's head.
    #[track_caller]
    pub(crate) fn begin(&mut self, path: &str) -> &mut Reader {
        self.begin_with(path, &[])
    }

    #[track_caller]
    pub(crate) fn begin_with(&mut self, path: &str, fields: &[(&str, &str)]) -> &mut Reader {
        self.request(path, fields).head()
    }

    /// Waits for the head of the response to what was requested; its status is no error's.
    #[track_caller]
    pub(crate) fn head(&mut self) -> &mut Reader {
        match &mut self.connection {
            Connection::Http1(client) => {
                let head = client.head();
                assert!((200..300).contains(&head.status), "{head:?}");
                self.length = head.length() as usize;
            }
            Connection::Http2 { framed, stream, ended, .. } => {
                let head = next_of(framed, *stream, HEADERS);
                *ended = head.ends();
            }
        }
        self
    }

    /// Requests `path`, and reads nothing.
    pub(crate) fn request(&mut self, path: &str, fields: &[(&str, &str)]) -> &mut Reader {
        self.taken = 0;
        match &mut self.connection {
            Connection::Http1(client) => {
                let lines: String =
                    fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
                client.request("GET", path, &lines);
            }
            Connection::Http2 { framed, stream, rest, ended } => {
                *stream = if *stream == 0 { 1 } else { *stream + 2 };
                let base = [(":method", "GET"), (":scheme", "http"), (":authority", "test"), (":path", path)];
                framed.send(HEADERS, END | END_HEADERS, *stream, &block(&[&base[..], fields].concat()));
                (*rest, *ended) = (Vec::new(), false);
            }
        }
        self
    }

    /// Reads exactly `len` bytes of the body.
    #[track_caller]
    pub(crate) fn read(&mut self, len: usize) -> Vec<u8> {
        match &mut self.connection {
            Connection::Http1(client) => {
                self.taken += len as u64;
                client.take(len).expect("so many bytes")
            }
            Connection::Http2 { framed, stream, rest, ended } => {
                while rest.len() < len {
                    assert!(!*ended, "the end after {} bytes", rest.len());
                    let frame = next_of(framed, *stream, DATA);
                    *ended = frame.ends();
                    self.taken += frame.payload.len() as u64;
                    rest.extend(frame.payload);
                }
                rest.drain(..len).collect()
            }
        }
    }

    /// Reads the last `len` bytes of the body, and that they are the last.
    #[track_caller]
    pub(crate) fn finish(&mut self, len: usize) -> Vec<u8> {
        let bytes = self.read(len);
        if let Connection::Http2 { framed, stream, rest, ended } = &mut self.connection {
            assert!(rest.is_empty(), "{} bytes behind the end", rest.len());
            while !*ended {
                let frame = next_of(framed, *stream, DATA);
                assert_eq!(frame.payload.len(), 0, "{frame:?}");
                *ended = frame.ends();
            }
        }
        bytes
    }

    /// The whole body, of which nothing was read, as text.
    #[track_caller]
    pub(crate) fn text(&mut self) -> String {
        let body = match &mut self.connection {
            Connection::Http1(client) => client.take(self.length).expect("a body"),
            Connection::Http2 { framed, stream, .. } => framed.body(*stream).0,
        };
        String::from_utf8(body).expect("text")
    }

    /// A whole response of `total` bytes.
    #[track_caller]
    pub(crate) fn whole(&mut self, path: &str, total: usize) -> Vec<u8> {
        self.begin(path).finish(total)
    }

    /// HTTP/2: waits for the server's PING, by which it asks whether all has arrived.
    #[track_caller]
    pub(crate) fn question(&mut self) -> Option<RawFrame> {
        match &mut self.connection {
            Connection::Http1(_) => None,
            Connection::Http2 { framed, .. } => Some(framed.next(&[PING])),
        }
    }

    /// HTTP/2: answers the server's PING.
    pub(crate) fn answer(&mut self, question: &RawFrame) {
        if let Connection::Http2 { framed, .. } = &mut self.connection {
            framed.pong(question);
        }
    }

    fn into_client(self) -> HttpClient {
        match self.connection {
            Connection::Http1(client) => client,
            Connection::Http2 { framed, .. } => framed.client,
        }
    }

    /// Breaks the connection with an RST.
    pub(crate) fn reset(self) {
        self.into_client().reset();
    }

    /// Ends the connection as a client does that is satisfied: within TLS with `close_notify`.
    pub(crate) fn close(self) {
        let protocol = self.protocol;
        let mut client = self.into_client();
        if protocol.is_secure() {
            client.finish_within();
        }
    }

    /// The body does not come to its end: the connection breaks, or the stream is reset, before
    /// `left` bytes. What came of it.
    #[track_caller]
    pub(crate) fn expect_cut(&mut self, left: usize) -> Vec<u8> {
        match &mut self.connection {
            Connection::Http1(client) if self.protocol == Protocol::Http1 => client.expect_cut(left),
            Connection::Http1(client) => client.expect_broken(left),
            Connection::Http2 { framed, stream, rest, .. } => {
                let mut got = std::mem::take(rest);
                while let Ok(frame) = framed.frame() {
                    let more = got.len();
                    assert!(!(frame.stream == *stream && frame.ends()), "an orderly end after {more} bytes");
                    match frame.kind {
                        DATA => got.extend(frame.payload),
                        PING if frame.flags & END == 0 => drop(framed.pong(&frame)),
                        RST_STREAM if frame.stream == *stream => {
                            self.reset = Some(frame.code());
                            break;
                        }
                        _ => {}
                    }
                }
                assert!(got.len() < left, "all {left} bytes came");
                got
            }
        }
    }

    /// The same by the server's failure: over HTTP/2 the stream is reset with `INTERNAL_ERROR`.
    #[track_caller]
    pub(crate) fn expect_failure(&mut self, left: usize) -> Vec<u8> {
        let got = self.expect_cut(left);
        assert_eq!(self.reset, self.protocol.is_http2().then_some(INTERNAL_ERROR));
        got
    }

    /// The rest of the body, `left` bytes, is lost with the connection.
    #[track_caller]
    pub(crate) fn expect_lost(&mut self, left: usize) {
        match &mut self.connection {
            Connection::Http1(client) => drop(client.take(left).expect_err("the whole body came")),
            Connection::Http2 { .. } => drop(self.expect_cut(left)),
        }
    }

    /// HTTP/2: cancels the current request.
    pub(crate) fn reset_stream(&mut self) {
        let Connection::Http2 { framed, stream, .. } = &mut self.connection else {
            panic!("HTTP/1 has no streams")
        };
        framed.reset(*stream, CANCEL);
    }

    /// The connection, over which HTTP/1 is spoken.
    #[track_caller]
    pub(crate) fn http1(&mut self) -> &mut HttpClient {
        match &mut self.connection {
            Connection::Http1(client) => client,
            Connection::Http2 { .. } => panic!("not HTTP/1"),
        }
    }

    /// The server ends the connection in an orderly way. Its PINGs are answered.
    #[track_caller]
    pub(crate) fn expect_end(&mut self) {
        if let Connection::Http2 { framed, .. } = &mut self.connection {
            while let Ok(frame) = framed.frame() {
                if frame.kind == PING && frame.flags & END == 0 {
                    framed.pong(&frame);
                }
            }
            assert_eq!(framed.client.read_to_end().expect("an orderly end"), b"");
            return;
        }
        if let Connection::Http1(client) = &mut self.connection {
            client.expect_closed();
        }
    }
}

/// The next HEADERS or DATA of a stream, which has to be of this type. Other streams' frames are
/// skipped.
#[track_caller]
fn next_of(framed: &mut Framed, stream: u32, kind: u8) -> RawFrame {
    loop {
        let frame = framed.next(&[HEADERS, DATA, RST_STREAM, GOAWAY]);
        // A server that drains says so, and goes on.
        assert!(frame.kind != GOAWAY || frame.code() == 0, "{frame:?}");
        if frame.stream == stream {
            assert_eq!(frame.kind, kind, "{frame:?}");
            return frame;
        }
    }
}

impl Protocol {
    /// How far ahead of what a client with a buffer of 16 KiB has read its kernel may have
    /// acknowledged: the buffer, which the kernel doubles, a segment, and a record.
    pub(crate) fn ahead(self) -> u64 {
        2 * 16 * 1024 + SEGMENT + if self.is_secure() { RECORD } else { 0 }
    }

    /// How much of what has arrived may not be counted: a segment that is acknowledged late; what
    /// is sealed in records, and counted with its last byte only; over HTTP/2 what was sent since
    /// the last mark, of which there is one each 64 KiB, between two calls.
    pub(crate) fn behind(self) -> u64 {
        let records = if self.is_secure() { 3 * RECORD + 10_000 } else { 0 };
        let marks = if self.is_http2() { SEGMENT + 48 * 1024 } else { 0 };
        SEGMENT + records + marks
    }
}
