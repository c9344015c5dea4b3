//! A client that hides nothing: status, header fields and bytes as they came.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use rustix::net::sockopt;

use super::PATIENCE;

/// One connection.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    /// Read, and not yet part of a response.
    rest: Vec<u8>,
}

/// One response.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// Names in lower case, in the order they came.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    /// The one value of `name`, if it is there.
    #[track_caller]
    pub(crate) fn find(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(other, _)| other == name).map(|(_, value)| &**value);
        let value = values.next();
        assert_eq!(values.next(), None, "a second {name}");
        value
    }

    /// The one value of `name`, which has to be there.
    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> &str {
        self.find(name).unwrap_or_else(|| panic!("no {name}: {:?}", self.headers))
    }

    /// `Content-Length`.
    #[track_caller]
    pub(crate) fn length(&self) -> u64 {
        self.header("content-length").parse().unwrap()
    }

    #[track_caller]
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    /// The status is `status`; says what came if it is not.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Reply {
        let start = String::from_utf8_lossy(&self.body[..self.body.len().min(500)]);
        assert_eq!(self.status, status, "{:?}\n{start}", self.headers);
        self
    }
}

impl Client {
    pub(crate) fn connect(addr: SocketAddr) -> Client {
        Client::over(TcpStream::connect(addr).unwrap())
    }

    /// With a receive buffer so small that the server has to wait for every read.
    pub(crate) fn connect_narrow(addr: SocketAddr) -> Client {
        Client::try_connect_narrow(addr).unwrap()
    }

    pub(crate) fn try_connect_narrow(addr: SocketAddr) -> io::Result<Client> {
        let family = rustix::net::AddressFamily::INET;
        // Programs that are started meanwhile must not keep it open.
        let flags = rustix::net::SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(family, rustix::net::SocketType::STREAM, flags, None)?;
        sockopt::set_socket_recv_buffer_size(&socket, 4096)?;
        rustix::net::connect(&socket, &addr)?;
        Ok(Client::over(socket.into()))
    }

    /// As much as the kernel takes on without being read.
    pub(crate) fn buffer(&self) -> u64 {
        sockopt::socket_recv_buffer_size(&self.stream).unwrap() as u64
    }

    fn over(stream: TcpStream) -> Client {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Client { stream, rest: Vec::new() }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Client {
        self.stream.write_all(bytes.as_ref()).unwrap();
        self
    }

    /// Sends a request with further header lines, each with its CR LF.
    pub(crate) fn ask(&mut self, method: &str, path: &str, lines: &str) -> &mut Client {
        self.send(format!("{method} {path} HTTP/1.1\r\nHost: test\r\n{lines}\r\n"))
    }

    /// A request and its response, the connection staying open.
    #[track_caller]
    pub(crate) fn fetch(&mut self, method: &str, path: &str, lines: &str) -> Reply {
        self.ask(method, path, lines).reply(method == "HEAD")
    }

    #[track_caller]
    pub(crate) fn get(&mut self, path: &str) -> Reply {
        self.fetch("GET", path, "")
    }

    #[track_caller]
    pub(crate) fn get_range(&mut self, path: &str, range: &str) -> Reply {
        self.fetch("GET", path, &format!("Range: bytes={range}\r\n"))
    }

    /// Sends a form, as a browser does.
    #[track_caller]
    pub(crate) fn post(&mut self, path: &str, form: &str) -> Reply {
        let lines =
            format!("Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n", form.len());
        self.ask("POST", path, &lines).send(form).reply(false)
    }

    #[track_caller]
    pub(crate) fn reply(&mut self, to_head: bool) -> Reply {
        let mut reply = self.head();
        if !to_head && reply.status >= 200 && reply.status != 204 && reply.status != 304 {
            let length = reply.length() as usize;
            reply.body = self.take(length).unwrap();
        }
        reply
    }

    /// A response's head; its body is still to come.
    #[track_caller]
    pub(crate) fn head(&mut self) -> Reply {
        self.try_head().expect("a response")
    }

    pub(crate) fn try_head(&mut self) -> io::Result<Reply> {
        let mut searched = 0;
        let end = loop {
            if let Some(at) = self.rest[searched..].windows(4).position(|window| window == b"\r\n\r\n") {
                break searched + at + 4;
            }
            searched = self.rest.len().saturating_sub(3);
            let mut piece = [0; 16 * 1024];
            match self.stream.read(&mut piece)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => self.rest.extend_from_slice(&piece[..n]),
            }
        };
        let behind = self.rest.split_off(end);
        let head = String::from_utf8(std::mem::replace(&mut self.rest, behind)).expect("a head is text");
        let mut lines = head.trim_end().split("\r\n");
        let status_line = lines.next().unwrap();
        assert!(status_line.starts_with("HTTP/1.1 "), "not a response: {status_line:?}");
        let fields = lines.map(|line| line.split_once(": ").unwrap_or_else(|| panic!("no field: {line:?}")));
        Ok(Reply {
            status: status_line[9..12].parse().unwrap(),
            headers: fields.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect(),
            body: Vec::new(),
        })
    }

    /// Exactly `len` bytes.
    pub(crate) fn take(&mut self, len: usize) -> io::Result<Vec<u8>> {
        let mut taken = std::mem::take(&mut self.rest);
        if taken.len() >= len {
            self.rest = taken.split_off(len);
            return Ok(taken);
        }
        let have = taken.len();
        taken.resize(len, 0);
        self.stream.read_exact(&mut taken[have..])?;
        Ok(taken)
    }

    /// What there is next, as far as `piece` has room for it; 0 at the end.
    pub(crate) fn read(&mut self, piece: &mut [u8]) -> io::Result<usize> {
        if self.rest.is_empty() {
            return self.stream.read(piece);
        }
        let n = self.rest.len().min(piece.len());
        piece[..n].copy_from_slice(&self.rest[..n]);
        self.rest.drain(..n);
        Ok(n)
    }

    /// Hands `len` bytes on as they come, without keeping them.
    pub(crate) fn pour(&mut self, len: u64, mut into: impl FnMut(&[u8])) -> io::Result<()> {
        let start = self.rest.len().min(len as usize);
        into(&self.rest[..start]);
        self.rest.drain(..start);
        let mut left = len - start as u64;
        let mut piece = vec![0; 1 << 20];
        while left > 0 {
            let want = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let n = self.stream.read(&mut piece[..want])?;
            if n == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            into(&piece[..n]);
            left -= n as u64;
        }
        Ok(())
    }

    /// The server closes without another byte.
    #[track_caller]
    pub(crate) fn expect_closed(&mut self) {
        let mut rest = std::mem::take(&mut self.rest);
        self.stream.read_to_end(&mut rest).expect("an orderly end");
        assert_eq!(String::from_utf8_lossy(&rest), "", "bytes behind the last response");
    }

    /// What comes of a body of `announced` bytes before the connection breaks. Fails if all of it
    /// comes.
    #[track_caller]
    pub(crate) fn expect_cut(&mut self, announced: u64) -> Vec<u8> {
        let mut body = std::mem::take(&mut self.rest);
        let error = self.stream.read_to_end(&mut body).expect_err("the connection ended in good order");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error} after {} bytes", body.len());
        assert!((body.len() as u64) < announced, "all {announced} bytes came before the connection broke");
        body
    }

    /// Breaks the connection with an RST.
    pub(crate) fn reset(self) {
        sockopt::set_socket_linger(&self.stream, Some(Duration::ZERO)).unwrap();
    }
}
