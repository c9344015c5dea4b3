//! The CRC-32s of files, known by the files' identity.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use outflow_content::{OpenFile as _, SpanError, Wait};
use tokio::sync::{Semaphore, watch};

use crate::feed::CHUNK;
use crate::{Key, LazyFile, LocalFile, Memo, Object, Store, TreeFile};

/// Remembers the CRC-32 of files in a [`Memo`], and computes it where it is missing.
#[derive(Debug)]
pub struct CrcCache {
    memo: Memo,
    flights: Mutex<HashMap<Key, watch::Sender<Flight>>>,
    /// How many files are read at the same time only to know their CRC.
    readers: Arc<Semaphore>,
}

#[derive(Clone, Copy, Debug)]
enum Flight {
    Reading,
    Landed(u32),
    Failed,
}

impl CrcCache {
    /// A cache that keeps what it learns in `memo`.
    #[must_use]
    pub fn new(memo: Memo) -> CrcCache {
        let readers = std::thread::available_parallelism().map_or(1, usize::from).min(4);
        CrcCache { memo, flights: Mutex::default(), readers: Arc::new(Semaphore::new(readers)) }
    }

    /// How many files it remembers at the most.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.memo.capacity()
    }

    /// The CRC-32 of a file, if known.
    #[must_use]
    pub fn get(&self, key: Key) -> Option<u32> {
        self.memo.get(key)
    }

    /// Remembers the CRC-32 of a file.
    pub fn insert(&self, key: Key, crc: u32) {
        self.memo.insert(key, crc);
    }

    /// A number that grows whenever something is learned.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.memo.version()
    }

    /// The CRC-32 of `file`: remembered, or computed by reading it. However many ask at
    /// the same time, it is read once; when none of them waits any more, reading ends.
    ///
    /// # Errors
    /// [`SpanError`] when it cannot be read, or was changed meanwhile.
    pub async fn compute(self: Arc<Self>, file: impl Into<TreeFile>) -> Result<u32, SpanError> {
        let file = file.into();
        let key = file.key();
        loop {
            if let Some(crc) = self.get(key) {
                return Ok(crc);
            }
            let (leader, mut flight) = self.board(key);
            if let Some(leader) = leader {
                let answer = match file {
                    TreeFile::Local(file) => leader.read(file).await,
                    TreeFile::Remote { store, object, .. } => leader.fetch(store, object).await,
                };
                // Until here this receiver said that somebody waits.
                drop(flight);
                return answer;
            }
            // Closed without landing, or failed: the next one to ask reads for itself, and has an error of
            // its own if there is one.
            let landed = flight.wait_for(|flight| !matches!(flight, Flight::Reading)).await;
            if let Ok(state) = landed
                && let Flight::Landed(crc) = *state
            {
                return Ok(crc);
            }
        }
    }

    /// Joins whoever reads the file of `key` already, or becomes the one who does.
    fn board(self: &Arc<Self>, key: Key) -> (Option<Leader>, watch::Receiver<Flight>) {
        let mut flights = lock(&self.flights);
        if let Some(flight) = flights.get(&key) {
            return (None, flight.subscribe());
        }
        let (sender, receiver) = watch::channel(Flight::Reading);
        flights.insert(key, sender.clone());
        (Some(Leader { cache: Arc::clone(self), key, sender }), receiver)
    }
}

/// The one who reads. Dropping it without landing is a failure, and lets the next one try.
struct Leader {
    cache: Arc<CrcCache>,
    key: Key,
    sender: watch::Sender<Flight>,
}

impl Leader {
    async fn read(self, file: LazyFile) -> Result<u32, SpanError> {
        let name = file.path().to_string();
        let other = |source: Box<dyn std::error::Error + Send + Sync>| SpanError::Other { name, source };
        let permit = match Arc::clone(&self.cache.readers).acquire_owned().await {
            Ok(permit) => permit,
            Err(closed) => return Err(other(closed.into())),
        };
        let reading = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let file = file.open_local(Wait::Yes)?;
            let crc = crc_of(&file, || self.sender.receiver_count() > 0)?;
            self.cache.insert(Key::of_file(&file.identity()), crc);
            self.cache.insert(self.key, crc);
            self.sender.send_replace(Flight::Landed(crc));
            Ok(crc)
        });
        reading.await.map_err(|gone| other(gone.into()))?
    }

    /// Asks the store, which may have to send all of the object.
    async fn fetch(self, store: Store, object: Arc<Object>) -> Result<u32, SpanError> {
        let name = object.key.clone();
        let other = |source: Box<dyn std::error::Error + Send + Sync>| SpanError::Other { name, source };
        let permit = match Arc::clone(&self.cache.readers).acquire_owned().await {
            Ok(permit) => permit,
            Err(closed) => return Err(other(closed.into())),
        };
        // In a task of its own: whoever asked first may go away while others wait.
        let fetching = tokio::spawn(async move {
            let _permit = permit;
            let crc = tokio::select! {
                crc = store.compute_crc32(Arc::clone(&object)) => crc?,
                () = self.sender.closed() => return Err(given_up(object.key.clone(), 0)),
            };
            self.cache.insert(self.key, crc);
            self.sender.send_replace(Flight::Landed(crc));
            Ok(crc)
        });
        fetching.await.map_err(|gone| other(gone.into()))?
    }
}

fn given_up(name: String, offset: u64) -> SpanError {
    let source = io::Error::new(io::ErrorKind::Interrupted, "reading was given up");
    SpanError::Read { name, offset, source }
}

impl Drop for Leader {
    fn drop(&mut self) {
        lock(&self.cache.flights).remove(&self.key);
        self.sender.send_if_modified(|flight| {
            let failed = matches!(flight, Flight::Reading);
            if failed {
                *flight = Flight::Failed;
            }
            failed
        });
    }
}

/// Reads a whole file, and makes sure that it was one and the same all the while. Blocks.
pub(crate) fn crc_of(file: &LocalFile, mut go_on: impl FnMut() -> bool) -> Result<u32, SpanError> {
    let mut hasher = crc32fast::Hasher::new();
    let mut buffer = vec![0; usize::try_from(file.size()).unwrap_or(CHUNK).clamp(1, CHUNK)];
    let mut offset = 0;
    while offset < file.size() {
        if !go_on() {
            return Err(given_up(file.name(), offset));
        }
        let left = usize::try_from(file.size() - offset).unwrap_or(usize::MAX).min(buffer.len());
        let read = file.read_at(&mut buffer[..left], offset)?;
        if read == 0 {
            return Err(file.truncated(offset, file.size() - offset));
        }
        hasher.update(&buffer[..read]);
        offset += read as u64;
    }
    file.verify()?;
    Ok(hasher.finalize())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
