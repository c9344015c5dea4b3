//! Targets of tunnels, and clients of each tunnel protocol, which frame their legs by hand.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};

use crate::PATIENCE;

/// The token of the only user.
pub const TOKEN: &str = "0123456789abcdef0123";

/// A socket whose reads and writes fail after [`PATIENCE`].
#[must_use]
pub fn patient(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// A target that accepts one connection and hands it out.
pub struct TestTarget {
    listener: TcpListener,
    /// Where it listens.
    pub addr: SocketAddr,
}

impl Default for TestTarget {
    fn default() -> TestTarget {
        TestTarget::new()
    }
}

impl TestTarget {
    /// Listens on a port that the kernel chooses.
    #[must_use]
    pub fn new() -> TestTarget {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        TestTarget { addr: listener.local_addr().unwrap(), listener }
    }

    /// Accepts a connection.
    pub fn accept(&self) -> TcpStream {
        patient(self.listener.accept().unwrap().0)
    }

    /// Whether no client has connected.
    #[must_use]
    pub fn is_untouched(&self) -> bool {
        self.listener.set_nonblocking(true).unwrap();
        let accepted = self.listener.accept();
        self.listener.set_nonblocking(false).unwrap();
        matches!(accepted, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

/// The protocols over HTTP/1.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LegProtocol {
    /// `connect-tcp` with capsules.
    Capsules,
    /// `connect-tcp` over WebSocket.
    WebSocket,
    /// The method `CONNECT`.
    Connect,
    /// The upgrade `purr`.
    Purr,
}

impl LegProtocol {
    /// All of them.
    pub const ALL: [LegProtocol; 4] =
        [LegProtocol::Capsules, LegProtocol::WebSocket, LegProtocol::Connect, LegProtocol::Purr];

    /// A request for a tunnel to `target`, with further header lines.
    #[must_use]
    pub fn request(self, target: SocketAddr, lines: &str) -> String {
        let path = format!("/.well-known/masque/tcp/{}/{}/", target.ip(), target.port());
        self.request_at(&path, &target.to_string(), lines)
    }

    /// A request for a tunnel to a path or authority.
    #[must_use]
    pub fn request_at(self, path: &str, authority: &str, lines: &str) -> String {
        let upgrade = match self {
            LegProtocol::Capsules => "Upgrade: connect-tcp\r\nCapsule-Protocol: ?1\r\n",
            LegProtocol::WebSocket => {
                "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            }
            LegProtocol::Purr => "Upgrade: purr\r\nPurr-Request: MEOW\r\nPurr-Version: 0.1.2\r\n",
            LegProtocol::Connect => {
                return format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n{lines}\r\n");
            }
        };
        format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\n{upgrade}{lines}\r\n")
    }
}

/// A response's head.
#[derive(Debug)]
pub struct LegHead {
    /// The status code.
    pub status: u16,
    /// The whole head as text.
    pub fields: String,
}

impl LegHead {
    /// The value of a field.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&str> {
        self.fields.lines().find_map(|line| {
            let (field, value) = line.split_once(": ")?;
            field.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

/// A client's end of a tunnel.
pub struct TestLeg {
    /// The socket below it.
    pub stream: TcpStream,
    protocol: LegProtocol,
    /// Read, and not yet taken apart.
    rest: Vec<u8>,
    ended: bool,
}

impl TestLeg {
    /// Sends a request, and reads the response's head.
    ///
    /// # Errors
    /// The head and body of a refusal.
    pub fn ask(
        addr: SocketAddr,
        protocol: LegProtocol,
        request: &str,
    ) -> Result<(TestLeg, LegHead), (LegHead, String)> {
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
        let head = LegHead { status: text[9..12].parse().unwrap(), fields: text };
        if matches!(head.status, 101 | 200) {
            return Ok((TestLeg { stream, protocol, rest: behind, ended: false }, head));
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

    /// A leg on a stream whose tunnel was granted.
    #[must_use]
    pub fn over(stream: TcpStream, protocol: LegProtocol) -> TestLeg {
        TestLeg { stream, protocol, rest: Vec::new(), ended: false }
    }

    /// Opens a tunnel, which has to be granted.
    #[must_use]
    pub fn open(addr: SocketAddr, protocol: LegProtocol, target: SocketAddr) -> TestLeg {
        let request = protocol.request(target, &format!("Authorization: Bearer {TOKEN}\r\n"));
        match TestLeg::ask(addr, protocol, &request) {
            Ok((leg, _)) => leg,
            Err(refusal) => panic!("{protocol:?}: {refusal:?}"),
        }
    }

    /// Another handle of the same leg.
    #[must_use]
    pub fn try_clone(&self) -> TestLeg {
        TestLeg::over(self.stream.try_clone().unwrap(), self.protocol)
    }

    /// Sends payload in frames of odd sizes.
    ///
    /// # Errors
    /// Those of writing.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        for (at, piece) in bytes.chunks(70_001).enumerate() {
            match self.protocol {
                LegProtocol::Connect | LegProtocol::Purr => self.stream.write_all(piece)?,
                LegProtocol::Capsules => {
                    let capsule = [&capsule_head(DATA, piece.len())[..], piece].concat();
                    self.stream.write_all(&capsule)?;
                }
                LegProtocol::WebSocket => {
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
    pub fn end(&mut self) {
        match self.protocol {
            LegProtocol::Connect | LegProtocol::Purr => self.stream.shutdown(Shutdown::Write).unwrap(),
            LegProtocol::Capsules => self.stream.write_all(&capsule_head(FINAL_DATA, 0)).unwrap(),
            // 1000, masked with zeros.
            LegProtocol::WebSocket => {
                self.stream.write_all(&[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8]).unwrap();
            }
        }
    }

    /// Reads all payload up to the end of the other direction.
    ///
    /// # Errors
    /// Those of reading, or the code that the tunnel was closed with.
    pub fn read_to_end(&mut self) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        if matches!(self.protocol, LegProtocol::Connect | LegProtocol::Purr) {
            all.append(&mut self.rest);
            self.stream.read_to_end(&mut all)?;
            return Ok(all);
        }
        while !self.ended {
            self.frame(&mut all)?;
        }
        Ok(all)
    }

    /// Reads frames until there are `len` bytes of payload.
    ///
    /// # Errors
    /// Those of reading.
    pub fn read_exact(&mut self, len: usize) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        while all.len() < len {
            match self.protocol {
                LegProtocol::Connect | LegProtocol::Purr => all.append(&mut self.take(len)?),
                _ => self.frame(&mut all)?,
            }
        }
        Ok(all)
    }

    fn frame(&mut self, all: &mut Vec<u8>) -> io::Result<()> {
        if self.protocol == LegProtocol::Capsules {
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

/// The capsule type of payload.
pub const DATA: u64 = 0x2028_d7f2;
/// The capsule type of the last payload.
pub const FINAL_DATA: u64 = 0x2028_d7f3;

/// A capsule's type and length, in four and eight bytes: lengths need not be written in the
/// shortest form (RFC 9000, 16).
#[must_use]
pub fn capsule_head(kind: u64, len: usize) -> Vec<u8> {
    let kind = (kind as u32 | 0x8000_0000).to_be_bytes();
    let len = (len as u64 | 0xc000_0000_0000_0000).to_be_bytes();
    [&kind[..], &len].concat()
}

/// The head of a masked WebSocket frame.
#[must_use]
pub fn frame_head(first: u8, len: usize, mask: [u8; 4]) -> Vec<u8> {
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
