//! A thread that serves the plain connections of one shard with epoll. It sleeps while nothing
//! happens.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};

use super::shard::{Shard, tick_duration};
pub(crate) use super::subscriber::NewSubscriber;
use super::wire_format::DRAIN_SPREAD;
use crate::channel::log::Channel;
use crate::settings::ChannelSettings;

/// epoll's data for the descriptor that wakes the thread. Slots have smaller numbers.
const WAKE: u64 = u64::MAX;
/// Number of events that one call of epoll_wait(2) returns.
const MAX_EVENTS: usize = 512;
/// Interval in which a draining reactor closes the next part of its subscribers.
const DRAIN_STEP: Duration = Duration::from_millis(50);

enum ReactorCommand {
    Join(NewSubscriber),
    /// The channel has new events, or has ended.
    Deliver(Arc<Channel>),
    Drain,
    Stop,
}

/// Owns the thread, which stops when this is dropped.
pub(crate) struct Reactor(Arc<ReactorQueue>);

/// Sends commands to the thread without owning it.
pub(crate) struct ReactorHandle(Arc<ReactorQueue>);

struct ReactorQueue {
    wake: OwnedFd,
    /// Whether the thread has been woken and has not taken the commands yet.
    woken: AtomicBool,
    commands: Mutex<Vec<ReactorCommand>>,
    /// Number of subscribers, including those that are about to join.
    load: AtomicUsize,
}

impl ReactorQueue {
    fn push(&self, command: ReactorCommand) {
        self.commands.lock().push(command);
        if !self.woken.swap(true, Ordering::SeqCst) {
            // Cannot fail: the counter never gets near its limit.
            let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
        }
    }

    fn take(&self) -> Vec<ReactorCommand> {
        self.woken.store(false, Ordering::SeqCst);
        std::mem::take(&mut *self.commands.lock())
    }
}

impl Reactor {
    pub(crate) fn start(index: usize, settings: &ChannelSettings) -> io::Result<Reactor> {
        let epoll = Arc::new(epoll::create(CreateFlags::CLOEXEC)?);
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        epoll::add(&*epoll, &wake, EventData::new_u64(WAKE), EventFlags::IN)?;
        let queue = Arc::new(ReactorQueue {
            wake,
            woken: AtomicBool::new(false),
            commands: Mutex::default(),
            load: AtomicUsize::new(0),
        });
        let shard = Shard::new(index, Arc::clone(&epoll), settings);
        let (tick, commands) = (tick_duration(settings), Arc::clone(&queue));
        let name = format!("channels-{index}");
        std::thread::Builder::new().name(name).spawn(move || {
            if let Err(error) = run(&epoll, shard, tick, &commands) {
                tracing::error!(%error, "a thread that serves subscribers has failed");
            }
        })?;
        Ok(Reactor(queue))
    }

    pub(crate) fn load(&self) -> usize {
        self.0.load.load(Ordering::Relaxed)
    }

    pub(crate) fn join(&self, new: NewSubscriber) {
        self.0.load.fetch_add(1, Ordering::Relaxed);
        self.0.push(ReactorCommand::Join(new));
    }

    pub(crate) fn deliver(&self, channel: Arc<Channel>) {
        self.0.push(ReactorCommand::Deliver(channel));
    }

    pub(crate) fn handle(&self) -> ReactorHandle {
        ReactorHandle(Arc::clone(&self.0))
    }
}

impl Drop for Reactor {
    fn drop(&mut self) {
        self.0.push(ReactorCommand::Stop);
    }
}

impl ReactorHandle {
    /// Closes all subscribers, a part at a time.
    pub(crate) fn drain(&self) {
        self.0.push(ReactorCommand::Drain);
    }
}

/// How far a draining reactor is with closing its subscribers.
struct DrainProgress {
    /// The first slot that has not been closed.
    next: usize,
    /// Number of slots to close in one step.
    step: usize,
    due: Instant,
}

fn run(epoll: &OwnedFd, mut shard: Shard, tick: Duration, queue: &ReactorQueue) -> io::Result<()> {
    let mut events = Vec::with_capacity(MAX_EVENTS);
    let mut next = Instant::now() + tick;
    let mut drain: Option<DrainProgress> = None;
    loop {
        // Without subscribers, sleep until a command arrives.
        let due = if shard.len() == 0 {
            None
        } else {
            Some(drain.as_ref().map_or(next, |drain| drain.due.min(next)))
        };
        let timeout = due.map(|due| due.saturating_duration_since(Instant::now()));
        // A duration within a heartbeat always fits.
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        events.clear();
        match epoll::wait(epoll, spare_capacity(&mut events), timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            let (data, flags) = (event.data.u64(), event.flags);
            match u32::try_from(data) {
                Ok(slot) => shard.on_socket_event(slot, flags),
                Err(_) => {
                    let _ = rustix::io::read(&queue.wake, &mut [0; 8]);
                }
            }
        }
        // After all events: a subscriber that joins may reuse a slot that an event above was about.
        for command in queue.take() {
            match command {
                ReactorCommand::Join(new) => {
                    if shard.len() == 0 {
                        next = Instant::now() + tick;
                    }
                    shard.join(new);
                }
                ReactorCommand::Deliver(channel) => shard.deliver(&channel),
                ReactorCommand::Drain => {
                    shard.draining = true;
                    let steps = (DRAIN_SPREAD.as_millis() / DRAIN_STEP.as_millis()).max(1) as usize;
                    let step = shard.slots().div_ceil(steps);
                    drain = Some(DrainProgress { next: 0, step, due: Instant::now() });
                }
                ReactorCommand::Stop => return Ok(()),
            }
        }
        let now = Instant::now();
        if let Some(drain) = &mut drain
            && drain.due <= now
        {
            shard.drain(drain.next..drain.next + drain.step);
            drain.next += drain.step;
            drain.due = now + DRAIN_STEP;
        }
        if shard.len() > 0 && next <= now {
            shard.tick();
            // Ticks that were missed are not made up for.
            next = (next + tick).max(now);
        }
        queue.load.store(shard.len(), Ordering::Relaxed);
    }
}
