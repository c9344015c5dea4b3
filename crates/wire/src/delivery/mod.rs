//! Deliveries whose last byte has been handed to the kernel, until it is known whether they arrived.
//!
//! ```text
//! all sent  ->  acknowledged to the last byte  ->  a next request or an orderly end: confirmed
//!                                              ->  neither within `Options::confirm_timeout`: acknowledged
//! a reset at any time, or no progress for too long: aborted, with what was acknowledged
//! ```
//!
//! The connection goes on meanwhile: a next request never waits. All bytes that are written to a socket are
//! counted, so that the kernel's one number (`SIOCOUTQ`) says of each delivery how much of it has arrived.
//! It is looked at when something happens anyway (a next request, an end), by the clock that ticks for all
//! busy connections, and after a large body by a timer of its own.
//!
//! There would be an event for the acknowledgement of a body's last byte (`SO_TIMESTAMPING`, `TX_ACK`), but it
//! wakes a socket's waiters with `EPOLLERR`, which mio takes for the end of the writing side, and tokio never
//! forgets that: from then on waiting for room in that socket spins.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use outflow_content::{AbortReason, Evidence, Watch};
use rustix::net::{RecvFlags, sockopt};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use crate::connection::Connection;
use crate::options::Options;
use crate::sys;
use crate::tls::Session;

/// Deliveries of one connection that may be pending. Only a client that asks on and on without waiting for
/// what it gets (pipelining) reaches it, and then waits.
pub(crate) const MAX_TAILS: usize = 16;

/// Bodies from here on are worth a timer of their own, and `TCP_INFO`. Sending them takes 100 us and more, which
/// the few system calls do not change; below, each would be noticed.
const LARGE: u64 = 256 * 1024;

/// A delivery that took so long is worth `TCP_INFO` whatever its size.
const LONG: Duration = Duration::from_secs(1);

/// How often it is told at the most how much has been acknowledged.
pub(crate) const TELL_EVERY: Duration = Duration::from_millis(250);

/// Bounds of the time between two looks by a timer; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LAST_PAUSE: Duration = Duration::from_millis(250);

/// One delivery behind its last byte.
pub(crate) struct Tail {
    watch: Watch,
    /// Where in all that was written to the connection its body begins and ends.
    begin: u64,
    end: u64,
    /// Nothing from the client was waiting to be read before its last bytes left.
    quiet: bool,
    /// Whether `TCP_INFO` is asked for it.
    measured: bool,
    acked_at: Option<Instant>,
}

/// The pending deliveries of one connection, in their order, and what else only some connections have.
pub(crate) struct Tails {
    queue: VecDeque<Tail>,
    /// Bytes that were handed to the kernel since this was made, and our own end as one more. What was written
    /// before and is not acknowledged yet only delays what is known.
    written: u64,
    /// The proxy that speaks for the peer, if there is one.
    via: Option<SocketAddr>,
    /// True when nothing from the client was waiting to be read before the newest tail's last bytes left: what
    /// is read later answers them, and confirms what has been acknowledged by then.
    quiet: bool,
    /// All bytes up to here are acknowledged.
    acked: u64,
    /// When the client is given up if it acknowledges nothing more.
    stalled: Instant,
    told: Instant,
    looks: Option<Pin<Box<Sleep>>>,
    pause: Duration,
}

impl Tail {
    /// The delivery that `watch` watches. It took `duration` to hand it over. Its body ends where `end` bytes had been
    /// written to the connection, and begins as many before as it is long; within TLS really earlier, so that
    /// what counts as acknowledged is never more than what is. `quiet`: before the last of its bytes left, nothing
    /// from the client was waiting.
    pub(crate) fn new(watch: Watch, end: u64, quiet: bool, duration: Duration) -> Tail {
        let measured = is_worth_measuring(&watch, duration);
        let begin = end.saturating_sub(watch.len());
        Tail { watch, begin, end, quiet, measured, acked_at: None }
    }

    fn is_large(&self) -> bool {
        is_large(&self.watch)
    }

    /// All is acknowledged.
    fn acked(&mut self, now: Instant, stream: &TcpStream) {
        self.acked_at = Some(now);
        let transport = self.measured.then(|| sys::transport(stream).ok()).flatten();
        self.watch.measured(Some(self.end - self.begin), transport);
    }
}

/// Whether a delivery is large enough for calls of its own.
pub(crate) fn is_large(watch: &Watch) -> bool {
    watch.len() >= LARGE
}

/// Whether a delivery is large enough, or took long enough, to ask how the connection did.
pub(crate) fn is_worth_measuring(watch: &Watch, duration: Duration) -> bool {
    is_large(watch) || duration >= LONG
}

impl Tails {
    fn new() -> Tails {
        let now = Instant::now();
        Tails {
            // Most connections have but one at a time.
            queue: VecDeque::with_capacity(1),
            written: 0,
            via: None,
            quiet: true,
            acked: 0,
            stalled: now,
            told: now,
            looks: None,
            pause: FIRST_PAUSE,
        }
    }

    /// Everything up to `acked` has been acknowledged: notes it, tells it, and settles what nobody has
    /// confirmed in time.
    fn look(&mut self, acked: u64, stream: &TcpStream, options: &Options) -> Result<(), AbortReason> {
        let now = Instant::now();
        if acked > self.acked {
            let rate = f64::from(options.min_rate.max(1));
            let credit = Duration::from_secs_f64(((acked - self.acked) as f64 / rate).min(31_536_000.0));
            self.stalled = (self.stalled + credit).min(now + options.stall_timeout);
            self.acked = acked;
        }
        let tell = now - self.told >= TELL_EVERY;
        for tail in self.queue.iter_mut().filter(|tail| tail.acked_at.is_none()) {
            if acked >= tail.end {
                tail.acked(now, stream);
            } else if tell && acked > tail.begin {
                self.told = now;
                tail.watch.acked(acked - tail.begin);
            }
        }
        let overdue = |at: Instant| now - at >= options.confirm_timeout;
        while self.queue.front().is_some_and(|tail| tail.acked_at.is_some_and(overdue)) {
            self.complete_first(Evidence::Acked);
        }
        let waits = self.queue.back().is_some_and(|tail| tail.acked_at.is_none());
        if waits && now >= self.stalled { Err(AbortReason::Stalled) } else { Ok(()) }
    }

    fn complete_first(&mut self, evidence: Evidence) {
        if let Some(tail) = self.queue.pop_front() {
            tail.watch.completed(evidence);
        }
    }

    /// Ends all deliveries that are acknowledged to their last byte.
    fn complete_acked(&mut self, evidence: Evidence) {
        while self.queue.front().is_some_and(|tail| tail.acked_at.is_some()) {
            self.complete_first(evidence);
        }
    }
}

impl Connection {
    /// True while it is not known of some delivery whether it has arrived.
    pub(crate) fn has_tails(&self) -> bool {
        self.tails.as_ref().is_some_and(|tails| !tails.queue.is_empty())
    }

    /// From now on what is written is counted.
    pub(crate) fn track(&mut self) {
        self.tails.get_or_insert_with(|| Box::new(Tails::new()));
    }

    /// Bytes that were handed to the kernel since they are counted.
    pub(crate) fn written(&self) -> u64 {
        self.tails.as_ref().map_or(0, |tails| tails.written)
    }

    /// `n` more bytes were handed to the kernel, by other ways than [`Connection::send`].
    pub(crate) fn wrote(&mut self, n: u64) {
        if let Some(tails) = &mut self.tails {
            tails.written += n;
        }
    }

    /// A proxy speaks for the peer.
    pub(crate) fn set_via(&mut self, proxy: SocketAddr) {
        self.track();
        if let Some(tails) = &mut self.tails {
            tails.via = Some(proxy);
        }
    }

    /// The proxy that speaks for the peer, if there is one.
    pub(crate) fn via(&self) -> Option<SocketAddr> {
        self.tails.as_ref()?.via
    }

    /// So many first bytes of all that was written to this connection are acknowledged. `None` if the kernel
    /// does not say.
    pub(crate) fn acked(&self) -> Option<u64> {
        sys::unacked(self.stream()).ok().map(|unacked| self.written().saturating_sub(unacked))
    }

    /// A delivery's bytes have all been handed over. `alone` says that nothing has been read from the client
    /// beyond its request.
    pub(crate) async fn add_tail(
        &mut self,
        tail: Tail,
        alone: bool,
        options: &Options,
    ) -> Result<(), AbortReason> {
        self.at_most(MAX_TAILS - 1, options).await?;
        let tails = self.tails.get_or_insert_with(|| Box::new(Tails::new()));
        if tails.queue.is_empty() {
            let now = Instant::now();
            tails.stalled = now + options.stall_timeout;
            tails.told = now;
        }
        if tail.is_large() {
            tails.pause = FIRST_PAUSE;
            tails.looks = None;
        }
        tails.quiet = alone && tail.quiet;
        tails.queue.push_back(tail);
        Ok(())
    }

    /// Whether nothing from the client waits in the kernel, not even its end.
    pub(crate) fn is_quiet(&self) -> bool {
        if self.session().is_some_and(Session::has_plaintext) {
            return false;
        }
        let mut byte = [0_u8; 1];
        let peeked = rustix::net::recv(self.stream(), &mut byte[..], RecvFlags::PEEK | RecvFlags::DONTWAIT);
        peeked.is_err_and(|error| error == rustix::io::Errno::WOULDBLOCK)
    }

    /// Waits until only `most` deliveries are pending.
    pub(crate) async fn at_most(&mut self, most: usize, options: &Options) -> Result<(), AbortReason> {
        loop {
            let Some(tails) = self.tails.as_mut().filter(|tails| tails.queue.len() > most) else {
                return Ok(());
            };
            tails.complete_acked(Evidence::Acked);
            if tails.queue.len() > most {
                std::future::poll_fn(|cx| self.poll_look(cx, true)).await;
                self.look_closely(options)?;
            }
        }
    }

    /// Looks how much has arrived. The reason if the client makes no progress any more.
    pub(crate) fn look(&mut self, options: &Options) -> Result<(), AbortReason> {
        if !self.has_tails() {
            return Ok(());
        }
        let acked = self.acked();
        let Some(mut tails) = self.tails.take() else { return Ok(()) };
        let result = match acked {
            Some(acked) => tails.look(acked, self.stream(), options),
            None => {
                while !tails.queue.is_empty() {
                    tails.complete_first(Evidence::Sent);
                }
                Ok(())
            }
        };
        self.tails = Some(tails);
        result
    }

    /// The same, and whether the connection is still one: for those who read nothing that would tell.
    pub(crate) fn look_closely(&mut self, options: &Options) -> Result<(), AbortReason> {
        match sockopt::socket_error(self.stream()) {
            Ok(Ok(())) => self.look(options),
            Ok(Err(error)) | Err(error) => Err(disconnected(&error.into())),
        }
    }

    /// Ready when it is time to look. Only large bodies have that time, unless somebody is `waiting` for any.
    pub(crate) fn poll_look(&mut self, cx: &mut Context<'_>, waiting: bool) -> Poll<()> {
        let Some(tails) = &mut self.tails else { return Poll::Pending };
        if !waiting && !tails.queue.iter().any(|tail| tail.acked_at.is_none() && tail.is_large()) {
            return Poll::Pending;
        }
        let pause = tails.pause;
        let looks = tails.looks.get_or_insert_with(|| Box::pin(tokio::time::sleep(pause)));
        ready!(looks.as_mut().poll(cx));
        tails.pause = (pause * 2).min(LAST_PAUSE);
        looks.as_mut().reset(Instant::now() + tails.pause);
        Poll::Ready(())
    }

    /// A next request has come: who sends one has received what it waited for.
    pub(crate) fn heard(&mut self, options: &Options) {
        if !self.has_tails() {
            return;
        }
        // Who asks has not stalled.
        let _ = self.look(options);
        if let Some(tails) = self.tails.as_mut().filter(|tails| tails.quiet) {
            tails.complete_acked(Evidence::Confirmed);
        }
    }

    /// The client has ended its side in an orderly way, which confirms what it has acknowledged; unless it had
    /// done so before it got anything. Of what it has not acknowledged, it proves nothing.
    pub(crate) fn ended(&mut self, options: &Options) {
        if !self.has_tails() {
            return;
        }
        let _ = self.look(options);
        if let Some(tails) = &mut self.tails {
            tails.complete_acked(if tails.quiet { Evidence::Confirmed } else { Evidence::Acked });
            tails.quiet = false;
        }
    }

    /// Nothing that could confirm anything will be read any more.
    pub(crate) fn settle_acked(&mut self) {
        if let Some(tails) = &mut self.tails {
            tails.complete_acked(Evidence::Acked);
        }
    }

    /// The connection is lost: ends all deliveries with what is known.
    pub(crate) fn lose(&mut self, reason: &AbortReason) {
        tell_lost(self.take_measured(), reason);
    }

    /// Takes all pending deliveries, as far as they have arrived. To be told behind a cut, so that nothing
    /// arrives once it is said to be lost; to be asked before it, because the kernel forgets.
    pub(crate) fn take_measured(&mut self) -> VecDeque<Tail> {
        let acked = if self.has_tails() { self.acked() } else { None };
        let Some(mut tails) = self.tails.take() else { return VecDeque::new() };
        let now = Instant::now();
        for tail in tails.queue.iter_mut().filter(|tail| tail.acked_at.is_none()) {
            match acked {
                Some(acked) if acked >= tail.end => tail.acked(now, self.stream()),
                Some(acked) => {
                    let transport = tail.measured.then(|| sys::transport(self.stream()).ok()).flatten();
                    tail.watch.measured(Some(acked.saturating_sub(tail.begin)), transport);
                }
                None => {}
            }
        }
        tails.queue
    }

    /// Why the connection is dropped although nobody ended it.
    pub(crate) fn dropped(&self) -> AbortReason {
        match sockopt::socket_error(self.stream()) {
            Ok(Err(error)) => disconnected(&error.into()),
            _ => AbortReason::Shutdown,
        }
    }

    /// Gives back what remembering deliveries took, if there is none.
    pub(crate) fn forget_tails(&mut self) {
        self.tails.take_if(|tails| tails.queue.is_empty() && tails.via.is_none());
    }
}

/// Ends deliveries whose connection is no more. One that was acknowledged to its last byte has arrived, unless the
/// client's kernel said that its program left.
pub(crate) fn tell_lost(tails: VecDeque<Tail>, reason: &AbortReason) {
    for tail in tails {
        if tail.acked_at.is_some() && !matches!(reason, AbortReason::Disconnected(_)) {
            tail.watch.completed(Evidence::Acked);
        } else {
            tail.watch.aborted(reason);
        }
    }
}

/// The client broke the connection.
pub(crate) fn disconnected(error: &io::Error) -> AbortReason {
    AbortReason::Disconnected(error.to_string())
}
