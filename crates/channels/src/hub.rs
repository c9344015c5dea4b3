//! The channels by name, publishing to them, and handing subscribers to reactors and tasks.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use outflow_wire::upgrade::Upgraded;
use parking_lot::Mutex;

use crate::channel::event::{EventId, StreamFormat};
use crate::channel::limits::{Admission, LimitReached, SubscriberLimits, SubscriberOrigin};
use crate::channel::log::{Channel, PublishedEvent, StartFrom};
use crate::deliver::reactor::{NewSubscriber, Reactor, ReactorHandle};
use crate::deliver::{task, wire_format};
use crate::metrics::ChannelMetrics;
use crate::settings::ChannelSettings;

/// Memory of the events of all channels, in bytes.
///
/// Bound: channels.
const MAX_TOTAL_BYTES: usize = 64 << 20;
/// Time for which a channel without subscribers keeps its events, or the fact that it has ended.
///
/// Bound: channels.
const MAX_IDLE: Duration = Duration::from_secs(600);
/// Interval in which the hub drops idle channels.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);
/// Time that a publisher waits for subscribers to catch up; then it is told to publish more slowly.
///
/// Bound: channels.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(5);

/// All channels. Clones share everything.
#[derive(Clone)]
pub(super) struct Hub(Arc<HubState>);

struct HubState {
    reactors: Vec<Reactor>,
    limits: Arc<SubscriberLimits>,
    metrics: Arc<ChannelMetrics>,
    settings: ChannelSettings,
    directory: Mutex<ChannelDirectory>,
    /// The epoch of the newest channel.
    epoch: AtomicU64,
    /// Memory of all events, in bytes.
    bytes: AtomicUsize,
    /// Whether a task waits for the server to drain.
    awaits_drain: AtomicBool,
}

struct ChannelDirectory {
    channels: HashMap<Box<str>, Arc<Channel>>,
    swept: Instant,
}

/// Why an event was not published.
pub(super) enum PublishError {
    /// The number of channels has reached its limit.
    TooManyChannels,
    /// Subscribers do not keep up.
    Busy,
}

impl Hub {
    /// Starts the reactors.
    pub(super) fn start(settings: ChannelSettings) -> io::Result<Hub> {
        let metrics: Arc<ChannelMetrics> = settings.metrics.set();
        let count = std::thread::available_parallelism().map_or(1, usize::from);
        let reactors = (0..count).map(|index| Reactor::start(index, &settings)).collect::<io::Result<_>>()?;
        let limits = SubscriberLimits::new(
            (settings.per_address, settings.per_token, settings.per_channel),
            Arc::clone(&metrics),
        );
        let hub = Hub(Arc::new(HubState {
            reactors,
            limits,
            metrics,
            settings,
            directory: Mutex::new(ChannelDirectory { channels: HashMap::new(), swept: Instant::now() }),
            epoch: AtomicU64::new(0),
            bytes: AtomicUsize::new(0),
            awaits_drain: AtomicBool::new(false),
        }));
        hub.show_state();
        Ok(hub)
    }

    /// Lets the metrics show what the hub knows anyway.
    fn show_state(&self) {
        let registry = &self.0.settings.metrics;
        registry.read_gauge(
            &self.0,
            |metrics: &ChannelMetrics| &metrics.channels,
            |hub| hub.directory.lock().channels.len(),
        );
        registry.read_gauge(
            &self.0,
            |metrics: &ChannelMetrics| &metrics.memory,
            |hub| hub.bytes.load(Ordering::Relaxed),
        );
    }

    /// A unique number: milliseconds since 1970, or more when several channels are created within
    /// one.
    fn next_epoch(&self) -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = u64::try_from(now.as_millis()).unwrap_or(0);
        let next = |last: u64| Some(now.max(last + 1));
        let last = self.0.epoch.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).unwrap_or(0);
        now.max(last + 1)
    }

    /// The channel of that name. Creates it if it does not exist, or if it has ended and `reopen`
    /// is set.
    fn channel(
        &self,
        directory: &mut ChannelDirectory,
        name: &str,
        reopen: bool,
    ) -> Result<Arc<Channel>, LimitReached> {
        if let Some(channel) = directory.channels.get(name).filter(|channel| !reopen || !channel.is_ended()) {
            return Ok(Arc::clone(channel));
        }
        let full = directory.channels.len() >= self.0.settings.channels;
        if full || directory.swept.elapsed() > SWEEP_INTERVAL {
            self.sweep(directory);
        }
        if directory.channels.len() >= self.0.settings.channels && !directory.channels.contains_key(name) {
            return Err(LimitReached::Channels);
        }
        let channel =
            Arc::new(Channel::new(self.next_epoch(), self.0.reactors.len(), self.0.settings.history));
        if let Some(ended) = directory.channels.insert(name.into(), Arc::clone(&channel)) {
            self.0.bytes.fetch_sub(ended.clear(), Ordering::Relaxed);
        }
        Ok(channel)
    }

    /// Drops channels without subscribers: those without events at once, others after [`MAX_IDLE`].
    fn sweep(&self, directory: &mut ChannelDirectory) {
        directory.swept = Instant::now();
        directory.channels.retain(|_, channel| {
            let (changed, bytes) = channel.usage();
            let used = channel.subscribers.load(Ordering::Relaxed) > 0
                || ((bytes > 0 || channel.is_ended()) && changed.elapsed() < MAX_IDLE);
            if !used {
                self.0.bytes.fetch_sub(channel.clear(), Ordering::Relaxed);
            }
            used
        });
        directory.channels.shrink_to_fit();
    }

    /// Admits a subscriber, if no limit is reached.
    pub(super) fn admit(
        &self,
        name: &str,
        from: &StartFrom,
        origin: SubscriberOrigin,
    ) -> Result<Admission, LimitReached> {
        let refused = |limit| self.refused(limit);
        let mut directory = self.0.directory.lock();
        let channel = self.channel(&mut directory, name, false).map_err(refused)?;
        let permit = self.0.limits.acquire(&channel, origin).map_err(refused)?;
        drop(directory);
        Ok(Admission { start: channel.start(from), epoch: channel.epoch, permit })
    }

    /// Counts a refusal.
    fn refused(&self, limit: LimitReached) -> LimitReached {
        self.0.metrics.refused.of(limit.into()).inc();
        limit
    }

    /// The number of a channel's subscribers.
    pub(super) fn count(&self, name: &str) -> u32 {
        let directory = self.0.directory.lock();
        directory.channels.get(name).map_or(0, |channel| channel.subscribers.load(Ordering::Relaxed))
    }

    /// Publishes an event; returns its id and the number of subscribers.
    pub(super) async fn publish(
        &self,
        name: &str,
        event: Option<&str>,
        data: &str,
    ) -> Result<(EventId, u32), PublishError> {
        loop {
            let channel = self.channel(&mut self.0.directory.lock(), name, true).map_err(|limit| {
                self.refused(limit);
                PublishError::TooManyChannels
            })?;
            // Backpressure: block a publisher that outruns delivery, so that a subscriber that
            // keeps up never loses an event.
            let uncongested = async {
                loop {
                    let mut delivered = std::pin::pin!(channel.delivered.notified());
                    delivered.as_mut().enable();
                    if !channel.is_congested() {
                        break;
                    }
                    delivered.await;
                }
            };
            if tokio::time::timeout(PUBLISH_TIMEOUT, uncongested).await.is_err() {
                self.0.metrics.congested.inc();
                return Err(PublishError::Busy);
            }
            // If the channel has ended meanwhile, the next round creates it again.
            let Ok(PublishedEvent { id, added, dropped }) = channel.publish(event, data) else { continue };
            let before = self.0.bytes.fetch_add(added, Ordering::Relaxed);
            self.0.bytes.fetch_sub(dropped, Ordering::Relaxed);
            if before + added > MAX_TOTAL_BYTES {
                self.evict(&channel);
            }
            let subscribers = channel.subscribers.load(Ordering::Relaxed);
            self.notify(&channel);
            self.0.metrics.published.inc();
            return Ok((id, subscribers));
        }
    }

    /// Drops the events of the least recently used channels other than `spared`, down to three
    /// quarters of the limit.
    fn evict(&self, spared: &Arc<Channel>) {
        let directory = self.0.directory.lock();
        let others = directory.channels.values().filter(|channel| !Arc::ptr_eq(channel, spared));
        let mut others: Vec<_> = others.map(|channel| (channel.usage().0, channel)).collect();
        others.sort_unstable_by_key(|(changed, _)| *changed);
        for (_, channel) in others {
            if self.0.bytes.load(Ordering::Relaxed) <= MAX_TOTAL_BYTES / 4 * 3 {
                return;
            }
            self.0.bytes.fetch_sub(channel.clear(), Ordering::Relaxed);
        }
    }

    /// Ends a channel; returns the number of its subscribers. The hub remembers the end for
    /// [`MAX_IDLE`].
    pub(super) fn end(&self, name: &str) -> Result<u32, LimitReached> {
        let channel = self.channel(&mut self.0.directory.lock(), name, false)?;
        // Counted before they are disconnected.
        let subscribers = channel.subscribers.load(Ordering::Relaxed);
        channel.end();
        self.notify(&channel);
        Ok(subscribers)
    }

    /// Wakes the tasks and reactors that serve a channel's subscribers.
    fn notify(&self, channel: &Arc<Channel>) {
        channel.published.notify_waiters();
        for (reactor, shard) in self.0.reactors.iter().zip(&channel.shards) {
            // A shard counts a new subscriber before it reads the log for it, so that neither
            // misses the event.
            if shard.members.load(Ordering::SeqCst) > 0 && !shard.notified.swap(true, Ordering::SeqCst) {
                reactor.deliver(Arc::clone(channel));
            }
        }
    }

    /// Serves an admitted subscriber on `connection` until it ends. Called on a runtime.
    pub(super) fn serve(&self, connection: Upgraded, format: StreamFormat, admission: Admission) {
        let mut draining = connection.draining();
        let state = &self.0;
        if !state.awaits_drain.swap(true, Ordering::Relaxed) {
            // Handles only, so that this task does not keep the threads alive.
            let reactors = state.reactors.iter().map(Reactor::handle).collect::<Vec<_>>();
            tokio::spawn(async move {
                draining.begun().await;
                reactors.iter().for_each(ReactorHandle::drain);
            });
        }
        let opening = wire_format::opening(format, admission.start.missed);
        let (socket, buffered, counted) = match connection.into_parts() {
            Ok(parts) => parts,
            Err(connection) => {
                let ChannelSettings { lifetime, heartbeat, .. } = state.settings;
                task::spawn(connection, format, admission, opening, lifetime, heartbeat);
                return;
            }
        };
        // A client must not send frames before the handshake ends (RFC 6455, section 4.1). Bytes
        // from a client of server-sent events are ignored.
        if format == StreamFormat::WebSocket && !buffered.is_empty() {
            tracing::info!(reason = "it sent frames before the handshake ended", "subscriber closed");
            return;
        }
        // Takes the socket off this runtime.
        let Ok(socket) = socket.into_std() else { return };
        let Admission { permit, start, .. } = admission;
        let new = NewSubscriber { socket, format, permit, cursor: start.number, opening, counted };
        if let Some(reactor) = state.reactors.iter().min_by_key(|reactor| reactor.load()) {
            reactor.join(new);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin() -> SubscriberOrigin {
        SubscriberOrigin { address: [127, 0, 0, 1].into(), token: None }
    }

    #[tokio::test]
    async fn channels_that_nobody_needs_make_room_for_others() {
        let hub = Hub::start(ChannelSettings { channels: 2, ..ChannelSettings::default() }).unwrap();
        let one = hub.admit("one", &StartFrom::Now, origin()).unwrap_or_else(|_| panic!());
        assert!(hub.publish("two", None, "x").await.is_ok());
        assert!(matches!(hub.admit("three", &StartFrom::Now, origin()), Err(LimitReached::Channels)));
        assert!(hub.publish("three", None, "x").await.is_err());
        assert_eq!((hub.count("one"), hub.count("two"), hub.count("three")), (1, 0, 0));
        drop(one);
        assert!(hub.publish("three", None, "x").await.is_ok());
    }

    #[tokio::test]
    async fn a_channel_that_has_ended_begins_anew_with_the_next_event() {
        let hub = Hub::start(ChannelSettings::default()).unwrap_or_else(|_| panic!());
        let (first, _) = hub.publish("a", None, "x").await.unwrap_or_else(|_| panic!());
        assert!(hub.end("a").is_ok());
        let over =
            |from: &StartFrom| hub.admit("a", from, origin()).map(|admission| admission.start.over).ok();
        assert_eq!(over(&StartFrom::After(first.to_string())), Some(true));
        assert_eq!((over(&StartFrom::Now), over(&StartFrom::Earliest)), (Some(true), Some(false)));
        let (second, _) = hub.publish("a", None, "y").await.unwrap_or_else(|_| panic!());
        assert!(second.epoch > first.epoch && second.number == 1);
        let admission = hub.admit("a", &StartFrom::After(first.to_string()), origin());
        assert!(admission.is_ok_and(|admission| admission.start.missed && !admission.start.over));
    }

    #[tokio::test]
    async fn all_channels_share_a_bound_of_memory() {
        let hub = Hub::start(ChannelSettings { history: 1, ..ChannelSettings::default() })
            .unwrap_or_else(|_| panic!());
        let data = "x".repeat(60_000);
        for number in 0..MAX_TOTAL_BYTES / 100_000 {
            assert!(hub.publish(&number.to_string(), None, &data).await.is_ok());
            assert!(hub.0.bytes.load(Ordering::Relaxed) <= MAX_TOTAL_BYTES, "{number}");
        }
        let bytes: usize = hub.0.directory.lock().channels.values().map(|channel| channel.usage().1).sum();
        assert_eq!(bytes, hub.0.bytes.load(Ordering::Relaxed));
        assert!(bytes > MAX_TOTAL_BYTES / 2);
    }
}
