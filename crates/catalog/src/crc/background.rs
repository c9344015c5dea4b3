//! A thread that reads files in quiet times, so that their CRC-32s are known before they are needed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use outflow_content::Wait;

use crate::crc::crc_of;
use crate::{CrcCache, EntryKind, Key, LazyFile, Object, Store, StoreError, StoreErrorKind, Tree, TreeFile};

/// Trees that wait for the thread. A further one is left out; it comes again with the next request.
const WAITING: usize = 8;

/// For each moment of reading, this many moments of rest.
const REST: u32 = 4;

/// Reads the files of trees whose CRC-32 is not known, one at a time, at a low priority and with rests.
/// Dropping it ends the thread after the chunk that it is reading.
#[derive(Debug)]
pub struct Background {
    queue: SyncSender<Arc<Tree>>,
    stop: Arc<Stop>,
}

#[derive(Debug, Default)]
struct Stop {
    now: AtomicBool,
    lock: Mutex<()>,
    wake: Condvar,
}

impl Background {
    /// Starts the thread.
    ///
    /// # Errors
    /// What the system says when it has no thread to give.
    pub fn start(cache: Arc<CrcCache>) -> std::io::Result<Background> {
        let (queue, trees) = sync_channel(WAITING);
        let stop = Arc::new(Stop::default());
        let seen = Arc::clone(&stop);
        std::thread::Builder::new()
            .name("crc-background".to_owned())
            .spawn(move || run(&cache, &trees, &seen))?;
        Ok(Background { queue, stop })
    }

    /// Asks for the CRC-32s of a tree's files. Never waits; false when too many trees wait already, or
    /// when the cache could not hold them all.
    pub fn ask(&self, tree: &Arc<Tree>) -> bool {
        self.queue.try_send(Arc::clone(tree)).is_ok()
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.stop.now.store(true, Ordering::Relaxed);
        self.stop.wake.notify_all();
    }
}

impl Stop {
    fn is_now(&self) -> bool {
        self.now.load(Ordering::Relaxed)
    }

    /// Sleeps, unless it is time to stop.
    fn rest(&self, time: Duration) {
        let guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = self.wake.wait_timeout_while(guard, time, |()| !self.is_now());
    }
}

fn run(cache: &CrcCache, trees: &Receiver<Arc<Tree>>, stop: &Stop) {
    // Of this thread only, on Linux. Not being nice is no reason not to work.
    let _ = rustix::process::setpriority_process(None, 19);
    let mut pace = Pace { stop, busy_since: Instant::now() };
    while let Ok(tree) = trees.recv() {
        // A tree that does not fit would push its own files out again.
        if tree.files() <= cache.capacity() / 2 {
            pace.busy_since = Instant::now();
            fill(cache, &tree, &mut pace);
        }
        if stop.is_now() {
            return;
        }
    }
}

struct Pace<'a> {
    stop: &'a Stop,
    busy_since: Instant,
}

impl Pace<'_> {
    /// Rests for as long as the work since the last rest deserves; false when it is time to stop.
    fn rest(&mut self) -> bool {
        let busy = self.busy_since.elapsed();
        if busy >= Duration::from_millis(1) {
            self.stop.rest(busy * REST);
            self.busy_since = Instant::now();
        }
        !self.stop.is_now()
    }
}

fn fill(cache: &CrcCache, tree: &Tree, pace: &mut Pace<'_>) {
    let _ = tree.visit(|entry| {
        let wanted = entry.kind == EntryKind::File && entry.size > 0;
        if wanted && tree.crc32(entry.index, cache).is_none() {
            match tree.file(entry.index) {
                TreeFile::Local(file) => learn(cache, &file, pace),
                TreeFile::Remote { store, object, key } => ask(cache, &store, &object, key, pace)?,
            }
        }
        if pace.rest() { Ok(()) } else { Err(()) }
    });
}

fn learn(cache: &CrcCache, file: &LazyFile, pace: &mut Pace<'_>) {
    // What cannot be read now will say so when it is sent.
    let Ok(open) = file.open_local(Wait::Yes) else { return };
    if let Ok(crc) = crc_of(&open, || pace.rest()) {
        cache.insert(Key::of_file(&open.identity()), crc);
    }
}

/// A store may know the CRC-32 of an object. If not, the bytes are not fetched for it: that costs its owner money, and
/// the first whole download tells it as well. A store that fails is left alone.
fn ask(cache: &CrcCache, store: &Store, object: &Object, key: Key, pace: &mut Pace<'_>) -> Result<(), ()> {
    match store.wait(store.crc32(object)) {
        Ok(Some(crc)) => cache.insert(key, crc),
        Ok(None) | Err(StoreError { kind: StoreErrorKind::NotFound, .. }) => {}
        Err(_) => return Err(()),
    }
    // Waiting was no work.
    pace.busy_since = Instant::now();
    Ok(())
}
