//! A client that hides nothing: it writes the bytes it is given and reads one response after the other.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use outflow_wire::rustls::{ClientConfig, ClientConnection, Stream};
use rustix::net::sockopt;

use super::PATIENCE;

pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    /// Set when it speaks within TLS.
    tls: Option<Box<ClientConnection>>,
    /// Read, and not yet part of a response.
    rest: Vec<u8>,
}

/// One response, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// Names in lower case, in the order they came.
    pub(crate) headers: Vec<(String, String)>,
    /// Decoded when it came in chunks.
    pub(crate) body: Vec<u8>,
}

impl Reply {
    /// The one value of `name`; `None` when it is missing. Fails when there are several.
    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(other, _)| other == name).map(|(_, value)| &**value);
        let value = values.next();
        assert_eq!(values.next(), None, "a second {name}");
        value
    }

    #[track_caller]
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }
}

impl Client {
    pub(crate) fn connect(addr: SocketAddr) -> Client {
        Client::over(TcpStream::connect(addr).expect("connected"))
    }

    /// With a receive buffer of `bytes`, so that the server's socket is soon full.
    pub(crate) fn connect_narrow(addr: SocketAddr, bytes: usize) -> Client {
        let family = rustix::net::AddressFamily::INET;
        let socket = rustix::net::socket(family, rustix::net::SocketType::STREAM, None).expect("a socket");
        sockopt::set_socket_recv_buffer_size(&socket, bytes).expect("a buffer");
        rustix::net::connect(&socket, &addr).expect("connected");
        Client::over(socket.into())
    }

    fn over(stream: TcpStream) -> Client {
        stream.set_nodelay(true).expect("nodelay");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        Client { stream, tls: None, rest: Vec::new() }
    }

    /// Shakes hands for `localhost`.
    pub(crate) fn secure(mut self, config: &Arc<ClientConfig>) -> io::Result<Client> {
        let name = "localhost".try_into().expect("a name");
        let mut tls = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
        while tls.is_handshaking() {
            tls.complete_io(&mut self.stream)?;
        }
        self.tls = Some(Box::new(tls));
        Ok(self)
    }

    /// What TLS has agreed on.
    pub(crate) fn tls(&self) -> &ClientConnection {
        self.tls.as_ref().expect("within TLS")
    }

    /// The session, to do with it what clients seldom do.
    pub(crate) fn tls_mut(&mut self) -> &mut ClientConnection {
        self.tls.as_mut().expect("within TLS")
    }

    /// Says within TLS that no more requests follow.
    pub(crate) fn finish_within(&mut self) -> &mut Client {
        self.tls_mut().send_close_notify();
        self.flush().expect("sent");
        self
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Client {
        self.write_all(bytes.as_ref()).expect("sent");
        self
    }

    /// Sends a GET of `path` with further header lines (each with its CR LF).
    pub(crate) fn get(&mut self, path: &str, lines: &str) -> &mut Client {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\n{lines}\r\n"))
    }

    /// No more requests follow.
    pub(crate) fn finish(&mut self) -> &mut Client {
        self.stream.shutdown(Shutdown::Write).expect("half-closed");
        self
    }

    /// Breaks the connection with an RST.
    pub(crate) fn reset(self) {
        sockopt::set_socket_linger(&self.stream, Some(Duration::ZERO)).expect("linger");
    }

    /// A response to anything but HEAD.
    #[track_caller]
    pub(crate) fn reply(&mut self) -> Reply {
        self.try_reply(false).expect("a whole response")
    }

    /// A response to HEAD.
    #[track_caller]
    pub(crate) fn reply_to_head(&mut self) -> Reply {
        self.try_reply(true).expect("a whole response")
    }

    /// A response, or why there is no whole one. Interim ones (1xx but 101) are responses of their own.
    pub(crate) fn try_reply(&mut self, to_head: bool) -> io::Result<Reply> {
        let head = self.take_until(b"\r\n\r\n")?;
        let head = String::from_utf8(head).map_err(io::Error::other)?;
        let mut lines = head.trim_end().split("\r\n");
        let status_line = lines.next().unwrap_or_default();
        assert!(status_line.starts_with("HTTP/1."), "not a response: {status_line:?}");
        let status: u16 = status_line[9..12].parse().map_err(io::Error::other)?;
        let headers: Vec<(String, String)> = lines
            .map(|line| line.split_once(": ").expect("a field"))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let mut reply = Reply { status, headers, body: Vec::new() };
        if to_head || status < 200 || status == 204 || status == 304 {
            return Ok(reply);
        }
        reply.body = match (reply.header("content-length"), reply.header("transfer-encoding")) {
            (Some(_), Some(_)) => panic!("two framings: {head}"),
            (Some(length), None) => self.take(length.parse().map_err(io::Error::other)?)?,
            (None, Some("chunked")) => self.take_chunks()?,
            (None, Some(other)) => panic!("transfer coding {other:?}"),
            (None, None) => {
                let mut all = std::mem::take(&mut self.rest);
                Read::read_to_end(self, &mut all)?;
                all
            }
        };
        Ok(reply)
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
        Read::read_exact(self, &mut taken[have..])?;
        Ok(taken)
    }

    /// Reads some bytes; 0 when there is nothing more to be had, for whatever reason.
    pub(crate) fn take_some(&mut self, room: &mut [u8]) -> usize {
        let rest = std::mem::take(&mut self.rest).len();
        if rest > 0 { rest } else { self.read(room).unwrap_or(0) }
    }

    /// Reads and drops exactly `len` bytes.
    #[track_caller]
    pub(crate) fn take_exactly(&mut self, len: usize) {
        self.take(len).expect("so many bytes");
    }

    /// Waits until the client's kernel has `len` bytes that nobody has read.
    pub(crate) fn wait_for(&self, len: usize) {
        let mut room = vec![0; len - self.rest.len()];
        while self.stream.peek(&mut room).expect("peeked") < room.len() {
            std::thread::yield_now();
        }
    }

    /// All bytes up to and with `end`.
    pub(crate) fn take_until(&mut self, end: &[u8]) -> io::Result<Vec<u8>> {
        let mut searched = 0;
        loop {
            if let Some(at) = self.rest[searched..].windows(end.len()).position(|window| window == end) {
                let behind = self.rest.split_off(searched + at + end.len());
                return Ok(std::mem::replace(&mut self.rest, behind));
            }
            searched = self.rest.len().saturating_sub(end.len() - 1);
            let mut piece = [0; 16 * 1024];
            match Read::read(self, &mut piece)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => self.rest.extend_from_slice(&piece[..n]),
            }
        }
    }

    fn take_chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = String::from_utf8(self.take_until(b"\r\n")?).map_err(io::Error::other)?;
            let size = usize::from_str_radix(line.trim_end(), 16).map_err(io::Error::other)?;
            let chunk = self.take(size + 2)?;
            assert!(chunk.ends_with(b"\r\n"), "a chunk without its end");
            if size == 0 {
                return Ok(body);
            }
            body.extend_from_slice(&chunk[..size]);
        }
    }

    /// What comes until the connection ends in an orderly way; the error when it ends otherwise.
    pub(crate) fn read_to_end(&mut self) -> io::Result<Vec<u8>> {
        let mut all = std::mem::take(&mut self.rest);
        Read::read_to_end(self, &mut all)?;
        Ok(all)
    }

    /// The server closes in an orderly way and says nothing more.
    #[track_caller]
    pub(crate) fn expect_closed(&mut self) {
        let rest = self.read_to_end().expect("an orderly end");
        assert_eq!(String::from_utf8_lossy(&rest), "", "bytes behind the last response");
    }

    /// The body's bytes that come before the connection breaks, at the most `announced`. Fails when the
    /// body came whole, or the connection ended in an orderly way.
    #[track_caller]
    pub(crate) fn expect_cut(&mut self, announced: usize) -> Vec<u8> {
        let mut body = std::mem::take(&mut self.rest);
        let error = loop {
            let mut piece = [0; 64 * 1024];
            match self.read(&mut piece) {
                Ok(0) => panic!("an orderly end after {} bytes of {announced}", body.len()),
                Ok(n) => body.extend_from_slice(&piece[..n]),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error} after {} bytes", body.len());
        assert!(body.len() < announced, "all {announced} bytes came before the connection broke");
        body
    }
}

impl Read for Client {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match &mut self.tls {
            None => self.stream.read(into),
            Some(tls) => Stream::new(tls.as_mut(), &mut self.stream).read(into),
        }
    }
}

impl Write for Client {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.tls {
            None => self.stream.write(bytes),
            Some(tls) => Stream::new(tls.as_mut(), &mut self.stream).write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.tls {
            None => self.stream.flush(),
            Some(tls) => {
                while tls.wants_write() {
                    tls.write_tls(&mut self.stream)?;
                }
                Ok(())
            }
        }
    }
}
