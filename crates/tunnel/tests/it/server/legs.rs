//! Targets, and clients of each protocol, whose legs are framed by hand.

#![allow(dead_code, reason = "two crates' tests use it, neither of them all of it")]

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

/// How long anything may take. Machines are shared.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) const TOKEN: &str = "0123456789abcdef0123";

pub(crate) fn patient(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// A target that accepts one connection and hands it out.
pub(crate) struct Target {
    listener: TcpListener,
    pub(crate) addr: SocketAddr,
}

impl Target {
    pub(crate) fn new() -> Target {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Target { addr: listener.local_addr().unwrap(), listener }
    }

    pub(crate) fn accept(&self) -> TcpStream {
        patient(self.listener.accept().unwrap().0)
    }

    /// No client has connected.
    pub(crate) fn is_untouched(&self) -> bool {
        self.listener.set_nonblocking(true).unwrap();
        let accepted = self.listener.accept();
        self.listener.set_nonblocking(false).unwrap();
        matches!(accepted, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

/// The protocols over HTTP/1.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Capsules,
    WebSocket,
    Connect,
    Purr,
}

impl Protocol {
    pub(crate) const ALL: [Protocol; 4] =
        [Protocol::Capsules, Protocol::WebSocket, Protocol::Connect, Protocol::Purr];

    /// What asks for a tunnel to `target`, with further header lines.
    pub(crate) fn request(self, target: SocketAddr, lines: &str) -> String {
        let path = format!("/.well-known/masque/tcp/{}/{}/", target.ip(), target.port());
        self.request_at(&path, &target.to_string(), lines)
    }

    pub(crate) fn request_at(self, path: &str, authority: &str, lines: &str) -> String {
        let upgrade = match self {
            Protocol::Capsules => "Upgrade: connect-tcp\r\nCapsule-Protocol: ?1\r\n",
            Protocol::WebSocket => {
                "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            }
            Protocol::Purr => "Upgrade: purr\r\nPurr-Request: MEOW\r\nPurr-Version: 0.1.2\r\n",
            Protocol::Connect => {
                return format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n{lines}\r\n");
            }
        };
        format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\n{upgrade}{lines}\r\n")
    }
}

/// An HTTP answer's head.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) fields: String,
}

impl Head {
    pub(crate) fn find(&self, name: &str) -> Option<&str> {
        self.fields.lines().find_map(|line| {
            let (field, value) = line.split_once(": ")?;
            field.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

/// A client's end of a tunnel.
pub(crate) struct Leg {
    pub(crate) stream: TcpStream,
    protocol: Protocol,
    /// Read, and not yet taken apart.
    rest: Vec<u8>,
    ended: bool,
}

impl Leg {
    /// Asks, and reads the answer's head. What the body of a refusal says is in `Err`.
    pub(crate) fn ask(
        addr: SocketAddr,
        protocol: Protocol,
        request: &str,
    ) -> Result<(Leg, Head), (Head, String)> {
        let mut stream = patient(TcpStream::connect(addr).unwrap());
        stream.write_all(request.as_bytes()).unwrap();
        let mut rest = Vec::new();
        let end = loop {
            if let Some(at) = rest.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            let mut piece = [0; 4096];
            let n = stream.read(&mut piece).unwrap();
            assert!(n > 0, "no answer: {:?}", String::from_utf8_lossy(&rest));
            rest.extend_from_slice(&piece[..n]);
        };
        let behind = rest.split_off(end);
        let text = String::from_utf8(rest).unwrap();
        let head = Head { status: text[9..12].parse().unwrap(), fields: text };
        if matches!(head.status, 101 | 200) {
            return Ok((Leg { stream, protocol, rest: behind, ended: false }, head));
        }
        let length: usize = head.find("content-length").map_or(0, |length| length.parse().unwrap());
        let mut body = behind;
        while body.len() < length {
            let mut piece = [0; 4096];
            let n = stream.read(&mut piece).unwrap();
            body.extend_from_slice(&piece[..n]);
        }
        Err((head, String::from_utf8(body).unwrap()))
    }

    /// Of a tunnel that was granted on `stream`.
    pub(crate) fn over(stream: TcpStream, protocol: Protocol) -> Leg {
        Leg { stream, protocol, rest: Vec::new(), ended: false }
    }

    pub(crate) fn open(addr: SocketAddr, protocol: Protocol, target: SocketAddr) -> Leg {
        let request = protocol.request(target, &format!("Authorization: Bearer {TOKEN}\r\n"));
        match Leg::ask(addr, protocol, &request) {
            Ok((leg, _)) => leg,
            Err(refusal) => panic!("{protocol:?}: {refusal:?}"),
        }
    }

    pub(crate) fn try_clone(&self) -> Leg {
        Leg::over(self.stream.try_clone().unwrap(), self.protocol)
    }

    /// Sends payload in frames of odd sizes.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        for (at, piece) in bytes.chunks(70_001).enumerate() {
            match self.protocol {
                Protocol::Connect | Protocol::Purr => self.stream.write_all(piece)?,
                Protocol::Capsules => {
                    let capsule = [&capsule_head(DATA, piece.len())[..], piece].concat();
                    self.stream.write_all(&capsule)?;
                }
                Protocol::WebSocket => {
                    let mask = [at as u8, 1, 2, 0xf3];
                    let masked = piece.iter().enumerate().map(|(at, byte)| byte ^ mask[at % 4]);
                    let frame: Vec<u8> =
                        frame_head(0x82, piece.len(), mask).into_iter().chain(masked).collect();
                    self.stream.write_all(&frame)?;
                }
            }
        }
        Ok(())
    }

    /// Ends this direction.
    pub(crate) fn end(&mut self) {
        match self.protocol {
            Protocol::Connect | Protocol::Purr => self.stream.shutdown(Shutdown::Write).unwrap(),
            Protocol::Capsules => self.stream.write_all(&capsule_head(FINAL_DATA, 0)).unwrap(),
            // 1000, masked with zeros.
            Protocol::WebSocket => {
                self.stream.write_all(&[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8]).unwrap();
            }
        }
    }

    /// All payload up to the end of the other direction.
    pub(crate) fn read_to_end(&mut self) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        if matches!(self.protocol, Protocol::Connect | Protocol::Purr) {
            all.append(&mut self.rest);
            self.stream.read_to_end(&mut all)?;
            return Ok(all);
        }
        while !self.ended {
            self.frame(&mut all)?;
        }
        Ok(all)
    }

    /// Exactly `len` bytes of payload, if frames end there.
    pub(crate) fn read_exact(&mut self, len: usize) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        while all.len() < len {
            match self.protocol {
                Protocol::Connect | Protocol::Purr => all.append(&mut self.take(len)?),
                _ => self.frame(&mut all)?,
            }
        }
        Ok(all)
    }

    fn frame(&mut self, all: &mut Vec<u8>) -> io::Result<()> {
        if self.protocol == Protocol::Capsules {
            let (kind, len) = (self.varint()?, self.varint()?);
            let mut payload = self.take(len as usize)?;
            match kind {
                DATA => all.append(&mut payload),
                FINAL_DATA => {
                    all.append(&mut payload);
                    self.ended = true;
                }
                _ => {}
            }
            return Ok(());
        }
        let head = self.take(2)?;
        assert_eq!(head[1] & 0x80, 0, "a server's frame is masked");
        let len = match head[1] {
            126 => u16::from_be_bytes(self.take(2)?.try_into().unwrap()).into(),
            127 => u64::from_be_bytes(self.take(8)?.try_into().unwrap()),
            short => short.into(),
        };
        let mut payload = self.take(len as usize)?;
        match head[0] {
            0x82 => all.append(&mut payload),
            0x88 if payload.starts_with(&[0x03, 0xe8]) => self.ended = true,
            0x88 => {
                let status = u16::from_be_bytes([payload[0], payload[1]]);
                let words = String::from_utf8_lossy(&payload[2..]).into_owned();
                return Err(io::Error::other(format!("closed with {status}: {words}")));
            }
            0x89 => {}
            other => panic!("a frame of kind {other:x}"),
        }
        Ok(())
    }

    fn varint(&mut self) -> io::Result<u64> {
        let first = self.take(1)?[0];
        let more = (1usize << (first >> 6)) - 1;
        let rest = self.take(more)?;
        Ok(rest.iter().fold(u64::from(first & 0x3f), |number, byte| number << 8 | u64::from(*byte)))
    }

    fn take(&mut self, len: usize) -> io::Result<Vec<u8>> {
        let from_rest = self.rest.len().min(len);
        let mut taken: Vec<u8> = self.rest.drain(..from_rest).collect();
        taken.resize(len, 0);
        self.stream.read_exact(&mut taken[from_rest..])?;
        Ok(taken)
    }
}

pub(crate) const DATA: u64 = 0x2028_d7f2;
pub(crate) const FINAL_DATA: u64 = 0x2028_d7f3;

/// Type and length, both in eight or four bytes: lengths need not be written in the shortest form
/// (RFC 9000, 16).
pub(crate) fn capsule_head(kind: u64, len: usize) -> Vec<u8> {
    let kind = (kind as u32 | 0x8000_0000).to_be_bytes();
    let len = (len as u64 | 0xc000_0000_0000_0000).to_be_bytes();
    [&kind[..], &len].concat()
}

pub(crate) fn frame_head(first: u8, len: usize, mask: [u8; 4]) -> Vec<u8> {
    let mut head = vec![first];
    match len {
        0..=125 => head.push(0x80 | len as u8),
        126..=0xffff => {
            head.push(0x80 | 126);
            head.extend_from_slice(&(len as u16).to_be_bytes());
        }
        _ => {
            head.push(0x80 | 127);
            head.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    head.extend_from_slice(&mask);
    head
}
