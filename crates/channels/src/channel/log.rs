//! One channel: its recent events, and how subscribers learn of new ones.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::event::{ChannelEvent, EventId};

/// Number of events that a subscriber may fall behind, even if the history is shorter.
///
/// Bound: channels.
const MIN_LOG_EVENTS: usize = 128;
/// Memory of a channel's recent events in all encodings, in bytes. The last event stays even if it
/// is larger.
///
/// Bound: channels.
const MAX_LOG_BYTES: usize = 1 << 20;

/// A channel. Its epoch is unique, so it also serves as a key.
pub(crate) struct Channel {
    pub(crate) epoch: u64,
    pub(crate) subscribers: AtomicU32,
    /// Wakes subscribers that are tasks: there is a new event, or the channel has ended.
    pub(crate) published: Notify,
    /// Wakes publishers: a shard has made progress.
    pub(crate) delivered: Notify,
    /// One for each shard.
    pub(crate) shards: Box<[ShardProgress]>,
    history: usize,
    log: Mutex<EventLog>,
}

/// How far a shard is with this channel.
#[derive(Default)]
pub(crate) struct ShardProgress {
    /// Number of subscribers in the shard.
    pub(crate) members: AtomicU32,
    /// Whether the shard has been notified and has not read the new events yet.
    pub(crate) notified: AtomicBool,
    /// Number of the next event. Those before it have been sent to all subscribers of the shard
    /// that are not behind.
    pub(crate) delivered: AtomicU64,
}

struct EventLog {
    events: VecDeque<Arc<ChannelEvent>>,
    /// The number of the first of them.
    first: u64,
    bytes: usize,
    ended: bool,
    changed: Instant,
}

impl EventLog {
    fn next(&self) -> u64 {
        self.first + self.events.len() as u64
    }
}

/// The events from a number on.
#[derive(Debug, Default)]
pub(crate) struct EventTail {
    /// The number of the first of these events.
    pub(crate) first: u64,
    pub(crate) events: Vec<Arc<ChannelEvent>>,
    /// Whether no further events follow.
    pub(crate) ended: bool,
    /// The number of the oldest event in the log.
    pub(crate) oldest: u64,
}

impl EventTail {
    pub(crate) fn next(&self) -> u64 {
        self.first + self.events.len() as u64
    }

    /// The event of that number; an error if the log has dropped it.
    pub(crate) fn get(&self, number: u64) -> Result<Option<&Arc<ChannelEvent>>, EventsLost> {
        let at = number.checked_sub(self.first).ok_or(EventsLost)?;
        Ok(usize::try_from(at).ok().and_then(|at| self.events.get(at)))
    }
}

/// The log has dropped the event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EventsLost;

/// Where a subscriber asks to start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum StartFrom {
    /// With the next event.
    #[default]
    Now,
    /// With the earliest event of the history.
    Earliest,
    /// After the event of this id, if it is known.
    After(String),
}

/// Where the subscriber starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StartPosition {
    pub(crate) number: u64,
    /// Whether it may have missed events: the id it named is unknown.
    pub(crate) missed: bool,
    /// Whether the channel has ended and the subscriber has received everything.
    pub(crate) over: bool,
}

/// A published event, and what it changed in the memory of the log.
pub(crate) struct PublishedEvent {
    pub(crate) id: EventId,
    /// Bytes that it takes.
    pub(crate) added: usize,
    /// Bytes of the events that it displaced.
    pub(crate) dropped: usize,
}

/// The channel has ended.
#[derive(Debug)]
pub(crate) struct ChannelEnded;

impl Channel {
    pub(crate) fn new(epoch: u64, shards: usize, history: usize) -> Channel {
        // Numbers start at 1; an id with number 0 means "before the first event".
        let log =
            EventLog { events: VecDeque::new(), first: 1, bytes: 0, ended: false, changed: Instant::now() };
        Channel {
            epoch,
            subscribers: AtomicU32::new(0),
            published: Notify::new(),
            delivered: Notify::new(),
            shards: (0..shards).map(|_| ShardProgress::default()).collect(),
            history,
            log: Mutex::new(log),
        }
    }

    /// Appends an event and drops those beyond the limits.
    pub(crate) fn publish(&self, name: Option<&str>, data: &str) -> Result<PublishedEvent, ChannelEnded> {
        let mut log = self.log.lock();
        if log.ended {
            return Err(ChannelEnded);
        }
        let id = EventId { epoch: self.epoch, number: log.next() };
        let event = Arc::new(ChannelEvent::new(Some(id), name, data));
        let added = event.size();
        log.bytes += added;
        log.events.push_back(event);
        log.changed = Instant::now();
        let mut dropped = 0;
        while log.events.len() > self.history.max(MIN_LOG_EVENTS)
            || (log.bytes > MAX_LOG_BYTES && log.events.len() > 1)
        {
            let Some(first) = log.events.pop_front() else { break };
            log.first += 1;
            log.bytes -= first.size();
            dropped += first.size();
        }
        Ok(PublishedEvent { id, added, dropped })
    }

    /// Whether a shard is so far behind that one more event could displace some that its
    /// subscribers have not received.
    pub(crate) fn is_congested(&self) -> bool {
        let busy = self.shards.iter().filter(|shard| shard.members.load(Ordering::Acquire) > 0);
        let delivered = busy.map(|shard| shard.delivered.load(Ordering::Acquire));
        let Some(delivered) = delivered.min() else { return false };
        let log = self.log.lock();
        let pending = log.next().saturating_sub(delivered).min(log.events.len() as u64) as usize;
        let bytes: usize = log.events.range(log.events.len() - pending..).map(|event| event.size()).sum();
        pending > MIN_LOG_EVENTS / 2 || bytes > MAX_LOG_BYTES / 2
    }

    /// Ends the channel: subscribers receive the events in the log, and no more.
    pub(crate) fn end(&self) {
        let mut log = self.log.lock();
        log.ended = true;
        log.changed = Instant::now();
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.log.lock().ended
    }

    /// The events in the log from that number on.
    pub(crate) fn tail(&self, from: u64) -> EventTail {
        let log = self.log.lock();
        let skip = from.saturating_sub(log.first).min(log.events.len() as u64);
        let events = log.events.range(skip as usize..).cloned().collect();
        EventTail { first: log.first + skip, events, ended: log.ended, oldest: log.first }
    }

    /// The position for a new subscriber.
    pub(crate) fn start(&self, from: &StartFrom) -> StartPosition {
        let log = self.log.lock();
        let next = log.next();
        let earliest = log.first.max(next.saturating_sub(self.history as u64));
        match from {
            StartFrom::Now => StartPosition { number: next, missed: false, over: log.ended },
            StartFrom::Earliest => {
                StartPosition { number: earliest, missed: false, over: log.ended && earliest == next }
            }
            StartFrom::After(id) => match EventId::parse(id) {
                Some(EventId { epoch, number })
                    if epoch == self.epoch && number < next && number + 1 >= log.first =>
                {
                    StartPosition { number: number + 1, missed: false, over: log.ended && number + 1 == next }
                }
                // A subscriber that reconnects to an ended channel has received everything,
                // wherever that was.
                _ => StartPosition { number: earliest, missed: true, over: log.ended },
            },
        }
    }

    /// Drops all events; returns the bytes that they took.
    pub(crate) fn clear(&self) -> usize {
        let mut log = self.log.lock();
        log.first = log.next();
        log.events = VecDeque::new();
        std::mem::take(&mut log.bytes)
    }

    /// The time of the last change, and the memory of the log in bytes.
    pub(crate) fn usage(&self) -> (Instant, usize) {
        let log = self.log.lock();
        (log.changed, log.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(channel: &Channel, from: &StartFrom) -> (u64, u64, bool) {
        let start = channel.start(from);
        (start.number, channel.tail(start.number).next(), start.missed)
    }

    #[test]
    fn who_comes_back_hears_what_was_missed_and_is_told_if_some_of_it_is_gone() {
        let channel = Channel::new(5, 1, 3);
        let after = |epoch, number| StartFrom::After(EventId { epoch, number }.to_string());
        assert_eq!(numbers(&channel, &StartFrom::Now), (1, 1, false));
        assert_eq!(numbers(&channel, &after(5, 0)), (1, 1, false));
        for number in 1..=10 {
            let published = channel.publish(None, "x").unwrap();
            assert_eq!((published.id.number, published.dropped), (number, 0));
        }
        assert_eq!(numbers(&channel, &StartFrom::Now), (11, 11, false));
        assert_eq!(numbers(&channel, &StartFrom::Earliest), (8, 11, false));
        // The log has more than the history, for slow subscribers: one that names its position
        // receives that as well.
        assert_eq!(numbers(&channel, &after(5, 4)), (5, 11, false));
        assert_eq!(numbers(&channel, &after(5, 10)), (11, 11, false));
        for unknown in [after(5, 11), after(4, 4), StartFrom::After("x".into())] {
            assert_eq!(numbers(&channel, &unknown), (8, 11, true), "{unknown:?}");
        }
        for _ in 0..MIN_LOG_EVENTS {
            channel.publish(None, "y").unwrap();
        }
        assert!(numbers(&channel, &after(5, 4)).2);
        assert_eq!(numbers(&channel, &after(5, 10)), (11, 139, false));
        assert_eq!(channel.tail(5).get(5).err(), Some(EventsLost));
    }

    #[test]
    fn what_is_kept_is_bounded_in_bytes_and_the_last_event_stays() {
        let channel = Channel::new(1, 1, 1000);
        let (mut kept, data) = (0, "x".repeat(60_000));
        for _ in 0..100 {
            let published = channel.publish(Some("n"), &data).unwrap();
            kept += published.added - published.dropped;
            assert_eq!(kept, channel.usage().1);
            assert!(kept <= MAX_LOG_BYTES);
        }
        assert_eq!(channel.clear(), kept);
        assert_eq!(numbers(&channel, &StartFrom::Earliest), (101, 101, false));
    }

    #[test]
    fn publishers_wait_for_reactors_that_have_subscribers() {
        let channel = Channel::new(1, 2, 0);
        let publish = |n| (0..n).for_each(|_| assert!(channel.publish(None, "x").is_ok()));
        publish(MIN_LOG_EVENTS);
        assert!(!channel.is_congested());
        channel.shards[1].members.store(1, Ordering::Release);
        assert!(channel.is_congested());
        channel.shards[1].delivered.store(channel.tail(0).next(), Ordering::Release);
        publish(MIN_LOG_EVENTS / 2);
        assert!(!channel.is_congested());
        publish(1);
        assert!(channel.is_congested());
    }

    #[test]
    fn an_end_is_the_end() {
        let channel = Channel::new(1, 1, 10);
        channel.publish(None, "x").unwrap();
        channel.end();
        assert!(channel.publish(None, "y").is_err());
        let over = |from: &StartFrom| channel.start(from).over;
        assert!(
            over(&StartFrom::Now)
                && over(&StartFrom::After("1-1".into()))
                && over(&StartFrom::After("?".into()))
        );
        assert!(!over(&StartFrom::Earliest) && !over(&StartFrom::After("1-0".into())));
    }
}
