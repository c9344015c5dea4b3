//! HTTP/2 (RFC 9113): the same services and contents, on streams.
//!
//! ```text
//! mod          one connection: h2 underneath, a task for each stream, pings, times
//!   line         below the frames: gathers, follows, seals, sends
//!     frames       which bytes of which stream leave
//!     deliveries   until it is known whether they arrived
//!   stream       one request and its response
//!     pieces       a content's bytes, piece by piece
//!     sender       hands them over as the client's windows allow
//!     duplex       a stream that stops being HTTP
//! ```
//!
//! The `h2` crate speaks the protocol. hyper, which is made of it, does not say which stream a request came on, and so
//! nobody could tell which of the bytes that leave are whose.

mod deliveries;
mod frames;
mod line;
mod pieces;
mod sender;
mod stream;

use std::future::{pending, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Ping, PingPong, Reason, RecvStream};
use http::Request;
use outflow_content::AbortReason;
use tokio::task::JoinSet;
use tokio::time::Instant;

use line::Line;
use sender::Outcome;
use stream::Client;

use crate::connection::Connection;
use crate::connection::buffer::Buffer;
use crate::listen::Shared;
use crate::service::HttpService;

/// What every client that speaks HTTP/2 begins with (RFC 9113, 3.4).
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Streams that a client may have open at the same time.
const STREAMS: u32 = 128;

/// What a client may send of a request's body before somebody has read it; and of all bodies.
const WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// Bytes that h2 keeps of one stream's body. All streams together are bounded by `deliveries::QUEUED`.
const STREAM_BUFFER: usize = 128 * 1024;

/// What the kernel keeps that it has not sent yet: the next small answer waits behind no more than this.
const UNSENT: u32 = 1024 * 1024;

/// A client that resets its streams has so many more of them than it lets finish.
const RESETS: i32 = 200;

/// How long a body must have been acknowledged before the client's program is asked about it.
const ASK_AFTER: Duration = Duration::from_millis(200);

/// How long a client has to close a connection on which nothing happens any more.
const CLOSING: Duration = Duration::from_secs(2);

/// What happens next on a connection.
// Looked at at once, and never kept.
#[allow(clippy::large_enum_variant)]
enum Event {
    Request(Request<RecvStream>, SendResponse<Bytes>),
    Ended(Option<h2::Error>),
    /// A stream is over.
    Over(Outcome),
    Pong,
    /// Too many deliveries are pending.
    Crowded,
    /// The clock ticked, or the server drains.
    Tick,
}

/// Whether a connection in the clear begins as HTTP/2 does: `Some` if so and if not, with what has been read of it. `None`
/// when it ended, or said nothing for too long.
pub(crate) async fn sniff<S>(connection: &mut Connection, shared: &Shared<S>) -> Option<(bool, Buffer)> {
    let mut ending = shared.ending.subscribe();
    let mut buffer = loop {
        let said = poll_fn(|cx| {
            if connection.poll_readable(cx).is_ready() {
                return Poll::Ready(true);
            }
            connection.timer().poll_expired(cx).map(|()| false)
        });
        tokio::select! {
            biased;
            said = said => if !said { return None },
            _ = ending.wait_for(|ending| *ending) => return None,
        }
        let mut buffer = Buffer::borrow();
        match connection.read_some(&mut buffer).await {
            // It looked readable and was not.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(0) | Err(_) => return None,
            Ok(_) => break buffer,
        }
    };
    connection.timer().set(shared.options.head_timeout);
    loop {
        let begun = buffer.filled();
        let so_far = begun.len().min(PREFACE.len());
        if begun[..so_far] != PREFACE[..so_far] {
            return Some((false, buffer));
        }
        if so_far == PREFACE.len() {
            return Some((true, buffer));
        }
        if connection.read_some(&mut buffer).await.ok()? == 0 {
            return None;
        }
    }
}

/// Serves one connection to its end. `input` was read from it.
pub(crate) async fn serve<S: HttpService>(connection: Connection, input: Buffer, shared: &Arc<Shared<S>>) {
    let peer = connection.peer;
    // Only latency suffers where the kernel does not know it.
    let _ = crate::sys::set_notsent_lowat(connection.stream(), UNSENT);
    let line = Line::new(connection, input);
    // Dropped first: tasks end before what they belong to.
    let mut streams = JoinSet::new();
    let ended = run(&line, shared, &mut streams).await;
    streams.abort_all();
    match ended {
        Ok(()) => line.end(None, &shared.options).await,
        Err(AbortReason::Stalled) => line.cut(&AbortReason::Stalled),
        Err(reason) => {
            tracing::debug!(client = %peer, %reason, "HTTP/2 connection ended");
            line.end(Some(reason), &shared.options).await;
        }
    }
}

async fn run<S: HttpService>(
    line: &Line,
    shared: &Arc<Shared<S>>,
    streams: &mut JoinSet<Outcome>,
) -> Result<(), AbortReason> {
    let limit = u32::try_from(shared.options.max_head_bytes).unwrap_or(u32::MAX);
    let mut builder = h2::server::Builder::new();
    builder
        .initial_window_size(WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(limit)
        .max_send_buffer_size(STREAM_BUFFER)
        .enable_connect_protocol();
    let handshake = tokio::time::timeout(shared.options.head_timeout, builder.handshake(line.clone()));
    let mut h2 = match handshake.await {
        Ok(Ok(h2)) => h2,
        Ok(Err(error)) => return reason_of(&error).map_or(Ok(()), Err),
        Err(_) => return Err(AbortReason::Stalled),
    };
    let mut pings = Pings { pings: h2.ping_pong(), asked: None };
    let client = Client::of(line);
    let crowded = line.crowded();
    let mut idle = Instant::now();
    let mut closing: Option<Instant> = None;
    let mut resets = 0_i32;
    loop {
        if closing.is_none() && shared.is_draining() {
            closing = Some(Instant::now());
            h2.graceful_shutdown();
        }
        let busy = h2.has_streams() || line.is_pending();
        let event = {
            let notify = if busy || closing.is_some() { &shared.ticked } else { &shared.swept };
            let mut ticked = pin!(notify.notified());
            ticked.as_mut().enable();
            if closing.is_none() && shared.is_draining() {
                continue;
            }
            let over = async {
                match streams.join_next().await {
                    Some(over) => over.unwrap_or(Outcome::Done),
                    None => pending().await,
                }
            };
            tokio::select! {
                biased;
                accepted = h2.accept() => match accepted {
                    Some(Ok((request, respond))) => Event::Request(request, respond),
                    Some(Err(error)) => Event::Ended(Some(error)),
                    None => Event::Ended(None),
                },
                over = over => Event::Over(over),
                () = pings.answered() => Event::Pong,
                () = crowded.notified() => Event::Crowded,
                () = ticked => Event::Tick,
            }
        };
        match event {
            Event::Request(request, respond) => {
                idle = Instant::now();
                shared.counters.add_request();
                streams.spawn(stream::answer(
                    Arc::clone(shared),
                    line.clone(),
                    client.clone(),
                    request,
                    respond,
                ));
            }
            Event::Ended(None) => return Ok(()),
            Event::Ended(Some(error)) => return reason_of(&error).map_or(Ok(()), Err),
            Event::Over(outcome) => {
                idle = Instant::now();
                resets = match outcome {
                    Outcome::Reset => resets + 1,
                    Outcome::Done => (resets - 1).max(0),
                };
                if resets > RESETS {
                    tracing::info!(client = %client.peer(), "too many streams reset");
                    h2.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                    closing.get_or_insert_with(Instant::now);
                }
            }
            Event::Pong => {
                if let Some(position) = pings.asked.take() {
                    line.confirm(position);
                }
                pings.ask(line, line.is_crowded());
            }
            Event::Crowded => pings.ask(line, true),
            Event::Tick => {
                line.look(&shared.options)?;
                pings.ask(line, false);
                if h2.has_streams() || line.is_pending() {
                    idle = Instant::now();
                } else if let Some(since) = closing {
                    if since.elapsed() >= CLOSING && idle.elapsed() >= CLOSING {
                        line.close();
                        return Ok(());
                    }
                } else if idle.elapsed() >= shared.options.keep_alive_timeout {
                    closing = Some(Instant::now());
                    h2.graceful_shutdown();
                }
            }
        }
    }
}

/// Questions to the client's program whether it has read what has left.
struct Pings {
    pings: Option<PingPong>,
    /// How much had left when the question under way was asked.
    asked: Option<u64>,
}

impl Pings {
    /// Asks, if there is something to ask about and no question under way.
    fn ask(&mut self, line: &Line, urgent: bool) {
        let Some(pings) = self.pings.as_mut().filter(|_| self.asked.is_none()) else { return };
        if let Some(position) = line.ask(ASK_AFTER, urgent)
            && pings.send_ping(Ping::opaque()).is_ok()
        {
            self.asked = Some(position);
        }
    }

    async fn answered(&mut self) {
        poll_fn(|cx| match self.pings.as_mut().filter(|_| self.asked.is_some()) {
            Some(pings) => pings.poll_pong(cx).map(|_| ()),
            None => Poll::Pending,
        })
        .await;
    }
}

/// Why a connection ended; nothing, if its end was an orderly one.
fn reason_of(error: &h2::Error) -> Option<AbortReason> {
    match error.get_io() {
        Some(broken) if broken.kind() == io::ErrorKind::TimedOut => Some(AbortReason::Stalled),
        Some(broken) => Some(AbortReason::Disconnected(broken.to_string())),
        None if error.is_go_away() && error.is_remote() && error.reason() == Some(Reason::NO_ERROR) => None,
        None => Some(AbortReason::Disconnected(error.to_string())),
    }
}
