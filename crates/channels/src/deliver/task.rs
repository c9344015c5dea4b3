//! A subscriber within TLS or on an HTTP/2 stream. It is a task of its own, because its socket
//! cannot be polled by a reactor; it shares the encoded events with all others.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use outflow_web::sse::random_in;
use outflow_wire::upgrade::{Draining, Upgraded};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::frames::{ClientFrame, MAX_FRAME, pong, read_frame};
use super::wire_format::{CloseReason, DRAIN_SPREAD, Disconnect, LINGER, POLICY, heartbeat, random_lifetime};
use crate::channel::event::StreamFormat;
use crate::channel::limits::{Admission, SubscriberPermit};

/// A year: as good as unlimited.
const UNLIMITED: Duration = Duration::from_secs(31_536_000);

/// Serves a subscriber whose connection a reactor cannot poll. Called on a runtime. Zero for
/// `lifetime` means unlimited.
pub(crate) fn spawn(
    connection: Upgraded,
    format: StreamFormat,
    admission: Admission,
    opening: Vec<u8>,
    lifetime: Duration,
    beat: Duration,
) {
    let draining = connection.draining();
    let lifetime = if lifetime.is_zero() { UNLIMITED } else { random_lifetime(lifetime) };
    tokio::spawn(async move {
        let Admission { permit, start, .. } = admission;
        let mut task = SubscriberTask {
            connection,
            format,
            cursor: start.number,
            permit: Some(permit),
            received: Vec::new(),
        };
        let why = task.serve(opening, beat, lifetime, draining).await;
        task.close(why).await;
    });
}

struct SubscriberTask<S> {
    connection: S,
    format: StreamFormat,
    /// The number of the next event to send.
    cursor: u64,
    permit: Option<SubscriberPermit>,
    /// The beginning of a client's frame that is not complete.
    received: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> SubscriberTask<S> {
    async fn serve(
        &mut self,
        opening: Vec<u8>,
        beat: Duration,
        lifetime: Duration,
        draining: Draining,
    ) -> Disconnect {
        let served = async {
            self.send(&opening).await?;
            drop(opening);
            self.deliver(beat, lifetime, draining).await
        };
        match served.await {
            Ok(never) => match never {},
            Err(disconnect) => disconnect,
        }
    }

    async fn deliver(
        &mut self,
        beat: Duration,
        lifetime: Duration,
        mut draining: Draining,
    ) -> Result<Infallible, Disconnect> {
        let Some(channel) = self.permit.as_ref().map(|permit| Arc::clone(&permit.channel)) else {
            return Err(Disconnect::Gone);
        };
        let ends = Instant::now() + lifetime;
        let mut buffer = [0; MAX_FRAME];
        loop {
            let mut published = std::pin::pin!(channel.published.notified());
            // Registered before the log is read, so that no event is missed in between.
            published.as_mut().enable();
            let tail = channel.tail(self.cursor);
            if tail.first > self.cursor {
                return Err(Disconnect::TooSlow);
            }
            for event in &tail.events {
                self.send(event.bytes(self.format)).await?;
                self.cursor += 1;
            }
            if !tail.events.is_empty() {
                continue;
            }
            if tail.ended {
                return Err(Disconnect::Close(CloseReason::Ended));
            }
            let due = Instant::now() + beat;
            tokio::select! {
                () = published => {}
                () = sleep_until(due.min(ends)) => {
                    if Instant::now() >= ends {
                        return Err(Disconnect::Close(CloseReason::Lifetime));
                    }
                    self.send(heartbeat(self.format)).await?;
                }
                read = self.connection.read(&mut buffer) => match read {
                    Ok(n @ 1..) => self.receive(&buffer[..n]).await?,
                    Ok(0) | Err(_) => return Err(Disconnect::Gone),
                },
                () = draining.begun() => {
                    let wait = random_in(0..u64::try_from(DRAIN_SPREAD.as_millis()).unwrap_or(0));
                    sleep(Duration::from_millis(wait)).await;
                    return Err(Disconnect::Close(CloseReason::Draining));
                }
            }
        }
    }

    /// Handles bytes from the client. A client of server-sent events has nothing to say; its bytes
    /// are ignored.
    async fn receive(&mut self, bytes: &[u8]) -> Result<(), Disconnect> {
        if self.format == StreamFormat::Sse {
            return Ok(());
        }
        self.received.extend_from_slice(bytes);
        loop {
            let (len, reply) = match read_frame(&mut self.received) {
                ClientFrame::Incomplete => return Ok(()),
                ClientFrame::Ignored(len) => (len, None),
                ClientFrame::Ping(len, payload) => (len, Some(pong(payload))),
                ClientFrame::Close(reason) => return Err(Disconnect::Close(reason)),
            };
            self.received.drain(..len);
            if let Some(reply) = reply {
                self.send(&reply).await?;
            }
        }
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), Disconnect> {
        POLICY.send(&mut self.connection, bytes).await.map_err(|error| match error.kind() {
            // The policy's timeout, not ETIMEDOUT of the connection.
            std::io::ErrorKind::TimedOut if error.raw_os_error().is_none() => Disconnect::TooSlow,
            _ => Disconnect::Gone,
        })
    }

    async fn close(mut self, why: Disconnect) {
        drop(self.permit.take());
        match why {
            Disconnect::Gone => return,
            Disconnect::TooSlow => {
                tracing::info!(reason = "it does not read", "subscriber closed");
                return;
            }
            Disconnect::Close(reason) => {
                if let CloseReason::Rejected(code, reason) = reason {
                    tracing::info!(code, reason, "subscriber closed");
                }
                if self.send(&reason.encode(self.format)).await.is_err() {
                    return;
                }
            }
        }
        // Closing a connection with unread bytes would reset it, and the client would lose the last
        // ones we sent.
        let _ = timeout(LINGER, async {
            self.connection.shutdown().await?;
            let mut buffer = [0; MAX_FRAME];
            while self.connection.read(&mut buffer).await? > 0 {}
            std::io::Result::Ok(())
        })
        .await;
    }
}
