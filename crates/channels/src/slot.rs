//! One subscriber on a socket of its own: how far it has heard, and what it still takes.
//!
//! Thousands of these lie side by side: no buffer, no timer, and nothing of its own but what the kernel did not take.

use std::io;
use std::net::{SocketAddr, TcpStream};

use outflow_wire::ConnectionPermit;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown, sockopt};

use super::channel::{Lost, Tail};
use super::event::Form;
use super::frames::{self, Said, pong, said};
use super::limits::Place;
use super::reactor::Newcomer;
use super::words::{Farewell, heartbeat};
use super::{SEND_BUFFER, SILENCE};

/// What is read at a time of what does not matter, in bytes; and how often before it is too much.
pub(super) const SCRATCH: usize = 4 << 10;
const READS: usize = 16;

/// A subscriber.
pub(super) struct Slot {
    socket: TcpStream,
    /// `None` once it has been told that it is over.
    pub(super) place: Option<Place>,
    /// What goes first, or between two events: what the kernel did not take of it.
    extra: Option<Box<[u8]>>,
    /// The event that it hears next.
    cursor: u64,
    /// Bytes of that one which have left.
    sent: u32,
    /// When it took something last, in ticks.
    moved: u32,
    /// When it is sent away, in ticks.
    pub(super) until: u32,
    /// Where it stands among its channel's subscribers.
    pub(super) seat: u32,
    form: Form,
    /// It did not take everything: it is told when it can take more.
    behind: bool,
    _counted: ConnectionPermit,
}

/// Why a slot is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Out {
    /// There is nobody any more.
    Gone,
    /// It has taken nothing for so long that what it should take next is lost.
    Slow,
    /// All is said.
    Farewell(Farewell),
}

impl From<Lost> for Out {
    fn from(_: Lost) -> Out {
        Out::Slow
    }
}

impl Slot {
    /// `now` and `until` in ticks.
    pub(super) fn new(newcomer: Newcomer, now: u32, until: u32) -> Slot {
        let Newcomer { socket, form, place, cursor, first, counted } = newcomer;
        // Where the kernel does not know these options, it costs more.
        let _ = sockopt::set_socket_send_buffer_size(&socket, SEND_BUFFER);
        let _ = sockopt::set_tcp_user_timeout(&socket, u32::try_from(SILENCE.as_millis()).unwrap_or(0));
        Slot {
            socket,
            place: Some(place),
            extra: (!first.is_empty()).then(|| first.into()),
            cursor,
            sent: 0,
            moved: now,
            until,
            seat: 0,
            form,
            behind: false,
            _counted: counted,
        }
    }

    /// Whose socket it is, for the log: a proxy's, perhaps.
    pub(super) fn peer(&self) -> Option<SocketAddr> {
        self.socket.peer_addr().ok()
    }

    pub(super) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// The event that it hears next.
    pub(super) fn cursor(&self) -> u64 {
        self.cursor
    }

    /// Whether it waits for room in the kernel.
    pub(super) fn is_behind(&self) -> bool {
        self.behind
    }

    /// Whether it has taken nothing for so many ticks, although there is something.
    pub(super) fn is_stalled(&self, now: u32, ticks: u32) -> bool {
        self.behind && now.saturating_sub(self.moved) > ticks
    }

    /// Sends what it has not got, as much as the kernel takes.
    pub(super) fn pump(&mut self, tail: &Tail, now: u32) -> Result<(), Out> {
        self.behind = false;
        loop {
            if self.sent == 0
                && let Some(extra) = self.extra.take()
            {
                match self.push(&extra, now)? {
                    n if n == extra.len() => {}
                    0 => self.extra = Some(extra),
                    n => self.extra = Some(extra[n..].into()),
                }
            } else if let Some(event) = tail.get(self.cursor)? {
                let bytes = event.bytes(self.form);
                let rest = &bytes[self.sent as usize..];
                match self.push(rest, now)? {
                    n if n == rest.len() => {
                        self.sent = 0;
                        self.cursor += 1;
                    }
                    // An event has less than 4 GiB.
                    n => self.sent += n as u32,
                }
            } else {
                return if tail.ended { Err(Out::Farewell(Farewell::Ended)) } else { Ok(()) };
            }
            if self.behind {
                return Ok(());
            }
        }
    }

    /// Sends bytes, from wherever they are; how many the kernel took.
    fn push(&mut self, bytes: &[u8], now: u32) -> Result<usize, Out> {
        match send(&self.socket, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
            Ok(n) => {
                self.moved = now;
                Ok(n)
            }
            Err(Errno::AGAIN) => {
                self.behind = true;
                Ok(0)
            }
            Err(Errno::INTR) => Ok(0),
            Err(_) => Err(Out::Gone),
        }
    }

    /// Says a word between two events. Nothing, if it does not even take those, or has such a word waiting.
    fn say(&mut self, word: &[u8], now: u32) -> Result<(), Out> {
        if self.extra.is_some() || (self.behind && self.sent == 0) {
            return Ok(());
        }
        if self.behind {
            self.extra = Some(word.into());
            return Ok(());
        }
        let n = self.push(word, now)?;
        if n < word.len() {
            self.extra = Some(word[n..].into());
            // So that the kernel tells when there is room; most often there is by now.
            return self.pump(&Tail { first: self.cursor, ..Tail::default() }, now);
        }
        Ok(())
    }

    pub(super) fn beat(&mut self, now: u32) -> Result<(), Out> {
        self.say(heartbeat(self.form), now)
    }

    /// Says farewell, and that nothing will follow. False if that cannot be said, or has been: then it is cut off.
    pub(super) fn leave(&mut self, farewell: Farewell) -> bool {
        if self.behind || self.extra.is_some() {
            return false;
        }
        let words = farewell.words(self.form);
        if !words.is_empty() && self.push(&words, 0) != Ok(words.len()) {
            return false;
        }
        shutdown(&self.socket, Shutdown::Write).is_ok()
    }

    /// Listens to what it says.
    pub(super) fn hear(&mut self, scratch: &mut [u8; SCRATCH], now: u32) -> Result<(), Out> {
        match self.form {
            Form::WebSocket if self.place.is_some() => self.hear_frames(scratch, now),
            _ => self.hear_nothing(scratch),
        }
    }

    /// Reads what does not matter: only its end does.
    fn hear_nothing(&mut self, scratch: &mut [u8; SCRATCH]) -> Result<(), Out> {
        for _ in 0..READS {
            if take(&self.socket, scratch, RecvFlags::empty())?.is_none() {
                return Ok(());
            }
        }
        Err(if self.place.is_some() {
            Out::Farewell(Farewell::Refused(1008, "a subscriber that talks"))
        } else {
            Out::Gone
        })
    }

    /// Reads frames. What is there of one that is not complete stays in the kernel.
    fn hear_frames(&mut self, scratch: &mut [u8; SCRATCH], now: u32) -> Result<(), Out> {
        let room = &mut scratch[..frames::ROOM];
        for _ in 0..READS {
            let Some(n) = take(&self.socket, room, RecvFlags::PEEK)? else { return Ok(()) };
            let len = match said(&mut room[..n]) {
                Said::Part => return Ok(()),
                Said::Nothing(len) => len,
                Said::Ping(len, payload) => {
                    let pong = pong(payload);
                    self.say(&pong, now)?;
                    len
                }
                Said::Over(farewell) => return Err(Out::Farewell(farewell)),
            };
            take(&self.socket, &mut room[..len], RecvFlags::empty())?;
        }
        Err(Out::Farewell(Farewell::Refused(1008, "too many frames at once")))
    }
}

/// What has come, as far as it fits; `None` if nothing has.
fn take(socket: &TcpStream, room: &mut [u8], flags: RecvFlags) -> Result<Option<usize>, Out> {
    match recv(socket, room, flags | RecvFlags::DONTWAIT) {
        Ok((0, _)) => Err(Out::Gone),
        Ok((n, _)) => Ok(Some(n)),
        Err(Errno::AGAIN) => Ok(None),
        Err(error) if io::Error::from(error).kind() == io::ErrorKind::Interrupted => Ok(Some(0)),
        Err(_) => Err(Out::Gone),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_small() {
        // There are as many as subscribers, and up to as many again that are free.
        assert!(size_of::<Option<Slot>>() <= 128, "{}", size_of::<Option<Slot>>());
    }
}
