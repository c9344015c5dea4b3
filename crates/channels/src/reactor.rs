//! A thread that keeps plain subscribers: it waits for all their sockets at once, and does nothing while nothing happens.

use std::io;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use outflow_wire::ConnectionPermit;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};

use super::channel::Channel;
use super::event::Form;
use super::keeper::{Keeper, tick};
use super::limits::Place;
use super::{STAGGER, Settings};

/// What the kernel calls the descriptor by which others wake the thread. Slots have smaller numbers.
const WAKE: u64 = u64::MAX;
/// Events that are taken from the kernel at a time.
const EVENTS: usize = 512;
/// How often some are sent away while the server drains.
const STEP: Duration = Duration::from_millis(50);

/// Somebody whom the thread is to keep.
pub(super) struct Newcomer {
    pub(super) socket: TcpStream,
    pub(super) form: Form,
    pub(super) place: Place,
    /// The event that it hears first.
    pub(super) cursor: u64,
    /// What it is told before.
    pub(super) first: Vec<u8>,
    pub(super) counted: ConnectionPermit,
}

/// What the thread is told.
enum Word {
    Join(Newcomer),
    Told(Arc<Channel>),
    Drain,
    Stop,
}

/// The thread, as long as somebody has this.
pub(super) struct Reactor(Arc<Shared>);

/// Reaches the thread, without keeping it.
pub(super) struct Caller(Arc<Shared>);

struct Shared {
    wake: OwnedFd,
    /// It has been woken, and has not looked yet.
    woken: AtomicBool,
    words: Mutex<Vec<Word>>,
    /// How many it keeps, or is about to.
    load: AtomicUsize,
}

impl Shared {
    fn say(&self, word: Word) {
        self.words.lock().unwrap_or_else(PoisonError::into_inner).push(word);
        if !self.woken.swap(true, Ordering::SeqCst) {
            // Its counter is far from full.
            let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
        }
    }

    fn words(&self) -> Vec<Word> {
        self.woken.store(false, Ordering::SeqCst);
        std::mem::take(&mut *self.words.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Reactor {
    pub(super) fn start(index: usize, settings: &Settings) -> io::Result<Reactor> {
        let epoll = Arc::new(epoll::create(CreateFlags::CLOEXEC)?);
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        epoll::add(&*epoll, &wake, EventData::new_u64(WAKE), EventFlags::IN)?;
        let shared = Arc::new(Shared {
            wake,
            woken: AtomicBool::new(false),
            words: Mutex::default(),
            load: AtomicUsize::new(0),
        });
        let keeper = Keeper::new(index, Arc::clone(&epoll), settings);
        let (tick, its) = (tick(settings), Arc::clone(&shared));
        let name = format!("channels-{index}");
        std::thread::Builder::new().name(name).spawn(move || {
            if let Err(error) = run(&epoll, keeper, tick, &its) {
                tracing::error!(%error, "a thread that keeps subscribers has ended");
            }
        })?;
        Ok(Reactor(shared))
    }

    pub(super) fn load(&self) -> usize {
        self.0.load.load(Ordering::Relaxed)
    }

    pub(super) fn join(&self, newcomer: Newcomer) {
        self.0.load.fetch_add(1, Ordering::Relaxed);
        self.0.say(Word::Join(newcomer));
    }

    pub(super) fn tell(&self, channel: Arc<Channel>) {
        self.0.say(Word::Told(channel));
    }

    pub(super) fn caller(&self) -> Caller {
        Caller(Arc::clone(&self.0))
    }
}

impl Drop for Reactor {
    fn drop(&mut self) {
        self.0.say(Word::Stop);
    }
}

impl Caller {
    /// All subscribers are sent away, a few at a time.
    pub(super) fn drain(&self) {
        self.0.say(Word::Drain);
    }
}

/// How far the farewells of a draining server have come.
struct Drain {
    /// Slots before this one have been looked at.
    done: usize,
    share: usize,
    due: Instant,
}

fn run(epoll: &OwnedFd, mut keeper: Keeper, tick: Duration, shared: &Shared) -> io::Result<()> {
    let mut events = Vec::with_capacity(EVENTS);
    let mut next = Instant::now() + tick;
    let mut drain: Option<Drain> = None;
    loop {
        // Nobody there: nothing to be done until somebody calls.
        let due = if keeper.len() == 0 {
            None
        } else {
            Some(drain.as_ref().map_or(next, |drain| drain.due.min(next)))
        };
        let timeout = due.map(|due| due.saturating_duration_since(Instant::now()));
        // Times within a heartbeat always fit.
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        events.clear();
        match epoll::wait(epoll, spare_capacity(&mut events), timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            let (data, flags) = (event.data.u64(), event.flags);
            match u32::try_from(data) {
                Ok(index) => keeper.stir(index, flags),
                Err(_) => {
                    let _ = rustix::io::read(&shared.wake, &mut [0; 8]);
                }
            }
        }
        // Behind all events: none of them is about somebody who came into a place that has just become free.
        for word in shared.words() {
            match word {
                Word::Join(newcomer) => {
                    if keeper.len() == 0 {
                        next = Instant::now() + tick;
                    }
                    keeper.join(newcomer);
                }
                Word::Told(channel) => keeper.tell(&channel),
                Word::Drain => {
                    keeper.draining = true;
                    let steps = (STAGGER.as_millis() / STEP.as_millis()).max(1) as usize;
                    let share = keeper.slots().div_ceil(steps);
                    drain = Some(Drain { done: 0, share, due: Instant::now() });
                }
                Word::Stop => return Ok(()),
            }
        }
        let now = Instant::now();
        if let Some(drain) = &mut drain
            && drain.due <= now
        {
            keeper.dismiss(drain.done..drain.done + drain.share);
            drain.done += drain.share;
            drain.due = now + STEP;
        }
        if keeper.len() > 0 && next <= now {
            keeper.tick();
            // What was slept through is not made up for.
            next = (next + tick).max(now);
        }
        shared.load.store(keeper.len(), Ordering::Relaxed);
    }
}
