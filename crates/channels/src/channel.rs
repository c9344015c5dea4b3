//! One channel: the events that are kept, and who is told that there are new ones.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

use super::event::{Event, Id};
use super::{KEPT, QUEUE};

/// A channel. Its epoch is its own alone: it also tells it from others.
pub(super) struct Channel {
    pub(super) epoch: u64,
    pub(super) subscribers: AtomicU32,
    /// For subscribers that have tasks: there is something new.
    pub(super) told: Notify,
    /// For publishers: a reactor has told its subscribers.
    pub(super) passed: Notify,
    /// For each reactor, what it has to do with this channel.
    pub(super) posts: Box<[Post]>,
    history: usize,
    log: Mutex<Log>,
}

/// A reactor's part in a channel.
#[derive(Default)]
pub(super) struct Post {
    /// How many subscribers it keeps.
    pub(super) members: AtomicU32,
    /// It knows already that there is something new.
    pub(super) called: AtomicBool,
    /// All its subscribers have been told, or will be when they take it, what comes before this number.
    pub(super) passed: AtomicU64,
}

struct Log {
    events: VecDeque<Arc<Event>>,
    /// The number of the first of them.
    first: u64,
    bytes: usize,
    ended: bool,
    changed: Instant,
}

impl Log {
    fn next(&self) -> u64 {
        self.first + self.events.len() as u64
    }
}

/// What is kept from a number on.
#[derive(Debug, Default)]
pub(super) struct Tail {
    /// The number of the first of these events.
    pub(super) first: u64,
    pub(super) events: Vec<Arc<Event>>,
    /// Nothing comes behind them.
    pub(super) ended: bool,
    /// The number of the first event that is kept at all.
    pub(super) kept: u64,
}

impl Tail {
    pub(super) fn next(&self) -> u64 {
        self.first + self.events.len() as u64
    }

    /// The event of that number; an error if it is kept no longer.
    pub(super) fn get(&self, number: u64) -> Result<Option<&Arc<Event>>, Lost> {
        let at = number.checked_sub(self.first).ok_or(Lost)?;
        Ok(usize::try_from(at).ok().and_then(|at| self.events.get(at)))
    }
}

/// What was to be said is kept no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lost;

/// Where a new subscriber begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Since {
    /// With what is published from now on.
    #[default]
    Now,
    /// With the earliest event of the history.
    Earliest,
    /// Behind this one, if it is known.
    Behind(String),
}

/// Where it begins indeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Start {
    pub(super) number: u64,
    /// Events may have been missed: the one that it begins behind is not known.
    pub(super) missed: bool,
    /// There is nothing to say, and there will not be.
    pub(super) over: bool,
}

/// What a publish did to the events that are kept.
pub(super) struct Published {
    pub(super) id: Id,
    pub(super) added: usize,
    pub(super) dropped: usize,
}

/// The channel has ended.
#[derive(Debug)]
pub(super) struct Ended;

impl Channel {
    pub(super) fn new(epoch: u64, reactors: usize, history: usize) -> Channel {
        // Numbers begin with 1: the id of number 0 stands for what was before the first event.
        let log = Log { events: VecDeque::new(), first: 1, bytes: 0, ended: false, changed: Instant::now() };
        Channel {
            epoch,
            subscribers: AtomicU32::new(0),
            told: Notify::new(),
            passed: Notify::new(),
            posts: (0..reactors).map(|_| Post::default()).collect(),
            history,
            log: Mutex::new(log),
        }
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an event, and drops those that are too many.
    pub(super) fn publish(&self, name: Option<&str>, data: &str) -> Result<Published, Ended> {
        let mut log = self.log();
        if log.ended {
            return Err(Ended);
        }
        let id = Id { epoch: self.epoch, number: log.next() };
        let event = Arc::new(Event::new(Some(id), name, data));
        let added = event.size();
        log.bytes += added;
        log.events.push_back(event);
        log.changed = Instant::now();
        let mut dropped = 0;
        while log.events.len() > self.history.max(QUEUE) || (log.bytes > KEPT && log.events.len() > 1) {
            let Some(first) = log.events.pop_front() else { break };
            log.first += 1;
            log.bytes -= first.size();
            dropped += first.size();
        }
        Ok(Published { id, added, dropped })
    }

    /// Whether reactors are so far behind that one more event could cost their subscribers what they have not been
    /// told.
    pub(super) fn is_crowded(&self) -> bool {
        let behind = |post: &Post| post.passed.load(Ordering::Acquire);
        let busy = self.posts.iter().filter(|post| post.members.load(Ordering::Acquire) > 0);
        let Some(passed) = busy.map(behind).min() else { return false };
        let log = self.log();
        let untold = log.next().saturating_sub(passed).min(log.events.len() as u64) as usize;
        let bytes: usize = log.events.range(log.events.len() - untold..).map(|event| event.size()).sum();
        untold > QUEUE / 2 || bytes > KEPT / 2
    }

    /// The end: subscribers hear what is kept, and no more.
    pub(super) fn end(&self) {
        let mut log = self.log();
        log.ended = true;
        log.changed = Instant::now();
    }

    pub(super) fn is_ended(&self) -> bool {
        self.log().ended
    }

    /// What is kept, from that number on.
    pub(super) fn tail(&self, from: u64) -> Tail {
        let log = self.log();
        let skip = from.saturating_sub(log.first).min(log.events.len() as u64);
        // No more than there are.
        let events = log.events.range(skip as usize..).cloned().collect();
        Tail { first: log.first + skip, events, ended: log.ended, kept: log.first }
    }

    /// Where somebody begins who comes now, and the id of the event before it.
    pub(super) fn start(&self, since: &Since) -> Start {
        let log = self.log();
        let next = log.next();
        let earliest = log.first.max(next.saturating_sub(self.history as u64));
        match since {
            Since::Now => Start { number: next, missed: false, over: log.ended },
            Since::Earliest => Start { number: earliest, missed: false, over: log.ended && earliest == next },
            Since::Behind(id) => match Id::parse(id) {
                Some(Id { epoch, number })
                    if epoch == self.epoch && number < next && number + 1 >= log.first =>
                {
                    Start { number: number + 1, missed: false, over: log.ended && number + 1 == next }
                }
                // Who knows an end has heard all, wherever that was.
                _ => Start { number: earliest, missed: true, over: log.ended },
            },
        }
    }

    /// Forgets all events, and says how many bytes they took.
    pub(super) fn forget(&self) -> usize {
        let mut log = self.log();
        log.first = log.next();
        log.events = VecDeque::new();
        std::mem::take(&mut log.bytes)
    }

    /// When something was last said; and bytes that are kept.
    pub(super) fn state(&self) -> (Instant, usize) {
        let log = self.log();
        (log.changed, log.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(channel: &Channel, since: &Since) -> (u64, u64, bool) {
        let start = channel.start(since);
        (start.number, channel.tail(start.number).next(), start.missed)
    }

    #[test]
    fn who_comes_back_hears_what_was_missed_and_is_told_if_some_of_it_is_gone() {
        let channel = Channel::new(5, 1, 3);
        let behind = |epoch, number| Since::Behind(Id { epoch, number }.to_string());
        assert_eq!(numbers(&channel, &Since::Now), (1, 1, false));
        assert_eq!(numbers(&channel, &behind(5, 0)), (1, 1, false));
        for number in 1..=10 {
            let published = channel.publish(None, "x").unwrap();
            assert_eq!((published.id.number, published.dropped), (number, 0));
        }
        assert_eq!(numbers(&channel, &Since::Now), (11, 11, false));
        assert_eq!(numbers(&channel, &Since::Earliest), (8, 11, false));
        // More than the history is kept, for those who fall behind: whoever knows where it was gets that, too.
        assert_eq!(numbers(&channel, &behind(5, 4)), (5, 11, false));
        assert_eq!(numbers(&channel, &behind(5, 10)), (11, 11, false));
        for unknown in [behind(5, 11), behind(4, 4), Since::Behind("x".into())] {
            assert_eq!(numbers(&channel, &unknown), (8, 11, true), "{unknown:?}");
        }
        for _ in 0..QUEUE {
            channel.publish(None, "y").unwrap();
        }
        assert!(numbers(&channel, &behind(5, 4)).2);
        assert_eq!(numbers(&channel, &behind(5, 10)), (11, 139, false));
        assert_eq!(channel.tail(5).get(5).err(), Some(Lost));
    }

    #[test]
    fn what_is_kept_is_bounded_in_bytes_and_the_last_event_stays() {
        let channel = Channel::new(1, 1, 1000);
        let (mut kept, data) = (0, "x".repeat(60_000));
        for _ in 0..100 {
            let published = channel.publish(Some("n"), &data).unwrap();
            kept += published.added - published.dropped;
            assert_eq!(kept, channel.state().1);
            assert!(kept <= KEPT);
        }
        assert_eq!(channel.forget(), kept);
        assert_eq!(numbers(&channel, &Since::Earliest), (101, 101, false));
    }

    #[test]
    fn publishers_wait_for_reactors_that_have_subscribers() {
        let channel = Channel::new(1, 2, 0);
        let publish = |n| (0..n).for_each(|_| assert!(channel.publish(None, "x").is_ok()));
        publish(QUEUE);
        assert!(!channel.is_crowded());
        channel.posts[1].members.store(1, Ordering::Release);
        assert!(channel.is_crowded());
        channel.posts[1].passed.store(channel.tail(0).next(), Ordering::Release);
        publish(QUEUE / 2);
        assert!(!channel.is_crowded());
        publish(1);
        assert!(channel.is_crowded());
    }

    #[test]
    fn an_end_is_the_end() {
        let channel = Channel::new(1, 1, 10);
        channel.publish(None, "x").unwrap();
        channel.end();
        assert!(channel.publish(None, "y").is_err());
        let over = |since: &Since| channel.start(since).over;
        assert!(over(&Since::Now) && over(&Since::Behind("1-1".into())) && over(&Since::Behind("?".into())));
        assert!(!over(&Since::Earliest) && !over(&Since::Behind("1-0".into())));
    }
}
