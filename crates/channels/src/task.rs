//! A subscriber whose socket is not its own alone, or within TLS: it has a task. It hears what the others hear, from the
//! same buffers, and costs what its connection and the task cost.

use std::time::Duration;

use outflow_wire::upgrade::{Draining, Upgraded};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::event::Form;
use super::frames::{ROOM, Said, pong, said};
use super::hub::Entry;
use super::limits::Place;
use super::words::{Farewell, between, heartbeat, lifetime};
use super::{LINGER, STAGGER, STALL, Settings};

/// A year: for ever.
const FOR_EVER: Duration = Duration::from_secs(31_536_000);

/// Keeps a subscriber that no reactor can keep. Called on a runtime.
pub(super) fn spawn(connection: Upgraded, form: Form, entry: Entry, first: Vec<u8>, settings: &Settings) {
    let draining = connection.draining();
    let stay = if settings.lifetime.is_zero() { FOR_EVER } else { lifetime(settings.lifetime) };
    let heartbeat = settings.heartbeat;
    tokio::spawn(async move {
        let Entry { place, start, .. } = entry;
        let mut task = Task { connection, form, cursor: start.number, place: Some(place), heard: Vec::new() };
        let why = task.serve(first, heartbeat, stay, draining).await;
        task.leave(why).await;
    });
}

struct Task<S> {
    connection: S,
    form: Form,
    /// The event that it hears next.
    cursor: u64,
    place: Option<Place>,
    /// What it has said, up to the end of the last frame that is there as a whole.
    heard: Vec<u8>,
}

/// Why it ends.
#[derive(Debug, PartialEq, Eq)]
enum Out {
    Gone,
    Slow,
    Farewell(Farewell),
}

impl<S: AsyncRead + AsyncWrite + Unpin> Task<S> {
    async fn serve(&mut self, first: Vec<u8>, beat: Duration, stay: Duration, draining: Draining) -> Out {
        let told = async {
            self.send(&first).await?;
            drop(first);
            self.tell(beat, stay, draining).await
        };
        match told.await {
            Ok(never) => match never {},
            Err(out) => out,
        }
    }

    async fn tell(
        &mut self,
        beat: Duration,
        stay: Duration,
        mut draining: Draining,
    ) -> Result<std::convert::Infallible, Out> {
        let Some(channel) = self.place.as_ref().map(|place| std::sync::Arc::clone(&place.channel)) else {
            return Err(Out::Gone);
        };
        let ends = Instant::now() + stay;
        let mut room = [0; ROOM];
        loop {
            let mut told = std::pin::pin!(channel.told.notified());
            // Registered before it is looked, so that nothing falls between the two.
            told.as_mut().enable();
            let tail = channel.tail(self.cursor);
            if tail.first > self.cursor {
                return Err(Out::Slow);
            }
            for event in &tail.events {
                self.send(event.bytes(self.form)).await?;
                self.cursor += 1;
            }
            if !tail.events.is_empty() {
                continue;
            }
            if tail.ended {
                return Err(Out::Farewell(Farewell::Ended));
            }
            let due = Instant::now() + beat;
            tokio::select! {
                () = told => {}
                () = sleep_until(due.min(ends)) => {
                    if Instant::now() >= ends {
                        return Err(Out::Farewell(Farewell::Lifetime));
                    }
                    self.send(heartbeat(self.form)).await?;
                }
                read = self.connection.read(&mut room) => match read {
                    Ok(n @ 1..) => self.hear(&room[..n]).await?,
                    Ok(0) | Err(_) => return Err(Out::Gone),
                },
                () = draining.begun() => {
                    let wait = between(0..u64::try_from(STAGGER.as_millis()).unwrap_or(0));
                    sleep(Duration::from_millis(wait)).await;
                    return Err(Out::Farewell(Farewell::Draining));
                }
            }
        }
    }

    /// Takes note of what it says; of events' listeners nothing matters.
    async fn hear(&mut self, bytes: &[u8]) -> Result<(), Out> {
        if self.form == Form::Sse {
            return Ok(());
        }
        self.heard.extend_from_slice(bytes);
        loop {
            let (len, answer) = match said(&mut self.heard) {
                Said::Part => return Ok(()),
                Said::Nothing(len) => (len, None),
                Said::Ping(len, payload) => (len, Some(pong(payload))),
                Said::Over(farewell) => return Err(Out::Farewell(farewell)),
            };
            self.heard.drain(..len);
            if let Some(answer) = answer {
                self.send(&answer).await?;
            }
        }
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), Out> {
        let sending = async {
            self.connection.write_all(bytes).await?;
            self.connection.flush().await
        };
        match timeout(STALL, sending).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Out::Gone),
            Err(_) => Err(Out::Slow),
        }
    }

    async fn leave(mut self, why: Out) {
        drop(self.place.take());
        match why {
            Out::Gone => return,
            Out::Slow => {
                tracing::info!(reason = "it does not read", "subscriber closed");
                return;
            }
            Out::Farewell(farewell) => {
                if let Farewell::Refused(code, reason) = farewell {
                    tracing::info!(code, reason, "subscriber closed");
                }
                if self.send(&farewell.words(self.form)).await.is_err() {
                    return;
                }
            }
        }
        // What is not read when it is closed would take the last words along.
        let _ = timeout(LINGER, async {
            self.connection.shutdown().await?;
            let mut room = [0; ROOM];
            while self.connection.read(&mut room).await? > 0 {}
            std::io::Result::Ok(())
        })
        .await;
    }
}
