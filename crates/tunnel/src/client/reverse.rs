//! Connections that were made to the server, for what the client exposes.
//!
//! The server says on one stream, in lines, where it listens, and what it accepts; each connection is asked for by
//! a request of its own, as a tunnel. When the stream ends, the server listens no more; tunnels go on.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, DuplexStream};

use super::error::Error;
use super::tunnel::{Client, Tunnel};
use super::url::Wanted;
use crate::carry::{Limits, carry};
use crate::frame::{Framing, Role};

/// Lines on their way from the leg, in bytes, and the longest line.
const LINES: usize = 16 * 1024;
const LONGEST: usize = 1024;

/// A server that listens for us. It ends when this is dropped.
pub struct Listening {
    address: String,
    lines: Lines,
}

/// A connection that the server has accepted. It does not wait for ever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    id: String,
    /// Whose it is, as the server sees it.
    pub peer: String,
}

impl Client {
    /// Has the server listen at one of its addresses; at port 0 it chooses one. Only `connect-tcp` can.
    ///
    /// # Errors
    /// Why it does not.
    pub async fn listen(&self, at: SocketAddr) -> Result<Listening, Error> {
        let dialled = self.dial(&Wanted::Listen(at), None).await?;
        let limits = Limits { idle: None, ..self.0.options.limits.clone() };
        let (far, near) = tokio::io::duplex(LINES);
        tokio::spawn(async move {
            let (_, end) =
                carry(dialled.leg, dialled.early, Framing::Capsules, Role::Client, far, &limits).await;
            tracing::debug!(%end, "the server listens no more");
        });
        let mut lines = Lines { stream: near, bytes: Vec::new() };
        let broken = |error| Error::Broken(self.0.address.to_string(), error);
        let line = lines.next().await.map_err(broken)?;
        let address = line.strip_prefix("listening ").ok_or_else(|| broken(unexpected()))?.to_owned();
        Ok(Listening { address, lines })
    }

    /// Asks for a connection that was accepted.
    ///
    /// # Errors
    /// Why it is not to be had: it may be gone.
    pub async fn accept(&self, accepted: &Accepted) -> Result<Tunnel, Error> {
        self.ask_for(Wanted::Accepted(accepted.id.clone())).await
    }
}

impl Listening {
    /// Where the server listens.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Waits for the next connection. May be dropped while it waits.
    ///
    /// # Errors
    /// When the server listens no more, or is gone.
    pub async fn next(&mut self) -> io::Result<Accepted> {
        let line = self.lines.next().await?;
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["accepted", id, peer] => Ok(Accepted { id: id.to_owned(), peer: peer.to_owned() }),
            _ => Err(unexpected()),
        }
    }
}

fn unexpected() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the server says something unexpected")
}

/// What comes line by line.
struct Lines {
    stream: DuplexStream,
    /// What has come of the next ones.
    bytes: Vec<u8>,
}

impl Lines {
    async fn next(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.bytes.iter().position(|byte| *byte == b'\n') {
                let rest = self.bytes.split_off(end + 1);
                let line = std::mem::replace(&mut self.bytes, rest);
                return Ok(String::from_utf8_lossy(&line[..end]).trim_end().to_owned());
            }
            if self.bytes.len() > LONGEST {
                return Err(unexpected());
            }
            if self.stream.read_buf(&mut self.bytes).await? == 0 {
                let ended = "the server listens no more";
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, ended));
            }
        }
    }
}
