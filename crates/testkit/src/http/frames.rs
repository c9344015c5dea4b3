//! A client that writes and reads HTTP/2 frame by frame (RFC 9113), so that a test can break the
//! rules.

use std::io;

use super::HttpClient;

/// RawFrame types (RFC 9113, 6).
pub const DATA: u8 = 0;
/// A header block, or its beginning.
pub const HEADERS: u8 = 1;
/// Obsolete.
pub const PRIORITY: u8 = 2;
/// Ends a stream with an error code.
pub const RST_STREAM: u8 = 3;
/// Settings of the connection.
pub const SETTINGS: u8 = 4;
/// A question, or its answer.
pub const PING: u8 = 6;
/// Ends the connection.
pub const GOAWAY: u8 = 7;
/// Credit for more data.
pub const WINDOW_UPDATE: u8 = 8;
/// More of a header block.
pub const CONTINUATION: u8 = 9;

/// The flag `END_STREAM`; of SETTINGS and PING: `ACK`.
pub const END: u8 = 1;
/// The flag of the last frame of a header block.
pub const END_HEADERS: u8 = 4;

/// The first bytes of a connection (RFC 9113, 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Error codes (RFC 9113, 7).
pub const PROTOCOL_ERROR: u32 = 1;
/// The stream is no longer needed.
pub const CANCEL: u32 = 8;
/// The peer generates excessive load.
pub const ENHANCE_YOUR_CALM: u32 = 11;

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawFrame {
    /// Its type.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream; 0 for the connection.
    pub stream: u32,
    /// What follows its head.
    pub payload: Vec<u8>,
}

impl RawFrame {
    /// The error code of an RST_STREAM or GOAWAY.
    #[must_use]
    pub fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().expect("four bytes"))
    }

    /// Whether it ends its stream.
    #[must_use]
    pub fn ends(&self) -> bool {
        matches!(self.kind, DATA | HEADERS) && self.flags & END != 0
    }
}

/// A frame as bytes.
#[must_use]
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A header block of literal fields (RFC 7541, 6.2.2).
#[must_use]
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            integer(&mut block, text.len());
            block.extend(text.as_bytes());
        }
    }
    block
}

/// An integer with a prefix of seven bits (RFC 7541, 5.1).
fn integer(block: &mut Vec<u8>, mut value: usize) {
    if value < 127 {
        block.push(value as u8);
        return;
    }
    block.push(127);
    value -= 127;
    while value >= 128 {
        block.push(value as u8 | 128);
        value >>= 7;
    }
    block.push(value as u8);
}

/// The header block of a GET.
#[must_use]
pub fn get(path: &str) -> Vec<u8> {
    block(&[(":method", "GET"), (":scheme", "http"), (":authority", "test"), (":path", path)])
}

/// A connection whose frames the test writes and reads itself. Nothing is answered automatically.
pub struct Framed {
    /// The connection below it.
    pub client: HttpClient,
}

impl Framed {
    /// Sends the preface and these settings on a new connection.
    #[must_use]
    pub fn over(client: HttpClient, settings: &[(u16, u32)]) -> Framed {
        let mut framed = Framed { client };
        framed.client.send(PREFACE);
        let settings: Vec<u8> = settings
            .iter()
            .flat_map(|(id, value)| [id.to_be_bytes().to_vec(), value.to_be_bytes().to_vec()].concat())
            .collect();
        framed.send(SETTINGS, 0, 0, &settings);
        framed
    }

    /// The same, with windows for the connection and each stream that no test fills.
    #[must_use]
    pub fn wide(client: HttpClient) -> Framed {
        let mut framed = Framed::over(client, &[(4, 0x3fff_ffff)]);
        framed.send(WINDOW_UPDATE, 0, 0, &0x3fff_0000_u32.to_be_bytes());
        framed
    }

    /// Sends a frame.
    pub fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> &mut Framed {
        self.client.send(frame(kind, flags, stream, payload));
        self
    }

    /// Sends a GET on `stream`.
    pub fn get(&mut self, stream: u32, path: &str) -> &mut Framed {
        self.send(HEADERS, END | END_HEADERS, stream, &get(path))
    }

    /// Resets a stream.
    pub fn reset(&mut self, stream: u32, code: u32) -> &mut Framed {
        self.send(RST_STREAM, 0, stream, &code.to_be_bytes())
    }

    /// Answers a PING.
    pub fn pong(&mut self, ping: &RawFrame) -> &mut Framed {
        self.send(PING, END, 0, &ping.payload)
    }

    /// The next frame.
    ///
    /// # Errors
    /// Those of reading.
    pub fn frame(&mut self) -> io::Result<RawFrame> {
        let head = self.client.take(9)?;
        let len = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let stream = u32::from_be_bytes(head[5..9].try_into().expect("four bytes")) & 0x7fff_ffff;
        Ok(RawFrame { kind: head[3], flags: head[4], stream, payload: self.client.take(len)? })
    }

    /// The next frame of one of these types, but for answers to PING. Others are skipped.
    #[track_caller]
    pub fn next(&mut self, kinds: &[u8]) -> RawFrame {
        loop {
            let frame = self.frame().expect("a frame");
            if kinds.contains(&frame.kind) && !(frame.kind == PING && frame.flags & END != 0) {
                return frame;
            }
        }
    }

    /// Reads `stream` to its end: the body, and the error code if it was reset. PINGs are answered.
    #[track_caller]
    pub fn body(&mut self, stream: u32) -> (Vec<u8>, Option<u32>) {
        let mut body = Vec::new();
        loop {
            let frame = self.next(&[HEADERS, DATA, RST_STREAM, PING]);
            match frame.kind {
                PING => drop(self.pong(&frame)),
                _ if frame.stream != stream => {}
                RST_STREAM => return (body, Some(frame.code())),
                DATA => body.extend_from_slice(&frame.payload),
                _ => {}
            }
            if frame.stream == stream && frame.ends() {
                return (body, None);
            }
        }
    }

    /// Reads DATA frames up to `least` bytes or a few more, and returns how many they were. No PING
    /// is answered.
    #[track_caller]
    pub fn bytes(&mut self, least: usize) -> usize {
        let mut sum = 0;
        while sum < least {
            sum += self.next(&[DATA]).payload.len();
        }
        sum
    }

    /// All frames until the connection ends in any way.
    pub fn rest(&mut self) -> Vec<RawFrame> {
        std::iter::from_fn(|| self.frame().ok()).collect()
    }

    /// Reads until the connection ends: the error code of its GOAWAY, if there is one.
    pub fn goaway(&mut self) -> Option<u32> {
        self.rest().iter().rev().find(|frame| frame.kind == GOAWAY).map(RawFrame::code)
    }
}
