//! The PROXY protocol on a new connection: reads the header from the socket, and not one byte
//! beyond it.
//!
//! A connection of a trusted proxy (`ServerOptions::proxy_protocol`) without a header is closed: a
//! proxy that may leave it out could hide its clients, and a peer that may send one without being
//! trusted could claim any address.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::task::{Poll, ready};

use outflow_net::proxy_header::{self, MAX_HEADER_BYTES};
use rustix::net::RecvFlags;
use tokio::io::Interest;

use crate::connection::Connection;
use crate::connection::buffer::PooledBuffer;
use crate::options::ServerOptions;

/// Reads the header that a new connection begins with, not one byte beyond it, and takes the
/// client's address from it. False when the connection is to be closed; the log says why.
pub(crate) async fn accept(connection: &mut Connection, options: &ServerOptions) -> bool {
    connection.timer().set(options.head_timeout);
    let refused: &dyn std::fmt::Display = match read_header(connection).await {
        Ok(Ok(client)) => {
            connection.timer().set(options.keep_alive_timeout);
            if let Some(client) = client {
                connection.set_client(client);
            }
            return true;
        }
        // A proxy's health check connects and leaves.
        Ok(Err("")) => return false,
        Ok(Err(reason)) => &{ reason },
        Err(error) if error.kind() == io::ErrorKind::TimedOut => &"its PROXY header did not come in time",
        Err(error) => &{ error },
    };
    tracing::warn!(proxy = %connection.peer, reason = %refused, "connection of a proxy closed");
    false
}

/// The client's address, or what is wrong with the header: an empty reason for a connection without
/// a byte.
async fn read_header(connection: &mut Connection) -> io::Result<Result<Option<SocketAddr>, &'static str>> {
    let mut buffer = PooledBuffer::borrow();
    loop {
        let before = buffer.filled().len();
        let peeked = peek(connection, &mut buffer).await?;
        if peeked == 0 {
            return Ok(Err(if before == 0 { "" } else { "its PROXY header broke off" }));
        }
        let taken = match proxy_header::parse(buffer.filled()) {
            Ok(None) => peeked,
            Ok(Some(header)) => {
                discard(connection, header.len - before)?;
                return Ok(Ok(header.addresses.map(|addresses| addresses.client)));
            }
            Err(reason) => return Ok(Err(reason.as_str())),
        };
        discard(connection, taken)?;
    }
}

/// Waits for more bytes and appends them to `buffer`. They stay in the socket.
async fn peek(connection: &mut Connection, buffer: &mut PooledBuffer) -> io::Result<usize> {
    let n = poll_fn(|cx| {
        loop {
            if connection.poll_readable(cx)?.is_pending() {
                ready!(connection.timer().poll_expired(cx));
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            let stream = connection.stream();
            let space = &mut buffer.spare()[..MAX_HEADER_BYTES];
            match stream
                .try_io(Interest::READABLE, || Ok(rustix::net::recv(stream, space, RecvFlags::PEEK)?.0))
            {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return Poll::Ready(result),
            }
        }
    })
    .await?;
    buffer.fill(n);
    Ok(n)
}

/// Takes `n` bytes that have arrived out of the socket.
fn discard(connection: &Connection, mut n: usize) -> io::Result<()> {
    let mut piece = [0_u8; 512];
    while n > 0 {
        let len = n.min(piece.len());
        n -= rustix::net::recv(connection.stream(), &mut piece[..len], RecvFlags::DONTWAIT)?.0;
    }
    Ok(())
}
