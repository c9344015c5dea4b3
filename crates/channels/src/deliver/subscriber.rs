//! One subscriber on a plain connection: its position among the events, and bytes that the kernel
//! has not taken.
//!
//! There are as many of these as subscribers, so they have neither a buffer nor a timer.

use std::io;
use std::net::{SocketAddr, TcpStream};

use outflow_wire::ConnectionPermit;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};

use super::frames::{ClientFrame, MAX_FRAME, pong, read_frame};
use super::wire_format::{CloseReason, Disconnect, POLICY, heartbeat};
use crate::channel::event::StreamFormat;
use crate::channel::limits::SubscriberPermit;
use crate::channel::log::EventTail;

/// Size of the buffer for bytes from clients, in bytes. A shard's subscribers share one.
pub(super) const READ_BUFFER: usize = 4 << 10;
/// Number of reads or frames from a client in one turn; one that sends more is disconnected.
///
/// Bound: channels.
const MAX_READS: usize = 16;

/// A plain connection that is to receive events.
pub(crate) struct NewSubscriber {
    pub(crate) socket: TcpStream,
    pub(crate) format: StreamFormat,
    pub(crate) permit: SubscriberPermit,
    /// The number of the first event to send.
    pub(crate) cursor: u64,
    /// The bytes to send before it.
    pub(crate) opening: Vec<u8>,
    pub(crate) counted: ConnectionPermit,
}

/// A subscriber of a shard.
pub(super) struct Subscriber {
    socket: TcpStream,
    /// `None` once the server has closed its side.
    pub(super) permit: Option<SubscriberPermit>,
    /// Bytes that go before the next event and that the kernel has not taken: the opening, a
    /// heartbeat or a pong.
    outbound: Option<Box<[u8]>>,
    /// The number of the next event to send.
    cursor: u64,
    /// Bytes of that event that the kernel has taken.
    sent: u32,
    /// When the kernel last took bytes, in ticks.
    progressed: u32,
    /// When the connection ends, in ticks.
    pub(super) until: u32,
    /// Its index among the shard's members of the channel.
    pub(super) member_index: u32,
    format: StreamFormat,
    /// The kernel did not take everything; epoll reports when it can take more.
    behind: bool,
    _counted: ConnectionPermit,
}

impl Subscriber {
    /// `now` and `until` in ticks.
    pub(super) fn new(new: NewSubscriber, now: u32, until: u32) -> Subscriber {
        let NewSubscriber { socket, format, permit, cursor, opening, counted } = new;
        POLICY.apply(&socket);
        Subscriber {
            socket,
            permit: Some(permit),
            outbound: (!opening.is_empty()).then(|| opening.into()),
            cursor,
            sent: 0,
            progressed: now,
            until,
            member_index: 0,
            format,
            behind: false,
            _counted: counted,
        }
    }

    /// The socket's peer, for the log. It may be a proxy.
    pub(super) fn peer(&self) -> Option<SocketAddr> {
        self.socket.peer_addr().ok()
    }

    pub(super) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// The number of the next event to send.
    pub(super) fn cursor(&self) -> u64 {
        self.cursor
    }

    /// Whether it waits until the kernel can take more.
    pub(super) fn is_behind(&self) -> bool {
        self.behind
    }

    /// Whether the kernel has taken nothing for `ticks` although there are bytes to send.
    pub(super) fn is_stalled(&self, now: u32, ticks: u32) -> bool {
        self.behind && now.saturating_sub(self.progressed) > ticks
    }

    /// Sends the events that it has not received, as many as the kernel takes.
    pub(super) fn send_pending(&mut self, tail: &EventTail, now: u32) -> Result<(), Disconnect> {
        self.behind = false;
        loop {
            if self.sent == 0
                && let Some(outbound) = self.outbound.take()
            {
                match self.push(&outbound, now)? {
                    n if n == outbound.len() => {}
                    0 => self.outbound = Some(outbound),
                    n => self.outbound = Some(outbound[n..].into()),
                }
            } else if let Some(event) = tail.get(self.cursor)? {
                let bytes = event.bytes(self.format);
                let rest = &bytes[self.sent as usize..];
                match self.push(rest, now)? {
                    n if n == rest.len() => {
                        self.sent = 0;
                        self.cursor += 1;
                    }
                    // An event is smaller than 4 GiB.
                    n => self.sent += n as u32,
                }
            } else {
                return if tail.ended { Err(Disconnect::Close(CloseReason::Ended)) } else { Ok(()) };
            }
            if self.behind {
                return Ok(());
            }
        }
    }

    /// Sends bytes; returns how many the kernel took.
    fn push(&mut self, bytes: &[u8], now: u32) -> Result<usize, Disconnect> {
        match send(&self.socket, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
            Ok(n) => {
                self.progressed = now;
                Ok(n)
            }
            Err(Errno::AGAIN) => {
                self.behind = true;
                Ok(0)
            }
            Err(Errno::INTR) => Ok(0),
            Err(_) => Err(Disconnect::Gone),
        }
    }

    /// Sends `bytes` between two events. Drops them if the client does not keep up with events, or
    /// has other such bytes waiting.
    fn send_between(&mut self, bytes: &[u8], now: u32) -> Result<(), Disconnect> {
        if self.outbound.is_some() || (self.behind && self.sent == 0) {
            return Ok(());
        }
        if self.behind {
            self.outbound = Some(bytes.into());
            return Ok(());
        }
        let n = self.push(bytes, now)?;
        if n < bytes.len() {
            self.outbound = Some(bytes[n..].into());
            // Sets `behind`, so that epoll's report is heeded; usually the kernel can take the rest
            // by now.
            return self.send_pending(&EventTail { first: self.cursor, ..EventTail::default() }, now);
        }
        Ok(())
    }

    pub(super) fn send_heartbeat(&mut self, now: u32) -> Result<(), Disconnect> {
        self.send_between(heartbeat(self.format), now)
    }

    /// Sends the last bytes and closes the server's side. False if that is not possible, because
    /// others are pending.
    pub(super) fn close(&mut self, reason: CloseReason) -> bool {
        if self.behind || self.outbound.is_some() {
            return false;
        }
        let bytes = reason.encode(self.format);
        if !bytes.is_empty() && self.push(&bytes, 0) != Ok(bytes.len()) {
            return false;
        }
        shutdown(&self.socket, Shutdown::Write).is_ok()
    }

    /// Reads what the client has sent.
    pub(super) fn receive(&mut self, buffer: &mut [u8; READ_BUFFER], now: u32) -> Result<(), Disconnect> {
        match self.format {
            StreamFormat::WebSocket if self.permit.is_some() => self.receive_frames(buffer, now),
            _ => self.discard_input(buffer),
        }
    }

    /// Reads and ignores the client's bytes, to learn of the end of the connection.
    fn discard_input(&mut self, buffer: &mut [u8; READ_BUFFER]) -> Result<(), Disconnect> {
        for _ in 0..MAX_READS {
            if receive(&self.socket, buffer, RecvFlags::empty())?.is_none() {
                return Ok(());
            }
        }
        Err(if self.permit.is_some() {
            Disconnect::Close(CloseReason::Rejected(1008, "the client sends too much"))
        } else {
            Disconnect::Gone
        })
    }

    /// Handles frames. An incomplete one stays in the kernel.
    fn receive_frames(&mut self, buffer: &mut [u8; READ_BUFFER], now: u32) -> Result<(), Disconnect> {
        let buffer = &mut buffer[..MAX_FRAME];
        for _ in 0..MAX_READS {
            let Some(n) = receive(&self.socket, buffer, RecvFlags::PEEK)? else { return Ok(()) };
            let len = match read_frame(&mut buffer[..n]) {
                ClientFrame::Incomplete => return Ok(()),
                ClientFrame::Ignored(len) => len,
                ClientFrame::Ping(len, payload) => {
                    let pong = pong(payload);
                    self.send_between(&pong, now)?;
                    len
                }
                ClientFrame::Close(reason) => return Err(Disconnect::Close(reason)),
            };
            receive(&self.socket, &mut buffer[..len], RecvFlags::empty())?;
        }
        Err(Disconnect::Close(CloseReason::Rejected(1008, "too many frames at once")))
    }
}

/// Reads what has arrived into `buffer`; `None` if nothing has.
fn receive(socket: &TcpStream, buffer: &mut [u8], flags: RecvFlags) -> Result<Option<usize>, Disconnect> {
    match recv(socket, buffer, flags | RecvFlags::DONTWAIT) {
        Ok((0, _)) => Err(Disconnect::Gone),
        Ok((n, _)) => Ok(Some(n)),
        Err(Errno::AGAIN) => Ok(None),
        Err(error) if io::Error::from(error).kind() == io::ErrorKind::Interrupted => Ok(Some(0)),
        Err(_) => Err(Disconnect::Gone),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscriber_is_small() {
        // A shard has one for each subscriber, and up to as many unused ones.
        assert!(size_of::<Option<Subscriber>>() <= 128, "{}", size_of::<Option<Subscriber>>());
    }
}
