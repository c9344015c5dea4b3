//! All channels by their names, and the reactors that keep their subscribers.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use outflow_wire::upgrade::Upgraded;

use super::channel::{Channel, Published, Since, Start};
use super::event::{Form, Id};
use super::limits::{Full, Limits, Place, Who};
use super::reactor::{Newcomer, Reactor};
use super::{ALL_KEPT, IDLE, Settings, task, words};

/// How often it is looked which channels can be forgotten.
const SWEEP: Duration = Duration::from_secs(60);
/// For how long a publisher waits for subscribers to be told what was published before.
const PATIENCE: Duration = Duration::from_secs(5);

/// All channels. Clones share everything.
#[derive(Clone)]
pub(super) struct Hub(Arc<Inner>);

struct Inner {
    reactors: Vec<Reactor>,
    limits: Arc<Limits>,
    settings: Settings,
    names: Mutex<Names>,
    /// The epoch of the youngest channel.
    epoch: AtomicU64,
    /// Bytes of all events that are kept.
    kept: AtomicUsize,
    /// Somebody waits for the server to drain.
    watched: AtomicBool,
}

struct Names {
    channels: HashMap<Box<str>, Arc<Channel>>,
    swept: Instant,
}

/// Somebody who may subscribe, and where they begin.
pub(super) struct Entry {
    pub(super) place: Place,
    pub(super) start: Start,
    pub(super) epoch: u64,
}

/// Why nothing was published.
pub(super) enum Unpublished {
    /// There are too many channels.
    Full,
    /// Subscribers are told more slowly than is published.
    Busy,
}

impl Hub {
    /// Starts the reactors.
    pub(super) fn start(settings: Settings) -> io::Result<Hub> {
        let count = std::thread::available_parallelism().map_or(1, usize::from);
        let reactors = (0..count).map(|index| Reactor::start(index, &settings)).collect::<io::Result<_>>()?;
        let limits = Limits::new(settings.per_address, settings.per_token, settings.per_channel);
        Ok(Hub(Arc::new(Inner {
            reactors,
            limits,
            settings,
            names: Mutex::new(Names { channels: HashMap::new(), swept: Instant::now() }),
            epoch: AtomicU64::new(0),
            kept: AtomicUsize::new(0),
            watched: AtomicBool::new(false),
        })))
    }

    fn names(&self) -> MutexGuard<'_, Names> {
        self.0.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Numbers of time that are all different: milliseconds, and further where several fall into one.
    fn epoch(&self) -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = u64::try_from(now.as_millis()).unwrap_or(0);
        let next = |last: u64| Some(now.max(last + 1));
        let last = self.0.epoch.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).unwrap_or(0);
        now.max(last + 1)
    }

    /// The channel of that name, a new one if it is not known, or if it has ended and `anew` is wanted.
    fn channel(&self, names: &mut Names, name: &str, anew: bool) -> Result<Arc<Channel>, Full> {
        if let Some(channel) = names.channels.get(name).filter(|channel| !anew || !channel.is_ended()) {
            return Ok(Arc::clone(channel));
        }
        let full = names.channels.len() >= self.0.settings.channels;
        if full || names.swept.elapsed() > SWEEP {
            self.sweep(names);
        }
        if names.channels.len() >= self.0.settings.channels && !names.channels.contains_key(name) {
            return Err(Full::Channels);
        }
        let channel = Arc::new(Channel::new(self.epoch(), self.0.reactors.len(), self.0.settings.history));
        if let Some(ended) = names.channels.insert(name.into(), Arc::clone(&channel)) {
            self.0.kept.fetch_sub(ended.forget(), Ordering::Relaxed);
        }
        Ok(channel)
    }

    /// Forgets channels that nobody subscribes to: those without events at once, others after a while.
    fn sweep(&self, names: &mut Names) {
        names.swept = Instant::now();
        names.channels.retain(|_, channel| {
            let (changed, bytes) = channel.state();
            let used = channel.subscribers.load(Ordering::Relaxed) > 0
                || ((bytes > 0 || channel.is_ended()) && changed.elapsed() < IDLE);
            if !used {
                self.0.kept.fetch_sub(channel.forget(), Ordering::Relaxed);
            }
            used
        });
        names.channels.shrink_to_fit();
    }

    /// Takes a place for a subscriber.
    pub(super) fn enter(&self, name: &str, since: &Since, who: Who) -> Result<Entry, Full> {
        let mut names = self.names();
        let channel = self.channel(&mut names, name, false)?;
        let place = self.0.limits.enter(&channel, who)?;
        drop(names);
        Ok(Entry { start: channel.start(since), epoch: channel.epoch, place })
    }

    /// How many subscribe.
    pub(super) fn count(&self, name: &str) -> u32 {
        let names = self.names();
        names.channels.get(name).map_or(0, |channel| channel.subscribers.load(Ordering::Relaxed))
    }

    /// Publishes an event; its id, and how many subscribe.
    pub(super) async fn publish(
        &self,
        name: &str,
        event: Option<&str>,
        data: &str,
    ) -> Result<(Id, u32), Unpublished> {
        loop {
            let channel = self.channel(&mut self.names(), name, true).map_err(|_| Unpublished::Full)?;
            // Whoever publishes faster than can be told waits: who reads must not lose what there was no time to tell.
            let waiting = async {
                loop {
                    let mut passed = std::pin::pin!(channel.passed.notified());
                    passed.as_mut().enable();
                    if !channel.is_crowded() {
                        break;
                    }
                    passed.await;
                }
            };
            tokio::time::timeout(PATIENCE, waiting).await.map_err(|_| Unpublished::Busy)?;
            // Ended in between: the next round begins it anew.
            let Ok(Published { id, added, dropped }) = channel.publish(event, data) else { continue };
            let before = self.0.kept.fetch_add(added, Ordering::Relaxed);
            self.0.kept.fetch_sub(dropped, Ordering::Relaxed);
            if before + added > ALL_KEPT {
                self.shed(&channel);
            }
            let heard = channel.subscribers.load(Ordering::Relaxed);
            self.tell(&channel);
            return Ok((id, heard));
        }
    }

    /// Forgets the events of channels in which nothing was said for longest, until three quarters of the room are taken.
    fn shed(&self, spared: &Arc<Channel>) {
        let names = self.names();
        let others = names.channels.values().filter(|channel| !Arc::ptr_eq(channel, spared));
        let mut others: Vec<_> = others.map(|channel| (channel.state().0, channel)).collect();
        others.sort_unstable_by_key(|(changed, _)| *changed);
        for (_, channel) in others {
            if self.0.kept.load(Ordering::Relaxed) <= ALL_KEPT / 4 * 3 {
                return;
            }
            self.0.kept.fetch_sub(channel.forget(), Ordering::Relaxed);
        }
    }

    /// Ends a channel, which is remembered for a while; how many heard it.
    pub(super) fn end(&self, name: &str) -> Result<u32, Full> {
        let mut names = self.names();
        let channel = self.channel(&mut names, name, false)?;
        drop(names);
        // Before they leave.
        let heard = channel.subscribers.load(Ordering::Relaxed);
        channel.end();
        self.tell(&channel);
        Ok(heard)
    }

    /// Calls all who keep subscribers of a channel.
    fn tell(&self, channel: &Arc<Channel>) {
        channel.told.notify_waiters();
        for (reactor, post) in self.0.reactors.iter().zip(&channel.posts) {
            // A reactor counts a newcomer before it looks what to tell it, so none falls between the two.
            if post.members.load(Ordering::SeqCst) > 0 && !post.called.swap(true, Ordering::SeqCst) {
                reactor.tell(Arc::clone(channel));
            }
        }
    }

    /// Keeps a subscriber from here on. Called on a runtime.
    pub(super) fn adopt(&self, connection: Upgraded, form: Form, entry: Entry) {
        let mut draining = connection.draining();
        let inner = &self.0;
        if !inner.watched.swap(true, Ordering::Relaxed) {
            // Wakes reactors, and keeps nothing else alive.
            let reactors = inner.reactors.iter().map(Reactor::caller).collect::<Vec<_>>();
            tokio::spawn(async move {
                draining.begun().await;
                reactors.iter().for_each(super::reactor::Caller::drain);
            });
        }
        let first = words::first(form, &entry);
        let (socket, buffered, counted) = match connection.into_parts() {
            Ok(parts) => parts,
            Err(connection) => {
                task::spawn(connection, form, entry, first, &inner.settings);
                return;
            }
        };
        // Nobody speaks WebSocket before it is agreed on (RFC 6455, 4.1); who listens to events may say what it likes.
        if form == Form::WebSocket && !buffered.is_empty() {
            tracing::info!(reason = "frames before the handshake's end", "subscriber closed");
            return;
        }
        // Off this runtime, onto the reactor's.
        let Ok(socket) = socket.into_std() else { return };
        let Entry { place, start, .. } = entry;
        let newcomer = Newcomer { socket, form, place, cursor: start.number, first, counted };
        if let Some(reactor) = inner.reactors.iter().min_by_key(|reactor| reactor.load()) {
            reactor.join(newcomer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who() -> Who {
        Who { address: [127, 0, 0, 1].into(), token: None }
    }

    #[tokio::test]
    async fn channels_that_nobody_needs_make_room_for_others() {
        let hub = Hub::start(Settings { channels: 2, ..Settings::default() }).unwrap();
        let one = hub.enter("one", &Since::Now, who()).unwrap_or_else(|_| panic!());
        assert!(hub.publish("two", None, "x").await.is_ok());
        assert!(matches!(hub.enter("three", &Since::Now, who()), Err(Full::Channels)));
        assert!(hub.publish("three", None, "x").await.is_err());
        assert_eq!((hub.count("one"), hub.count("two"), hub.count("three")), (1, 0, 0));
        drop(one);
        assert!(hub.publish("three", None, "x").await.is_ok());
    }

    #[tokio::test]
    async fn a_channel_that_has_ended_begins_anew_with_the_next_event() {
        let hub = Hub::start(Settings::default()).unwrap_or_else(|_| panic!());
        let (first, _) = hub.publish("a", None, "x").await.unwrap_or_else(|_| panic!());
        assert!(hub.end("a").is_ok());
        let over = |since: &Since| hub.enter("a", since, who()).map(|entry| entry.start.over).ok();
        assert_eq!(over(&Since::Behind(first.to_string())), Some(true));
        assert_eq!((over(&Since::Now), over(&Since::Earliest)), (Some(true), Some(false)));
        let (second, _) = hub.publish("a", None, "y").await.unwrap_or_else(|_| panic!());
        assert!(second.epoch > first.epoch && second.number == 1);
        let entry = hub.enter("a", &Since::Behind(first.to_string()), who());
        assert!(entry.is_ok_and(|entry| entry.start.missed && !entry.start.over));
    }

    #[tokio::test]
    async fn all_channels_share_a_bound_of_memory() {
        let hub = Hub::start(Settings { history: 1, ..Settings::default() }).unwrap_or_else(|_| panic!());
        let data = "x".repeat(60_000);
        for number in 0..ALL_KEPT / 100_000 {
            assert!(hub.publish(&number.to_string(), None, &data).await.is_ok());
            assert!(hub.0.kept.load(Ordering::Relaxed) <= ALL_KEPT, "{number}");
        }
        let kept: usize = hub.names().channels.values().map(|channel| channel.state().1).sum();
        assert_eq!(kept, hub.0.kept.load(Ordering::Relaxed));
        assert!(kept > ALL_KEPT / 2);
    }
}
