//! A client that speaks HTTP/2 frame by frame (RFC 9113), well or badly, as the test wants it.

use std::io;
use std::net::SocketAddr;

use super::Client;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

/// `END_STREAM`, and of SETTINGS and PING `ACK`.
pub(crate) const END: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Error codes (RFC 9113, 7).
pub(crate) const PROTOCOL_ERROR: u32 = 1;
pub(crate) const CANCEL: u32 = 8;
pub(crate) const ENHANCE_YOUR_CALM: u32 = 11;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// The payload's last four bytes: an error's code in RST_STREAM.
    pub(crate) fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().expect("four bytes"))
    }

    /// It is its stream's last one.
    pub(crate) fn ends(&self) -> bool {
        matches!(self.kind, DATA | HEADERS) && self.flags & END != 0
    }
}

/// A frame as it is on the wire.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A header block of literal fields (RFC 7541, 6.2.2).
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
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
pub(crate) fn get(path: &str) -> Vec<u8> {
    block(&[(":method", "GET"), (":scheme", "http"), (":authority", "test"), (":path", path)])
}

/// A connection whose frames the test writes and reads itself. Nothing is answered by itself.
pub(crate) struct Framed {
    pub(crate) client: Client,
}

impl Framed {
    /// In the clear, with these settings.
    pub(crate) fn connect(addr: SocketAddr, settings: &[(u16, u32)]) -> Framed {
        Framed::over(Client::connect(addr), settings)
    }

    /// Over a connection that has just begun.
    pub(crate) fn over(client: Client, settings: &[(u16, u32)]) -> Framed {
        let mut framed = Framed { client };
        framed.client.send(PREFACE);
        let settings: Vec<u8> = settings
            .iter()
            .flat_map(|(id, value)| [id.to_be_bytes().to_vec(), value.to_be_bytes().to_vec()].concat())
            .collect();
        framed.send(SETTINGS, 0, 0, &settings);
        framed
    }

    /// With windows that no test fills: for the connection, and for each stream.
    pub(crate) fn wide(client: Client) -> Framed {
        let mut framed = Framed::over(client, &[(4, 0x3fff_ffff)]);
        framed.send(WINDOW_UPDATE, 0, 0, &0x3fff_0000_u32.to_be_bytes());
        framed
    }

    pub(crate) fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> &mut Framed {
        self.client.send(frame(kind, flags, stream, payload));
        self
    }

    /// Sends a GET on `stream`.
    pub(crate) fn get(&mut self, stream: u32, path: &str) -> &mut Framed {
        self.send(HEADERS, END | END_HEADERS, stream, &get(path))
    }

    pub(crate) fn reset(&mut self, stream: u32, code: u32) -> &mut Framed {
        self.send(RST_STREAM, 0, stream, &code.to_be_bytes())
    }

    /// Answers a PING.
    pub(crate) fn pong(&mut self, ping: &Frame) -> &mut Framed {
        self.send(PING, END, 0, &ping.payload)
    }

    /// The next frame, whatever it is.
    pub(crate) fn frame(&mut self) -> io::Result<Frame> {
        let head = self.client.take(9)?;
        let len = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let stream = u32::from_be_bytes(head[5..9].try_into().expect("four bytes")) & 0x7fff_ffff;
        Ok(Frame { kind: head[3], flags: head[4], stream, payload: self.client.take(len)? })
    }

    /// The next frame of one of these kinds; others are passed over.
    #[track_caller]
    pub(crate) fn next(&mut self, kinds: &[u8]) -> Frame {
        loop {
            let frame = self.frame().expect("a frame");
            if kinds.contains(&frame.kind) && !(frame.kind == PING && frame.flags & END != 0) {
                return frame;
            }
        }
    }

    /// `stream`'s frames up to its end or reset: the body, and the code if it was reset. Pings are answered.
    #[track_caller]
    pub(crate) fn body(&mut self, stream: u32) -> (Vec<u8>, Option<u32>) {
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

    /// Reads so many bytes of bodies, and no frame beyond; gives them back. No ping is answered.
    #[track_caller]
    pub(crate) fn bytes(&mut self, most: usize) -> usize {
        let mut sum = 0;
        while sum < most {
            sum += self.next(&[DATA]).payload.len();
        }
        sum
    }

    /// What is said until the connection ends, in whatever way.
    pub(crate) fn rest(&mut self) -> Vec<Frame> {
        std::iter::from_fn(|| self.frame().ok()).collect()
    }

    /// The connection ends: the code of its GOAWAY, if it says one.
    pub(crate) fn goaway(&mut self) -> Option<u32> {
        self.rest().iter().rev().find(|frame| frame.kind == GOAWAY).map(Frame::code)
    }
}
