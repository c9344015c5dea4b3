//! The primitives of the crate's `sync` module, under the control of `shuttle`. Time passes when
//! the scheduler likes: a timer is a few turns of the other tasks, a long one many, and sets the
//! clock forward when it ends.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

pub(crate) use shuttle::future::{AbortHandle, yield_now};
use shuttle::rand::Rng as _;
pub(crate) use shuttle::sync::MutexGuard;
pub(crate) use shuttle::sync::atomic::AtomicUsize;
// Whole under the scheduler: they never switch tasks while they hold a lock of their own.
pub(crate) use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// Turns of other tasks that a timer may take.
const TURNS: u32 = 4;

/// A timer of this length ends after everything else that can happen has happened.
const LONG: Duration = Duration::from_secs(15);

/// A mutex that is never poisoned: a panic ends the whole model.
#[derive(Default)]
pub(crate) struct Mutex<T>(shuttle::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Mutex<T> {
        Mutex(shuttle::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap()
    }
}

thread_local! {
    /// All tasks of a model run on one thread.
    static CLOCK: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// A point in the model's time.
#[derive(Clone, Copy)]
pub(crate) struct Instant(Duration);

impl Instant {
    pub(crate) fn now() -> Instant {
        Instant(CLOCK.get())
    }

    pub(crate) fn elapsed(&self) -> Duration {
        CLOCK.get() - self.0
    }
}

pub(crate) async fn sleep(time: Duration) {
    let end = CLOCK.get() + time;
    let turns = if time < LONG { shuttle::rand::thread_rng().gen_range(0..TURNS) } else { 1000 * TURNS };
    for _ in 0..turns {
        yield_now().await;
    }
    CLOCK.set(CLOCK.get().max(end));
}

/// The error of a timer that has run out.
pub(crate) struct Elapsed;

pub(crate) async fn timeout<T>(time: Duration, work: impl Future<Output = T>) -> Result<T, Elapsed> {
    let (mut work, mut timer) = (pin!(work), pin!(sleep(time)));
    poll_fn(|cx| {
        if let Poll::Ready(done) = work.as_mut().poll(cx) {
            return Poll::Ready(Ok(done));
        }
        timer.as_mut().poll(cx).map(|()| Err(Elapsed))
    })
    .await
}
