//! One HTTP/2 connection: h2 underneath, a task for each stream, pings, times.

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

use super::sender::StreamOutcome;
use super::stream::{self, StreamClient};
use super::transport::{CLOSE_TIME, Http2Transport};

use crate::connection::Connection;
use crate::connection::buffer::PooledBuffer;
use crate::context::ThreadContext;
use crate::service::HttpService;

/// Maximum number of streams that a client may have open at the same time.
///
/// Bound: HTTP/2.
const STREAMS: u32 = 128;

/// Maximum number of bytes of one request's body that a client may send before the service reads
/// them.
///
/// Bound: HTTP/2.
const WINDOW: u32 = 256 * 1024;

/// Maximum number of bytes of all requests' bodies that a client may send before the services read
/// them.
///
/// Bound: HTTP/2.
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// Maximum number of bytes that h2 keeps of one stream's body; `deliveries::QUEUED` limits all
/// streams together.
///
/// Bound: HTTP/2.
const STREAM_BUFFER: usize = 128 * 1024;

/// Maximum number of bytes that the kernel keeps unsent (`TCP_NOTSENT_LOWAT`): the next small
/// answer waits behind no more than this.
///
/// Bound: HTTP/2.
const UNSENT: u32 = 1024 * 1024;

/// Maximum number of streams that a client resets beyond those it lets finish, before its
/// connection is closed.
///
/// Bound: HTTP/2.
const RESETS: i32 = 200;

/// How long a body must have been acknowledged before a PING asks the client's program about it.
const ASK_AFTER: Duration = Duration::from_millis(200);

/// What happens next on a connection.
// Matched at once, and never kept.
#[allow(clippy::large_enum_variant)]
enum Http2Event {
    Request(Request<RecvStream>, SendResponse<Bytes>),
    Ended(Option<h2::Error>),
    /// A stream has ended.
    StreamEnded(StreamOutcome),
    Pong,
    /// Too many deliveries are pending.
    Crowded,
    /// The clock ticked, or the server drains.
    Tick,
}

/// Serves one connection to its end. `input` was read from it.
pub(crate) async fn serve<S: HttpService>(
    connection: Connection,
    input: PooledBuffer,
    context: &Arc<ThreadContext<S>>,
) {
    let peer = connection.peer;
    // Only latency suffers where the kernel does not know it.
    let _ = crate::sys::set_notsent_lowat(connection.stream(), UNSENT);
    let transport = Http2Transport::new(connection, input);
    // Dropped first: tasks end before what they belong to.
    let mut streams = JoinSet::new();
    let ended = run(&transport, context, &mut streams).await;
    streams.abort_all();
    match ended {
        Ok(()) => transport.end(None, &context.options).await,
        Err(AbortReason::Stalled) => transport.reset(&AbortReason::Stalled),
        Err(reason) => {
            tracing::debug!(client = %peer, %reason, "HTTP/2 connection ended");
            transport.end(Some(reason), &context.options).await;
        }
    }
}

async fn run<S: HttpService>(
    transport: &Http2Transport,
    context: &Arc<ThreadContext<S>>,
    streams: &mut JoinSet<StreamOutcome>,
) -> Result<(), AbortReason> {
    let limit = u32::try_from(context.options.max_head_bytes).unwrap_or(u32::MAX);
    let mut builder = h2::server::Builder::new();
    builder
        .initial_window_size(WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(limit)
        .max_send_buffer_size(STREAM_BUFFER)
        .enable_connect_protocol();
    let handshake = tokio::time::timeout(context.options.head_timeout, builder.handshake(transport.clone()));
    let mut h2 = match handshake.await {
        Ok(Ok(h2)) => h2,
        Ok(Err(error)) => return reason_of(&error).map_or(Ok(()), Err),
        Err(_) => return Err(AbortReason::Stalled),
    };
    let mut pings = Pings { pings: h2.ping_pong(), sent_at: None };
    let client = StreamClient::of(transport);
    let crowded = transport.crowded();
    let mut idle = Instant::now();
    let mut closing: Option<Instant> = None;
    let mut resets = 0_i32;
    loop {
        if closing.is_none() && context.is_draining() {
            closing = Some(Instant::now());
            h2.graceful_shutdown();
        }
        let busy = h2.has_streams() || transport.is_pending();
        let event = {
            let clock = if busy || closing.is_some() { &context.ticked } else { &context.swept };
            let waiting = clock.wait();
            let mut ticked = pin!(waiting.next());
            ticked.as_mut().enable();
            if closing.is_none() && context.is_draining() {
                continue;
            }
            let over = async {
                match streams.join_next().await {
                    Some(over) => over.unwrap_or(StreamOutcome::Done),
                    None => pending().await,
                }
            };
            tokio::select! {
                biased;
                accepted = h2.accept() => match accepted {
                    Some(Ok((request, respond))) => Http2Event::Request(request, respond),
                    Some(Err(error)) => Http2Event::Ended(Some(error)),
                    None => Http2Event::Ended(None),
                },
                over = over => Http2Event::StreamEnded(over),
                () = pings.answered() => Http2Event::Pong,
                () = crowded.notified() => Http2Event::Crowded,
                () = ticked => Http2Event::Tick,
            }
        };
        match event {
            Http2Event::Request(request, respond) => {
                idle = Instant::now();
                context.counters.requests.inc();
                streams.spawn(stream::answer(
                    Arc::clone(context),
                    transport.clone(),
                    client.clone(),
                    request,
                    respond,
                ));
            }
            Http2Event::Ended(None) => return Ok(()),
            Http2Event::Ended(Some(error)) => return reason_of(&error).map_or(Ok(()), Err),
            Http2Event::StreamEnded(outcome) => {
                idle = Instant::now();
                resets = match outcome {
                    StreamOutcome::Reset => {
                        context.counters.streams_reset.inc();
                        resets + 1
                    }
                    StreamOutcome::Done => (resets - 1).max(0),
                };
                if resets > RESETS {
                    tracing::info!(client = %client.peer(), "too many streams reset");
                    h2.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                    closing.get_or_insert_with(Instant::now);
                }
            }
            Http2Event::Pong => {
                if let Some(position) = pings.sent_at.take() {
                    transport.confirm(position);
                }
                pings.send(transport, transport.is_crowded());
            }
            Http2Event::Crowded => pings.send(transport, true),
            Http2Event::Tick => {
                transport.check_acks(&context.options)?;
                pings.send(transport, false);
                if h2.has_streams() || transport.is_pending() {
                    idle = Instant::now();
                } else if let Some(since) = closing {
                    if since.elapsed() >= CLOSE_TIME && idle.elapsed() >= CLOSE_TIME {
                        transport.close();
                        return Ok(());
                    }
                } else if idle.elapsed() >= context.options.keep_alive_timeout {
                    closing = Some(Instant::now());
                    h2.graceful_shutdown();
                }
            }
        }
    }
}

/// PINGs that ask the client's program whether it has read what has left.
struct Pings {
    pings: Option<PingPong>,
    /// How much had left when the PING under way was sent.
    sent_at: Option<u64>,
}

impl Pings {
    /// Sends a PING, if there is a body to ask about and none is under way.
    fn send(&mut self, transport: &Http2Transport, urgent: bool) {
        let Some(pings) = self.pings.as_mut().filter(|_| self.sent_at.is_none()) else { return };
        if let Some(position) = transport.wants_ping(ASK_AFTER, urgent)
            && pings.send_ping(Ping::opaque()).is_ok()
        {
            self.sent_at = Some(position);
        }
    }

    async fn answered(&mut self) {
        poll_fn(|cx| match self.pings.as_mut().filter(|_| self.sent_at.is_some()) {
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
