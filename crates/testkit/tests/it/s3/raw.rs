//! Requests without a signature, by hand, and what comes of them.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use outflow_testkit::s3::Double;

/// What arrived on a connection, and how it ended.
pub(crate) struct Answer {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    pub(crate) end: End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// FIN.
    Closed,
    /// RST.
    Reset,
    /// Nothing for half a second.
    Silent,
}

impl Answer {
    pub(crate) fn status(&self) -> &str {
        self.head.get(9..12).unwrap_or_default()
    }

    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

/// Sends a request, asks for the connection to close behind it, and reads all that comes.
pub(crate) fn ask(double: &Double, method: &str, key: &str, lines: &str) -> Answer {
    ask_for(double, method, &format!("/{}/{key}", Double::BUCKET), &format!("Connection: close\r\n{lines}"))
}

/// The same with the connection staying open.
pub(crate) fn ask_for(double: &Double, method: &str, path: &str, lines: &str) -> Answer {
    let mut stream = TcpStream::connect(double.addr()).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    stream.write_all(format!("{method} {path} HTTP/1.1\r\nHost: double\r\n{lines}\r\n").as_bytes()).unwrap();
    let mut all = Vec::new();
    let end = match stream.read_to_end(&mut all) {
        Ok(_) => End::Closed,
        Err(error) if error.kind() == ErrorKind::ConnectionReset => End::Reset,
        Err(error) if error.kind() == ErrorKind::WouldBlock => End::Silent,
        Err(error) => panic!("{error}"),
    };
    let at = all.windows(4).position(|window| window == b"\r\n\r\n").map_or(all.len(), |at| at + 4);
    let body = all.split_off(at);
    Answer { head: String::from_utf8(all).unwrap(), body, end }
}
