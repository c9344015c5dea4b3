//! What one reactor keeps: its subscribers, and which of them are in which channel.

use std::collections::{HashMap, VecDeque};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::event::epoll::{self, EventData, EventFlags};

use super::channel::Channel;
use super::reactor::Newcomer;
use super::slot::{Out, SCRATCH, Slot};
use super::words::{Farewell, lifetime};
use super::{LINGER, STALL, Settings};

/// A heartbeat has so many ticks, and in each of them another part of the subscribers has its turn.
pub(super) const PHASES: u32 = 15;
/// Slots that are kept although nobody is in them.
const SPARE: usize = 1024;

/// A reactor's subscribers.
pub(super) struct Keeper {
    epoll: Arc<OwnedFd>,
    slots: Vec<Option<Slot>>,
    free: Vec<u32>,
    crowds: HashMap<u64, Crowd>,
    /// Those that have been told that it is over: until when their end is waited for, and their slots.
    leaving: VecDeque<(u32, u32)>,
    /// Which reactor this is.
    index: usize,
    tick: Duration,
    lifetime: Duration,
    /// Ticks since the start.
    now: u32,
    /// Whether newcomers are sent away at once.
    pub(super) draining: bool,
    scratch: Box<[u8; SCRATCH]>,
}

/// The subscribers of one channel: who is here has a slot that keeps the channel.
struct Crowd {
    members: Vec<u32>,
    /// All of them have been told what comes before this number, or are behind.
    told: u64,
}

impl Keeper {
    pub(super) fn new(index: usize, epoll: Arc<OwnedFd>, settings: &Settings) -> Keeper {
        Keeper {
            epoll,
            slots: Vec::new(),
            free: Vec::new(),
            crowds: HashMap::new(),
            leaving: VecDeque::new(),
            index,
            tick: tick(settings),
            lifetime: settings.lifetime,
            now: 0,
            draining: false,
            scratch: Box::new([0; SCRATCH]),
        }
    }

    /// How many slots have somebody in them.
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// All slots, whether somebody is in them or not.
    pub(super) fn slots(&self) -> usize {
        self.slots.len()
    }

    /// A time as ticks from now on, rounded up.
    fn ticks(&self, time: Duration) -> u32 {
        let ticks = time.as_nanos().div_ceil(self.tick.as_nanos().max(1));
        u32::try_from(ticks).unwrap_or(u32::MAX)
    }

    /// Keeps a newcomer, and tells it what it has not heard.
    pub(super) fn join(&mut self, newcomer: Newcomer) {
        let until = match self.lifetime {
            Duration::ZERO => u32::MAX,
            whole => self.now.saturating_add(self.ticks(lifetime(whole))),
        };
        let channel = Arc::clone(&newcomer.place.channel);
        let mut slot = Slot::new(newcomer, self.now, until);
        // It is counted before it is looked what there is, so that whoever publishes meanwhile calls.
        let post = &channel.posts[self.index];
        let alone = post.members.fetch_add(1, Ordering::SeqCst) == 0;
        let tail = channel.tail(slot.cursor());
        let crowd = self
            .crowds
            .entry(channel.epoch)
            .or_insert_with(|| Crowd { members: Vec::new(), told: tail.next() });
        if alone {
            // What it has not been told by now, because it is behind, is its own loss.
            post.passed.store(tail.next(), Ordering::Release);
            channel.passed.notify_waiters();
        }
        slot.seat = crowd.members.len() as u32;
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() as u32 - 1
        });
        crowd.members.push(index);
        // What was sent to it may be too much for it at once: registered first, the kernel tells when there is room.
        let flags = EventFlags::IN | EventFlags::RDHUP | EventFlags::OUT | EventFlags::ET;
        let added = epoll::add(&*self.epoll, slot.socket(), EventData::new_u64(index.into()), flags);
        let pumped = match added {
            Ok(()) if self.draining => slot.pump(&tail, self.now).and(Err(Out::Farewell(Farewell::Draining))),
            Ok(()) => slot.pump(&tail, self.now),
            Err(_) => Err(Out::Gone),
        };
        self.slots[index as usize] = Some(slot);
        self.settle(index, pumped);
    }

    /// Something has happened at a slot's socket.
    pub(super) fn stir(&mut self, index: u32, flags: EventFlags) {
        // It may be gone since.
        let Some(slot) = self.slots.get_mut(index as usize).and_then(Option::as_mut) else { return };
        let mut result = Ok(());
        if flags.intersects(EventFlags::IN | EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR) {
            result = slot.hear(&mut self.scratch, self.now);
        }
        if result.is_ok()
            && slot.is_behind()
            && let Some(place) = &slot.place
        {
            let tail = place.channel.tail(slot.cursor());
            result = slot.pump(&tail, self.now);
        }
        self.settle(index, result);
    }

    /// Tells all subscribers of a channel what is new.
    pub(super) fn tell(&mut self, channel: &Arc<Channel>) {
        let post = &channel.posts[self.index];
        post.called.store(false, Ordering::SeqCst);
        let Some(crowd) = self.crowds.get_mut(&channel.epoch) else { return };
        let tail = channel.tail(crowd.told);
        crowd.told = tail.next();
        let mut out = Vec::new();
        for &index in &crowd.members {
            let Some(slot) = self.slots[index as usize].as_mut() else { continue };
            // Who is behind comes on its own when it has room, unless it is too late for that.
            let result = match slot.is_behind() {
                true if slot.cursor() < tail.kept => Err(Out::Slow),
                true => Ok(()),
                false => slot.pump(&tail, self.now),
            };
            if let Err(why) = result {
                out.push((index, why));
            }
        }
        post.passed.store(tail.next(), Ordering::Release);
        channel.passed.notify_waiters();
        for (index, why) in out {
            self.settle(index, Err(why));
        }
    }

    /// A tick has passed.
    pub(super) fn tick(&mut self) {
        self.now = self.now.saturating_add(1);
        let (now, stall) = (self.now, self.ticks(STALL));
        while let Some(&(until, index)) = self.leaving.front()
            && until <= now
        {
            self.leaving.pop_front();
            // Somebody else may be there by now.
            let here = self.slots[index as usize].as_ref();
            if here.is_some_and(|slot| slot.place.is_none() && slot.until == until) {
                self.vacate(index);
            }
        }
        for index in ((now % PHASES) as usize..self.slots.len()).step_by(PHASES as usize) {
            let Some(slot) = self.slots[index].as_mut().filter(|slot| slot.place.is_some()) else { continue };
            let result = if slot.is_stalled(now, stall) {
                Err(Out::Slow)
            } else if now >= slot.until && !slot.is_behind() {
                Err(Out::Farewell(Farewell::Lifetime))
            } else {
                slot.beat(now)
            };
            self.settle(index as u32, result);
        }
        self.tidy();
    }

    /// Sends away whoever is in these slots.
    pub(super) fn dismiss(&mut self, slots: std::ops::Range<usize>) {
        for index in slots.start..slots.end.min(self.slots.len()) {
            if self.slots[index].as_ref().is_some_and(|slot| slot.place.is_some()) {
                self.settle(index as u32, Err(Out::Farewell(Farewell::Draining)));
            }
        }
    }

    /// Does what a slot's result asks for.
    fn settle(&mut self, index: u32, result: Result<(), Out>) {
        let Err(why) = result else { return };
        self.unseat(index);
        let until = self.now.saturating_add(self.ticks(LINGER));
        let Some(slot) = self.slots[index as usize].as_mut() else { return };
        let was_here = slot.place.take().is_some();
        match why {
            Out::Slow if was_here => {
                let client = slot.peer().map(tracing::field::display);
                tracing::info!(client, reason = "it does not read", "subscriber closed");
            }
            Out::Farewell(Farewell::Refused(code, reason)) => {
                let client = slot.peer().map(tracing::field::display);
                tracing::info!(client, code, reason, "subscriber closed");
            }
            _ => {}
        }
        if let Out::Farewell(farewell) = why
            && was_here
            && slot.leave(farewell)
        {
            slot.until = until;
            self.leaving.push_back((until, index));
        } else {
            self.vacate(index);
        }
    }

    /// Takes a subscriber out of its channel's.
    fn unseat(&mut self, index: u32) {
        let Some(slot) = self.slots[index as usize].as_ref() else { return };
        let Some(place) = &slot.place else { return };
        let (channel, seat) = (Arc::clone(&place.channel), slot.seat);
        let Some(crowd) = self.crowds.get_mut(&channel.epoch) else { return };
        crowd.members.swap_remove(seat as usize);
        if let Some(&moved) = crowd.members.get(seat as usize)
            && let Some(slot) = self.slots[moved as usize].as_mut()
        {
            slot.seat = seat;
        }
        if crowd.members.is_empty() {
            self.crowds.remove(&channel.epoch);
        }
        if channel.posts[self.index].members.fetch_sub(1, Ordering::SeqCst) == 1 {
            // Publishers need not wait for it any more.
            channel.passed.notify_waiters();
        }
    }

    /// Closes a slot's socket.
    fn vacate(&mut self, index: u32) {
        if self.slots[index as usize].take().is_some() {
            self.free.push(index);
        }
    }

    /// Gives memory back once most have left.
    fn tidy(&mut self) {
        if self.slots.len() > SPARE && self.free.len() == self.slots.len() {
            self.slots = Vec::new();
            self.free = Vec::new();
            self.leaving = VecDeque::new();
            self.crowds.shrink_to_fit();
        }
    }
}

impl Drop for Keeper {
    /// Without it, publishers would wait for whoever is not here any more.
    fn drop(&mut self) {
        for index in 0..self.slots.len() {
            self.unseat(index as u32);
        }
    }
}

/// How long a tick is.
pub(super) fn tick(settings: &Settings) -> Duration {
    (settings.heartbeat / PHASES).max(Duration::from_millis(1))
}
