//! A client that hides nothing: it writes the bytes it is given, and reads one response after the
//! other.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, Stream};

use crate::PATIENCE;

/// One connection.
pub struct HttpClient {
    /// The socket below it.
    pub stream: TcpStream,
    /// Set when it speaks within TLS.
    tls: Option<Box<ClientConnection>>,
    /// Read, and not yet part of a response.
    rest: Vec<u8>,
}

/// One response, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Whether it said `HTTP/1.0`.
    pub is_http_1_0: bool,
    /// The status code.
    pub status: u16,
    /// Names in lower case, in the order they came.
    pub headers: Vec<(String, String)>,
    /// Decoded when it came in chunks.
    pub body: Vec<u8>,
}

impl Reply {
    /// The value of `name`, `None` if it is missing. Fails if there are several.
    #[track_caller]
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(other, _)| other == name).map(|(_, value)| &**value);
        let value = values.next();
        assert_eq!(values.next(), None, "a second {name}");
        value
    }

    /// The value of `name`, which has to be there once.
    #[track_caller]
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.find(name).unwrap_or_else(|| panic!("no {name}: {:?}", self.headers))
    }

    /// `Content-Length`, which has to be there.
    #[track_caller]
    #[must_use]
    pub fn length(&self) -> u64 {
        self.header("content-length").parse().unwrap()
    }

    /// The body as text.
    #[track_caller]
    #[must_use]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    /// Fails with the response unless its status is `status`.
    #[track_caller]
    pub fn expect(self, status: u16) -> Reply {
        let start = String::from_utf8_lossy(&self.body[..self.body.len().min(500)]);
        assert_eq!(self.status, status, "{:?}\n{start}", self.headers);
        self
    }

    #[track_caller]
    fn expect_http_1_1(self) -> Reply {
        assert!(!self.is_http_1_0, "HTTP/1.0: {self:?}");
        self
    }

    /// Whether a body follows this head, which may be empty.
    fn has_body(&self, to_head: bool) -> bool {
        !to_head && self.status >= 200 && self.status != 204 && self.status != 304
    }
}

impl HttpClient {
    /// Connects. Reads and writes fail after [`PATIENCE`].
    #[must_use]
    pub fn connect(addr: SocketAddr) -> HttpClient {
        HttpClient::over(TcpStream::connect(addr).expect("connected"))
    }

    /// Connects with a receive buffer of `bytes`, which the kernel doubles: the server's socket is
    /// soon full.
    #[must_use]
    pub fn connect_narrow(addr: SocketAddr, bytes: usize) -> HttpClient {
        HttpClient::try_connect_narrow(addr, bytes).expect("connected")
    }

    /// The same, where the server may be gone.
    ///
    /// # Errors
    /// Those of connecting.
    pub fn try_connect_narrow(addr: SocketAddr, bytes: usize) -> io::Result<HttpClient> {
        // Child processes must not keep it open.
        let flags = SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
        sockopt::set_socket_recv_buffer_size(&socket, bytes)?;
        rustix::net::connect(&socket, &addr)?;
        Ok(HttpClient::over(socket.into()))
    }

    /// Connects within TLS to `host`, which the certificate has to name.
    ///
    /// # Errors
    /// Those of connecting and of the handshake.
    pub fn connect_secure(
        addr: SocketAddr,
        host: &str,
        config: &Arc<ClientConfig>,
    ) -> io::Result<HttpClient> {
        HttpClient::over(TcpStream::connect(addr)?).secure(host, config)
    }

    fn over(stream: TcpStream) -> HttpClient {
        stream.set_nodelay(true).expect("nodelay");
        HttpClient { stream, tls: None, rest: Vec::new() }.with_timeout(PATIENCE)
    }

    /// Reads and writes fail after `timeout`.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> HttpClient {
        self.stream.set_read_timeout(Some(timeout)).expect("a timeout");
        self.stream.set_write_timeout(Some(timeout)).expect("a timeout");
        self
    }

    /// Makes the TLS handshake with `host`.
    ///
    /// # Errors
    /// Those of the handshake.
    pub fn secure(mut self, host: &str, config: &Arc<ClientConfig>) -> io::Result<HttpClient> {
        let name = ServerName::try_from(host.to_owned()).expect("a name");
        let mut tls = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
        while tls.is_handshaking() {
            tls.complete_io(&mut self.stream)?;
        }
        self.tls = Some(Box::new(tls));
        Ok(self)
    }

    /// The TLS session.
    #[must_use]
    pub fn tls(&self) -> &ClientConnection {
        self.tls.as_ref().expect("within TLS")
    }

    /// The TLS session, to change its keys and the like.
    pub fn tls_mut(&mut self) -> &mut ClientConnection {
        self.tls.as_mut().expect("within TLS")
    }

    /// The certificate that the server presented.
    #[must_use]
    pub fn certificate(&self) -> CertificateDer<'static> {
        self.tls().peer_certificates().unwrap()[0].clone().into_owned()
    }

    /// The size of the receive buffer, as the kernel counts it.
    #[must_use]
    pub fn buffer(&self) -> u64 {
        sockopt::socket_recv_buffer_size(&self.stream).unwrap() as u64
    }

    /// Sends these bytes.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut HttpClient {
        self.write_all(bytes.as_ref()).expect("sent");
        self
    }

    /// Sends a request with further header lines, each with its CR LF.
    pub fn request(&mut self, method: &str, path: &str, lines: &str) -> &mut HttpClient {
        self.send(format!("{method} {path} HTTP/1.1\r\nHost: test\r\n{lines}\r\n"))
    }

    /// Sends a request and reads its response; the connection stays open.
    #[track_caller]
    pub fn fetch(&mut self, method: &str, path: &str, lines: &str) -> Reply {
        self.request(method, path, lines);
        if method == "HEAD" { self.reply_to_head() } else { self.reply() }
    }

    /// Sends a GET and reads its response.
    #[track_caller]
    pub fn get(&mut self, path: &str) -> Reply {
        self.fetch("GET", path, "")
    }

    /// Sends a GET for these ranges and reads its response.
    #[track_caller]
    pub fn get_range(&mut self, path: &str, range: &str) -> Reply {
        self.fetch("GET", path, &format!("Range: bytes={range}\r\n"))
    }

    /// Sends a form as a browser does, and reads the response.
    #[track_caller]
    pub fn post(&mut self, path: &str, form: &str) -> Reply {
        let lines =
            format!("Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n", form.len());
        self.request("POST", path, &lines).send(form).reply()
    }

    /// Reads a response, whose body must have a `Content-Length`.
    #[track_caller]
    pub fn reply(&mut self) -> Reply {
        let reply = self.try_reply(false).expect("a whole response").expect_http_1_1();
        assert!(!reply.has_body(false) || reply.find("content-length").is_some(), "no length: {reply:?}");
        reply
    }

    /// Reads a response to HEAD.
    #[track_caller]
    pub fn reply_to_head(&mut self) -> Reply {
        self.try_reply(true).expect("a whole response").expect_http_1_1()
    }

    /// Reads a response with a body of known or unknown length. An interim response (1xx) is one of
    /// its own.
    ///
    /// # Errors
    /// Says why there is no whole response.
    pub fn try_reply(&mut self, to_head: bool) -> io::Result<Reply> {
        let mut reply = self.try_head()?;
        if !reply.has_body(to_head) {
            return Ok(reply);
        }
        reply.body = match (reply.find("content-length"), reply.find("transfer-encoding")) {
            (Some(_), Some(_)) => panic!("two framings: {reply:?}"),
            (Some(length), None) => self.take(length.parse().map_err(io::Error::other)?)?,
            (None, Some("chunked")) => self.take_chunks()?,
            (None, Some(other)) => panic!("transfer coding {other:?}"),
            (None, None) => self.read_to_end()?,
        };
        Ok(reply)
    }

    /// Reads a response's head, and leaves its body.
    #[track_caller]
    pub fn head(&mut self) -> Reply {
        self.try_head().expect("a response").expect_http_1_1()
    }

    /// The same, where the connection may break.
    ///
    /// # Errors
    /// Those of reading.
    pub fn try_head(&mut self) -> io::Result<Reply> {
        let head = String::from_utf8(self.take_until(b"\r\n\r\n")?).map_err(io::Error::other)?;
        let mut lines = head.trim_end().split("\r\n");
        let status_line = lines.next().unwrap_or_default();
        let is_http_1_0 = status_line.starts_with("HTTP/1.0 ");
        assert!(is_http_1_0 || status_line.starts_with("HTTP/1.1 "), "not a response: {status_line:?}");
        let fields = lines.map(|line| line.split_once(": ").unwrap_or_else(|| panic!("no field: {line:?}")));
        Ok(Reply {
            is_http_1_0,
            status: status_line[9..12].parse().map_err(io::Error::other)?,
            headers: fields.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect(),
            body: Vec::new(),
        })
    }

    /// Reads exactly `len` bytes.
    ///
    /// # Errors
    /// Those of reading.
    pub fn take(&mut self, len: usize) -> io::Result<Vec<u8>> {
        let mut taken = std::mem::take(&mut self.rest);
        if taken.len() >= len {
            self.rest = taken.split_off(len);
            return Ok(taken);
        }
        let have = taken.len();
        taken.resize(len, 0);
        self.receive_exact(&mut taken[have..])?;
        Ok(taken)
    }

    /// Reads and drops exactly `len` bytes.
    #[track_caller]
    pub fn take_exactly(&mut self, len: usize) {
        self.take(len).expect("so many bytes");
    }

    /// Reads some bytes; 0 when no more will come, whatever the reason.
    pub fn take_some(&mut self, room: &mut [u8]) -> usize {
        let rest = std::mem::take(&mut self.rest).len();
        if rest > 0 { rest } else { self.receive(room).unwrap_or(0) }
    }

    /// Waits until the client's kernel holds `len` unread bytes.
    pub fn wait_for(&self, len: usize) {
        let mut room = vec![0; len - self.rest.len()];
        while self.stream.peek(&mut room).expect("peeked") < room.len() {
            std::thread::yield_now();
        }
    }

    /// Reads up to and with `end`.
    ///
    /// # Errors
    /// Those of reading.
    pub fn take_until(&mut self, end: &[u8]) -> io::Result<Vec<u8>> {
        let mut searched = 0;
        loop {
            if let Some(at) = self.rest[searched..].windows(end.len()).position(|window| window == end) {
                let behind = self.rest.split_off(searched + at + end.len());
                return Ok(std::mem::replace(&mut self.rest, behind));
            }
            searched = self.rest.len().saturating_sub(end.len() - 1);
            let mut piece = [0; 16 * 1024];
            match self.receive(&mut piece)? {
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

    /// Passes `len` bytes on as they come, without keeping them.
    ///
    /// # Errors
    /// Those of reading.
    pub fn pour(&mut self, len: u64, mut into: impl FnMut(&[u8])) -> io::Result<()> {
        let mut left = len;
        let mut piece = vec![0; 1 << 20];
        while left > 0 {
            let want = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let n = self.read(&mut piece[..want])?;
            if n == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            into(&piece[..n]);
            left -= n as u64;
        }
        Ok(())
    }

    /// Reads until the connection ends in an orderly way.
    ///
    /// # Errors
    /// Says how it ended otherwise.
    pub fn read_to_end(&mut self) -> io::Result<Vec<u8>> {
        let mut all = std::mem::take(&mut self.rest);
        let mut piece = vec![0; 64 * 1024];
        loop {
            match self.receive(&mut piece)? {
                0 => return Ok(all),
                n => all.extend_from_slice(&piece[..n]),
            }
        }
    }

    /// The server closes in an orderly way and sends nothing more.
    #[track_caller]
    pub fn expect_closed(&mut self) {
        let rest = self.read_to_end().expect("an orderly end");
        assert_eq!(String::from_utf8_lossy(&rest), "", "bytes behind the last response");
    }

    /// The bytes of a body of `announced` bytes that come before the connection is reset. Fails if
    /// the body comes whole, or the connection ends in an orderly way.
    #[track_caller]
    pub fn expect_cut(&mut self, announced: usize) -> Vec<u8> {
        let (body, error) = self.read_to_break(announced);
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error} after {} bytes", body.len());
        body
    }

    /// The same, for a connection that may break in any way: within TLS also by an end without
    /// `close_notify`.
    #[track_caller]
    pub fn expect_broken(&mut self, announced: usize) -> Vec<u8> {
        self.read_to_break(announced).0
    }

    #[track_caller]
    fn read_to_break(&mut self, announced: usize) -> (Vec<u8>, io::Error) {
        let mut body = Vec::new();
        let mut piece = vec![0; 64 * 1024];
        let error = loop {
            match self.read(&mut piece) {
                Ok(0) => panic!("an orderly end after {} bytes of {announced}", body.len()),
                Ok(n) => body.extend_from_slice(&piece[..n]),
                Err(error) => break error,
            }
        };
        assert!(body.len() < announced, "all {announced} bytes came before the connection broke");
        (body, error)
    }

    /// Half-closes: no more requests follow. The server may already have reset the connection,
    /// which the next read tells.
    pub fn finish(&mut self) -> &mut HttpClient {
        match self.stream.shutdown(Shutdown::Write) {
            Err(error) if error.kind() == io::ErrorKind::NotConnected => {}
            result => result.expect("half-closed"),
        }
        self
    }

    /// Sends `close_notify` (TLS): no more requests follow.
    pub fn finish_within(&mut self) -> &mut HttpClient {
        self.tls_mut().send_close_notify();
        self.flush().expect("sent");
        self
    }

    /// Breaks the connection with an RST.
    pub fn reset(self) {
        sockopt::set_socket_linger(&self.stream, Some(Duration::ZERO)).expect("linger");
    }

    /// Reads the next bytes, as far as `into` has room for them; 0 at the end.
    ///
    /// # Errors
    /// Those of reading.
    pub fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.rest.is_empty() {
            return self.receive(into);
        }
        let n = self.rest.len().min(into.len());
        into[..n].copy_from_slice(&self.rest[..n]);
        self.rest.drain(..n);
        Ok(n)
    }

    /// Reads from the connection, past what is kept.
    fn receive(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = match &mut self.tls {
                None => self.stream.read(into),
                Some(tls) => Stream::new(tls.as_mut(), &mut self.stream).read(into),
            };
            if !read.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::Interrupted) {
                return read;
            }
        }
    }

    fn receive_exact(&mut self, mut into: &mut [u8]) -> io::Result<()> {
        while !into.is_empty() {
            match self.receive(into)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => into = &mut into[n..],
            }
        }
        Ok(())
    }
}

impl Write for HttpClient {
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
