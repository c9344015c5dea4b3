//! The subscribers of one reactor, grouped by channel.

use std::collections::{HashMap, VecDeque};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::event::epoll::{self, EventData, EventFlags};

use super::subscriber::{NewSubscriber, READ_BUFFER, Subscriber};
use super::wire_format::{CloseReason, Disconnect, LINGER, POLICY, random_lifetime};
use crate::channel::log::Channel;
use crate::settings::ChannelSettings;

/// Ticks of a heartbeat interval. In each of them, another part of the subscribers has its turn.
const PHASES: u32 = 15;
/// Number of unused slots below which an empty shard keeps its memory.
const SPARE_SLOTS: usize = 1024;

/// A reactor's subscribers. A subscriber is known by its slot, an index into `slots`, which epoll
/// reports.
pub(super) struct Shard {
    epoll: Arc<OwnedFd>,
    slots: Vec<Option<Subscriber>>,
    free: Vec<u32>,
    /// By the channel's epoch.
    members: HashMap<u64, ChannelMembers>,
    /// Connections whose client has not closed its side: until when to wait for that, in ticks, and
    /// their slots.
    lingering: VecDeque<(u32, u32)>,
    /// The index of this shard in [`Channel::shards`].
    index: usize,
    tick: Duration,
    lifetime: Duration,
    /// Ticks since the start.
    now: u32,
    /// Whether new subscribers are closed at once.
    pub(super) draining: bool,
    read_buffer: Box<[u8; READ_BUFFER]>,
}

/// The shard's subscribers of one channel. Each holds a permit, which keeps the channel alive.
struct ChannelMembers {
    slots: Vec<u32>,
    /// Number of the next event. Those before it have been sent to all members that are not behind.
    delivered: u64,
}

impl Shard {
    pub(super) fn new(index: usize, epoll: Arc<OwnedFd>, settings: &ChannelSettings) -> Shard {
        Shard {
            epoll,
            slots: Vec::new(),
            free: Vec::new(),
            members: HashMap::new(),
            lingering: VecDeque::new(),
            index,
            tick: tick_duration(settings),
            lifetime: settings.lifetime,
            now: 0,
            draining: false,
            read_buffer: Box::new([0; READ_BUFFER]),
        }
    }

    /// Number of subscribers, including lingering ones.
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Number of slots, used or not.
    pub(super) fn slots(&self) -> usize {
        self.slots.len()
    }

    /// A duration in ticks, rounded up.
    fn ticks(&self, time: Duration) -> u32 {
        let ticks = time.as_nanos().div_ceil(self.tick.as_nanos().max(1));
        u32::try_from(ticks).unwrap_or(u32::MAX)
    }

    /// Adds a subscriber and sends it the events that it has not received.
    pub(super) fn join(&mut self, new: NewSubscriber) {
        let until = match self.lifetime {
            Duration::ZERO => u32::MAX,
            maximum => self.now.saturating_add(self.ticks(random_lifetime(maximum))),
        };
        let channel = Arc::clone(&new.permit.channel);
        let mut subscriber = Subscriber::new(new, self.now, until);
        // Counted before the log is read, so that a concurrent publisher notifies this shard.
        let progress = &channel.shards[self.index];
        let is_first = progress.members.fetch_add(1, Ordering::SeqCst) == 0;
        let tail = channel.tail(subscriber.cursor());
        let members = self
            .members
            .entry(channel.epoch)
            .or_insert_with(|| ChannelMembers { slots: Vec::new(), delivered: tail.next() });
        if is_first {
            // Publishers do not wait for the events that this subscriber still has to catch up
            // with.
            progress.delivered.store(tail.next(), Ordering::Release);
            channel.delivered.notify_waiters();
        }
        subscriber.member_index = members.slots.len() as u32;
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() as u32 - 1
        });
        members.slots.push(slot);
        // Registered before sending, so that epoll reports when a full socket can take more.
        let flags = EventFlags::IN | EventFlags::RDHUP | EventFlags::OUT | EventFlags::ET;
        let added = epoll::add(&*self.epoll, subscriber.socket(), EventData::new_u64(slot.into()), flags);
        let sent = match added {
            Ok(()) if self.draining => {
                subscriber.send_pending(&tail, self.now).and(Err(Disconnect::Close(CloseReason::Draining)))
            }
            Ok(()) => subscriber.send_pending(&tail, self.now),
            Err(_) => Err(Disconnect::Gone),
        };
        self.slots[slot as usize] = Some(subscriber);
        self.settle(slot, sent);
    }

    /// Handles an event of epoll.
    pub(super) fn on_socket_event(&mut self, slot: u32, flags: EventFlags) {
        // An earlier event may have removed it.
        let Some(subscriber) = self.slots.get_mut(slot as usize).and_then(Option::as_mut) else { return };
        let mut result = Ok(());
        if flags.intersects(EventFlags::IN | EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR) {
            result = subscriber.receive(&mut self.read_buffer, self.now);
        }
        if result.is_ok()
            && subscriber.is_behind()
            && let Some(permit) = &subscriber.permit
        {
            let tail = permit.channel.tail(subscriber.cursor());
            result = subscriber.send_pending(&tail, self.now);
        }
        self.settle(slot, result);
    }

    /// Sends a channel's new events to its members.
    pub(super) fn deliver(&mut self, channel: &Arc<Channel>) {
        let progress = &channel.shards[self.index];
        progress.notified.store(false, Ordering::SeqCst);
        let Some(members) = self.members.get_mut(&channel.epoch) else { return };
        let tail = channel.tail(members.delivered);
        members.delivered = tail.next();
        let mut disconnects = Vec::new();
        for &slot in &members.slots {
            let Some(subscriber) = self.slots[slot as usize].as_mut() else { continue };
            // epoll reports when a subscriber that is behind can take more, unless its next event
            // is gone by then.
            let result = match subscriber.is_behind() {
                true if subscriber.cursor() < tail.oldest => Err(Disconnect::TooSlow),
                true => Ok(()),
                false => subscriber.send_pending(&tail, self.now),
            };
            if let Err(why) = result {
                disconnects.push((slot, why));
            }
        }
        progress.delivered.store(tail.next(), Ordering::Release);
        channel.delivered.notify_waiters();
        for (slot, why) in disconnects {
            self.settle(slot, Err(why));
        }
    }

    /// Advances the clock: closes lingering, stalled and expired connections, and sends heartbeats.
    pub(super) fn tick(&mut self) {
        self.now = self.now.saturating_add(1);
        let (now, stall) = (self.now, self.ticks(POLICY.stall));
        while let Some(&(until, slot)) = self.lingering.front()
            && until <= now
        {
            self.lingering.pop_front();
            // The slot may have been reused.
            let current = self.slots[slot as usize].as_ref();
            if current.is_some_and(|current| current.permit.is_none() && current.until == until) {
                self.vacate(slot);
            }
        }
        for slot in ((now % PHASES) as usize..self.slots.len()).step_by(PHASES as usize) {
            let subscriber = self.slots[slot].as_mut().filter(|subscriber| subscriber.permit.is_some());
            let Some(subscriber) = subscriber else { continue };
            let result = if subscriber.is_stalled(now, stall) {
                Err(Disconnect::TooSlow)
            } else if now >= subscriber.until && !subscriber.is_behind() {
                Err(Disconnect::Close(CloseReason::Lifetime))
            } else {
                subscriber.send_heartbeat(now)
            };
            self.settle(slot as u32, result);
        }
        self.release_memory();
    }

    /// Closes the subscribers in these slots, because the server drains.
    pub(super) fn drain(&mut self, slots: std::ops::Range<usize>) {
        for slot in slots.start..slots.end.min(self.slots.len()) {
            if self.slots[slot].as_ref().is_some_and(|subscriber| subscriber.permit.is_some()) {
                self.settle(slot as u32, Err(Disconnect::Close(CloseReason::Draining)));
            }
        }
    }

    /// Removes a subscriber whose turn resulted in a disconnect.
    fn settle(&mut self, slot: u32, result: Result<(), Disconnect>) {
        let Err(why) = result else { return };
        self.remove_member(slot);
        let until = self.now.saturating_add(self.ticks(LINGER));
        let Some(subscriber) = self.slots[slot as usize].as_mut() else { return };
        let was_open = subscriber.permit.take().is_some();
        match why {
            Disconnect::TooSlow if was_open => {
                let client = subscriber.peer().map(tracing::field::display);
                tracing::info!(client, reason = "it does not read", "subscriber closed");
            }
            Disconnect::Close(CloseReason::Rejected(code, reason)) => {
                let client = subscriber.peer().map(tracing::field::display);
                tracing::info!(client, code, reason, "subscriber closed");
            }
            _ => {}
        }
        if let Disconnect::Close(reason) = why
            && was_open
            && subscriber.close(reason)
        {
            subscriber.until = until;
            self.lingering.push_back((until, slot));
        } else {
            self.vacate(slot);
        }
    }

    /// Removes a subscriber from the members of its channel.
    fn remove_member(&mut self, slot: u32) {
        let Some(subscriber) = self.slots[slot as usize].as_ref() else { return };
        let Some(permit) = &subscriber.permit else { return };
        let (channel, index) = (Arc::clone(&permit.channel), subscriber.member_index);
        let Some(members) = self.members.get_mut(&channel.epoch) else { return };
        members.slots.swap_remove(index as usize);
        if let Some(&moved) = members.slots.get(index as usize)
            && let Some(subscriber) = self.slots[moved as usize].as_mut()
        {
            subscriber.member_index = index;
        }
        if members.slots.is_empty() {
            self.members.remove(&channel.epoch);
        }
        if channel.shards[self.index].members.fetch_sub(1, Ordering::SeqCst) == 1 {
            // Publishers no longer wait for this shard.
            channel.delivered.notify_waiters();
        }
    }

    /// Closes a slot's socket.
    fn vacate(&mut self, slot: u32) {
        if self.slots[slot as usize].take().is_some() {
            self.free.push(slot);
        }
    }

    /// Returns the memory of an empty shard.
    fn release_memory(&mut self) {
        if self.slots.len() > SPARE_SLOTS && self.free.len() == self.slots.len() {
            self.slots = Vec::new();
            self.free = Vec::new();
            self.lingering = VecDeque::new();
            self.members.shrink_to_fit();
        }
    }
}

impl Drop for Shard {
    /// Otherwise publishers would keep waiting for this shard.
    fn drop(&mut self) {
        for slot in 0..self.slots.len() {
            self.remove_member(slot as u32);
        }
    }
}

/// The duration of a tick.
pub(super) fn tick_duration(settings: &ChannelSettings) -> Duration {
    (settings.heartbeat / PHASES).max(Duration::from_millis(1))
}
