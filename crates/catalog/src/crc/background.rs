//! A thread that learns CRC-32s of files before they are needed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use outflow_fs::EntryKind;
use parking_lot::{Condvar, Mutex};

use crate::crc::cache::CrcCache;
use crate::crc::metrics::CrcReason;
use crate::tree::{LearnedCrc32, Tree};

/// Maximum number of trees that wait for the thread. A further one is dropped; the next request
/// offers it again.
///
/// Bound: archives.
const WAITING: usize = 8;

/// Ratio of the time at rest to the time at work.
const REST: u32 = 4;

/// Reads the files of trees whose CRC-32 is not known, one at a time, at a low priority and with
/// rests. Dropping it ends the thread after the current chunk.
#[derive(Debug)]
pub struct Background {
    queue: SyncSender<Arc<Tree>>,
    stop: Arc<BackgroundStop>,
}

#[derive(Debug, Default)]
struct BackgroundStop {
    now: AtomicBool,
    lock: Mutex<()>,
    wake: Condvar,
}

impl Background {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system's error if it cannot start a thread.
    pub fn start(cache: Arc<CrcCache>) -> std::io::Result<Background> {
        let (queue, trees) = sync_channel(WAITING);
        let stop = Arc::new(BackgroundStop::default());
        let seen = Arc::clone(&stop);
        std::thread::Builder::new()
            .name("crc-background".to_owned())
            .spawn(move || run(&cache, &trees, &seen))?;
        Ok(Background { queue, stop })
    }

    /// Queues a tree whose files' CRC-32s are to be learned. Never blocks; false if too many trees
    /// wait already.
    pub fn enqueue(&self, tree: &Arc<Tree>) -> bool {
        self.queue.try_send(Arc::clone(tree)).is_ok()
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.stop.now.store(true, Ordering::Relaxed);
        self.stop.wake.notify_all();
    }
}

impl BackgroundStop {
    fn is_now(&self) -> bool {
        self.now.load(Ordering::Relaxed)
    }

    /// Sleeps until `time` has passed or the thread has to stop.
    fn rest(&self, time: Duration) {
        let mut guard = self.lock.lock();
        let _ = self.wake.wait_while_for(&mut guard, |()| !self.is_now(), time);
    }
}

fn run(cache: &CrcCache, trees: &Receiver<Arc<Tree>>, stop: &BackgroundStop) {
    // On Linux this concerns only this thread. It works without, too.
    let _ = rustix::process::setpriority_process(None, 19);
    let mut pace = BackgroundPace { stop, busy_since: Instant::now() };
    while let Ok(tree) = trees.recv() {
        // A tree that does not fit would evict its own files again.
        if tree.files() <= cache.capacity() / 2 {
            pace.busy_since = Instant::now();
            fill(cache, &tree, &mut pace);
        }
        if stop.is_now() {
            return;
        }
    }
}

struct BackgroundPace<'a> {
    stop: &'a BackgroundStop,
    busy_since: Instant,
}

impl BackgroundPace<'_> {
    /// Rests in proportion to the work since the last rest; false if the thread has to stop.
    fn rest(&mut self) -> bool {
        let busy = self.busy_since.elapsed();
        if busy >= Duration::from_millis(1) {
            self.stop.rest(busy * REST);
            self.busy_since = Instant::now();
        }
        !self.stop.is_now()
    }
}

fn fill(cache: &CrcCache, tree: &Tree, pace: &mut BackgroundPace<'_>) {
    let _ = tree.visit(|entry| {
        let wanted = entry.kind == EntryKind::File && entry.size > 0;
        if wanted && tree.crc32(entry.index, cache).is_none() {
            match tree.opener().learn_crc32(tree.file(entry.index), &mut || pace.rest()) {
                LearnedCrc32::Known(file) => {
                    cache.computed(CrcReason::Background);
                    cache.insert(file.fingerprint, file.crc32);
                }
                LearnedCrc32::Nothing => {}
                LearnedCrc32::GiveUp => return Err(()),
            }
            if tree.is_remote() {
                // Waiting for an answer was no work.
                pace.busy_since = Instant::now();
            }
        }
        if pace.rest() { Ok(()) } else { Err(()) }
    });
}
