//! One connection: idle, reading requests, answering them, idle again.

use std::future::poll_fn;
use std::ops::ControlFlow::{self, Break, Continue};
use std::pin::{Pin, pin};
use std::task::Poll;

use tokio::sync::futures::Notified;

use super::exchange::{answer_prebuilt, exchange};
use super::reading::{HeadEvent, read_head};
use super::refusal::refuse;
use crate::clock::ClockWait;
use crate::connection::buffer::PooledBuffer;
use crate::connection::{ClosingState, Connection};
use crate::context::ThreadContext;
use crate::delivery::disconnected;
use crate::service::HttpService;

/// Serves a connection to its end. `input` has been read from it.
///
/// While the connection is idle, this future is a place in the list of those that are woken now and
/// then, and nothing else: what a request needs lives in a boxed future of its own. Not an `async
/// fn`, which would keep its arguments twice. Measured: `bench/README.md`.
#[allow(clippy::manual_async_fn)]
pub(crate) fn serve<'a, S: HttpService>(
    connection: &'a mut Connection,
    input: Option<PooledBuffer>,
    context: &'a ThreadContext<S>,
) -> impl Future<Output = ()> + Send + use<'a, S> {
    async move {
        if let Some(input) = input
            && Box::pin(serve_requests(connection, input, context)).await.is_break()
        {
            return;
        }
        loop {
            connection.rest();
            // Small deliveries are polled on the shared tick, large ones by their own timer.
            let clock = if connection.has_pending() { &context.ticked } else { &context.swept };
            let waiting = clock.wait();
            let mut notified = pin!(waiting.next());
            match wait(connection, context, notified.as_mut()).await {
                WakeReason::Readable => {}
                WakeReason::Draining => {
                    return Box::pin(connection.finish(&context.options, ClosingState::Idle)).await;
                }
                _ if connection.has_pending() => {
                    if let Err(reason) = connection.check_acks(&context.options) {
                        return connection.reset(&reason);
                    }
                    continue;
                }
                _ if connection.timer().is_past() => {
                    // Within TLS, an end without an alert would look like an attacker's (RFC 8446,
                    // 6.1).
                    if connection.session().is_some() {
                        Box::pin(connection.finish(&context.options, ClosingState::Idle)).await;
                    }
                    return;
                }
                _ => continue,
            }
            if Box::pin(serve_requests(connection, PooledBuffer::borrow(), context)).await.is_break() {
                return;
            }
        }
    }
}

/// Why a connection without a request was woken.
enum WakeReason {
    /// There is something to read, or an error to be found by reading.
    Readable,
    /// The server drains.
    Draining,
    /// The clock ticked.
    Tick,
    /// It is time to check for acknowledgements.
    AckTimer,
}

/// Waits for a request, for `notified`, or for the time to check for acknowledgements.
async fn wait<S>(
    connection: &mut Connection,
    context: &ThreadContext<S>,
    mut notified: Pin<&mut Notified<'_>>,
) -> WakeReason {
    // Registered before the flag is read, so that no notification falls between the two.
    notified.as_mut().enable();
    if context.is_draining() {
        return WakeReason::Draining;
    }
    poll_fn(|cx| {
        if notified.as_mut().poll(cx).is_ready() {
            return Poll::Ready(WakeReason::Tick);
        }
        if connection.poll_readable(cx).is_ready() {
            return Poll::Ready(WakeReason::Readable);
        }
        connection.poll_ack_timer(cx, false).map(|()| WakeReason::AckTimer)
    })
    .await
}

/// Serves requests as long as they come. Breaks when the connection has ended, else it is idle.
///
/// The next request of a busy connection follows within milliseconds: to allocate this future for
/// each would cost more than to keep it until the clock has ticked twice. Most connections make one
/// request or two and then rest: these free it at once.
async fn serve_requests<S: HttpService>(
    connection: &mut Connection,
    mut input: PooledBuffer,
    context: &ThreadContext<S>,
) -> ControlFlow<()> {
    // One place among those that wait for the clock, from one request to the next: taking a new one
    // each time touches the memory of two other connections.
    let waiting = context.ticked.wait();
    let mut ticked = pin!(waiting.next());
    loop {
        answer_input(connection, &mut input, context).await?;
        drop(input);
        connection.timer().set(context.options.keep_alive_timeout);
        if !next_request_follows(connection, context, &waiting, ticked.as_mut()).await? {
            return Continue(());
        }
        input = PooledBuffer::borrow();
    }
}

/// Reads and answers requests until there is nothing left to read.
async fn answer_input<S: HttpService>(
    connection: &mut Connection,
    input: &mut PooledBuffer,
    context: &ThreadContext<S>,
) -> ControlFlow<()> {
    loop {
        match read_head(connection, input, context).await {
            HeadEvent::Complete(head) => {
                begin(connection, input, head.len, context);
                exchange(connection, input, *head, context).await?;
            }
            HeadEvent::Prebuilt(plain) => {
                begin(connection, input, plain.len, context);
                answer_prebuilt(connection, input, plain, context).await?;
            }
            HeadEvent::Nothing => return Continue(()),
            end => {
                Box::pin(close(connection, end, context)).await;
                return Break(());
            }
        }
        if input.is_empty() {
            return Continue(());
        }
    }
}

/// A request begins, whose head is the first `len` bytes of `input`.
fn begin<S>(connection: &mut Connection, input: &mut PooledBuffer, len: usize, context: &ThreadContext<S>) {
    input.consume(len);
    context.counters.requests.inc();
    connection.count_request();
    connection.on_request(&context.options);
}

/// Closes a connection that gives no further request.
async fn close<S>(connection: &mut Connection, end: HeadEvent, context: &ThreadContext<S>) {
    match end {
        HeadEvent::ClientEnded => {
            connection.on_client_fin(&context.options);
            connection.finish(&context.options, ClosingState::ClientEnded).await;
        }
        HeadEvent::TimedOut => connection.finish(&context.options, ClosingState::Idle).await,
        HeadEvent::Broken(error) => connection.abort_pending(&disconnected(&error)),
        HeadEvent::Refused(refusal) => refuse(connection, context, &refusal).await,
        HeadEvent::Complete(_) | HeadEvent::Prebuilt(_) | HeadEvent::Nothing => {}
    }
}

/// Waits up to two ticks for the next request of a busy connection. True when it has come; breaks
/// when the connection has ended.
async fn next_request_follows<'a, S>(
    connection: &mut Connection,
    context: &ThreadContext<S>,
    waiting: &ClockWait<'a>,
    mut ticked: Pin<&mut Notified<'a>>,
) -> ControlFlow<(), bool> {
    let mut ticks = if connection.is_busy() { 0 } else { 2 };
    while ticks < 2 {
        match wait(connection, context, ticked.as_mut()).await {
            WakeReason::Readable => return Continue(true),
            WakeReason::Draining => {
                Box::pin(connection.finish(&context.options, ClosingState::Idle)).await;
                return Break(());
            }
            WakeReason::Tick => {
                ticks += 1;
                ticked.set(waiting.next());
            }
            WakeReason::AckTimer => {}
        }
        if let Err(reason) = connection.check_acks(&context.options) {
            connection.reset(&reason);
            return Break(());
        }
    }
    Continue(false)
}
