//! Connections that the server accepts, for what the client exposes.
//!
//! The server reports on one stream, in lines, where it listens and what it accepts; the client
//! requests a tunnel to each connection. When the stream ends, the server stops listening; tunnels
//! continue.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, DuplexStream};

use super::error::ConnectError;
use super::tunnel::{ClientTunnel, TunnelClient};
use super::url::Destination;
use crate::carry::{TunnelTimeouts, carry};
use crate::frame::{LegFraming, LegRole};

/// Bytes of lines from the server that wait to be read.
///
/// Bound: tunnels.
const LINES_BYTES: usize = 16 * 1024;
/// Length of the longest line from the server, in bytes.
///
/// Bound: tunnels.
const MAX_LINE_BYTES: usize = 1024;

/// A listener at the server. Dropping it ends the listening.
pub struct RemoteListener {
    address: String,
    lines: LineReader,
}

/// A connection that the server has accepted. The server closes it when it is not requested in
/// time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IncomingConnection {
    id: String,
    /// Its remote address, as the server sees it.
    pub peer: String,
}

impl TunnelClient {
    /// Makes the server listen on one of its addresses; for port 0 it chooses one. Needs
    /// `connect-tcp`.
    ///
    /// # Errors
    /// Why the server does not listen.
    pub async fn listen(&self, at: SocketAddr) -> Result<RemoteListener, ConnectError> {
        let granted = self.connect(&Destination::Listen(at), None).await?;
        let timeouts = TunnelTimeouts { idle: None, ..self.0.options.timeouts.clone() };
        let (far, near) = tokio::io::duplex(LINES_BYTES);
        tokio::spawn(async move {
            let (_, end) =
                carry(granted.leg, granted.early, LegFraming::Capsules, LegRole::Client, far, &timeouts)
                    .await;
            tracing::debug!(%end, "the server stopped listening");
        });
        let mut lines = LineReader { stream: near, bytes: Vec::new() };
        let broken = |error| ConnectError::Broken(self.0.url.to_string(), error);
        let line = lines.next().await.map_err(broken)?;
        let address = line.strip_prefix("listening ").ok_or_else(|| broken(unexpected()))?.to_owned();
        Ok(RemoteListener { address, lines })
    }

    /// Opens a tunnel to a connection that the server has accepted.
    ///
    /// # Errors
    /// Why there is no tunnel: the connection may have been closed.
    pub async fn accept(&self, accepted: &IncomingConnection) -> Result<ClientTunnel, ConnectError> {
        self.open_destination(Destination::Accepted(accepted.id.clone())).await
    }
}

impl RemoteListener {
    /// Where the server listens.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Waits for the next connection. May be dropped while it waits.
    ///
    /// # Errors
    /// The server has stopped listening, or the connection to it is lost.
    pub async fn next(&mut self) -> io::Result<IncomingConnection> {
        let line = self.lines.next().await?;
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["accepted", id, peer] => Ok(IncomingConnection { id: id.to_owned(), peer: peer.to_owned() }),
            _ => Err(unexpected()),
        }
    }
}

fn unexpected() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the server sent an unexpected line")
}

/// Reads lines from a stream.
struct LineReader {
    stream: DuplexStream,
    /// The part of the next lines that has arrived.
    bytes: Vec<u8>,
}

impl LineReader {
    async fn next(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.bytes.iter().position(|byte| *byte == b'\n') {
                let rest = self.bytes.split_off(end + 1);
                let line = std::mem::replace(&mut self.bytes, rest);
                return Ok(String::from_utf8_lossy(&line[..end]).trim_end().to_owned());
            }
            if self.bytes.len() > MAX_LINE_BYTES {
                return Err(unexpected());
            }
            if self.stream.read_buf(&mut self.bytes).await? == 0 {
                let ended = "the server stopped listening";
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, ended));
            }
        }
    }
}
