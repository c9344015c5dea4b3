//! The CRC-32s of files, known by the files' identity.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use outflow_content::{OpenFile as _, SpanError, Wait};
use tokio::sync::{Semaphore, watch};

use crate::crc_file::CrcFile;
use crate::feed::CHUNK;
use crate::{Identity, LazyFile, LocalFile};

/// 96 bits that stand for a file's [`Identity`]: a hash, so that it takes little room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct CrcKey(pub(crate) [u32; 3]);

impl CrcKey {
    /// The key of a file.
    #[must_use]
    pub fn of(identity: &Identity) -> CrcKey {
        let mut hasher = blake3::Hasher::new();
        for word in [
            identity.dev,
            identity.ino,
            identity.size,
            identity.mtime.cast_unsigned(),
            identity.ctime.cast_unsigned(),
        ] {
            hasher.update(&word.to_le_bytes());
        }
        let hash = hasher.finalize();
        let mut words = [0; 3];
        for (word, bytes) in words.iter_mut().zip(hash.as_bytes().as_chunks::<4>().0) {
            *word = u32::from_le_bytes(*bytes);
        }
        CrcKey(words)
    }

    /// A folder's place, whatever its times: by this a walk notices that it goes in circles.
    pub(crate) fn of_folder(identity: &Identity) -> CrcKey {
        CrcKey::of(&Identity { size: 0, mtime: 0, ctime: 0, ..*identity })
    }

    fn halves(self) -> (u64, u32) {
        (u64::from(self.0[0]) << 32 | u64::from(self.0[1]), self.0[2])
    }
}

/// Remembers the CRC-32 of files, in memory and, where it may, on disk. Several processes may share the
/// folder on disk.
///
/// Bounded: after [`CrcCache::capacity`] files the older half is forgotten; each takes about 40 bytes of
/// memory and 20 on disk.
#[derive(Debug)]
pub struct CrcCache {
    known: Mutex<Known>,
    file: Mutex<Option<CrcFile>>,
    flights: Mutex<HashMap<CrcKey, watch::Sender<Flight>>>,
    /// How many files are read at the same time only to know their CRC.
    readers: Arc<Semaphore>,
    capacity: usize,
}

/// Two generations: when the young one is full it becomes the old one, and the old one is forgotten.
#[derive(Debug, Default)]
struct Known {
    young: HashMap<u64, (u32, u32)>,
    old: HashMap<u64, (u32, u32)>,
}

#[derive(Clone, Copy, Debug)]
enum Flight {
    Reading,
    Landed(u32),
    Failed,
}

impl CrcCache {
    /// How many files are remembered by default.
    pub const CAPACITY: usize = 1_000_000;

    /// A cache without a place on disk.
    #[must_use]
    pub fn in_memory(capacity: usize) -> CrcCache {
        let readers = std::thread::available_parallelism().map_or(1, usize::from).min(4);
        CrcCache {
            known: Mutex::default(),
            file: Mutex::default(),
            flights: Mutex::default(),
            readers: Arc::new(Semaphore::new(readers)),
            capacity: capacity.max(2),
        }
    }

    /// A cache that keeps what it learns in `folder`, which is made if it is not there. Blocks.
    ///
    /// # Errors
    /// What the system says when the folder cannot be made or the file in it not be read or written. The
    /// caller may go on with one [in memory](CrcCache::in_memory).
    pub fn open(folder: &Path, capacity: usize) -> io::Result<CrcCache> {
        let mut cache = CrcCache::in_memory(capacity);
        let known = cache.known.get_mut().unwrap_or_else(PoisonError::into_inner);
        let half = cache.capacity / 2;
        let file = CrcFile::open(folder, cache.capacity, |key, crc| known.insert(key, crc, half))?;
        cache.file = Mutex::new(Some(file));
        Ok(cache)
    }

    /// How many files it remembers at the most.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// The CRC-32 of a file, if known.
    #[must_use]
    pub fn get(&self, key: CrcKey) -> Option<u32> {
        lock(&self.known).get(key, self.capacity / 2)
    }

    /// Remembers the CRC-32 of a file. Writes 20 bytes to a file: short enough not to count as blocking.
    pub fn insert(&self, key: CrcKey, crc: u32) {
        {
            let mut known = lock(&self.known);
            if known.get(key, self.capacity / 2) == Some(crc) {
                return;
            }
            known.insert(key, crc, self.capacity / 2);
        }
        let mut file = lock(&self.file);
        if let Some(open) = file.as_mut()
            && let Err(error) = open.append(key, crc)
        {
            tracing::warn!(%error, "CRC-32s are kept in memory only from here on: the cache cannot be written");
            *file = None;
        }
    }

    /// The CRC-32 of `file`, known by `key`: remembered, or computed by reading it. However many ask at
    /// the same time, it is read once; when none of them waits any more, reading ends.
    ///
    /// # Errors
    /// [`SpanError`] when it cannot be read, or was changed meanwhile.
    pub async fn compute(self: Arc<Self>, file: LazyFile, key: CrcKey) -> Result<u32, SpanError> {
        loop {
            if let Some(crc) = self.get(key) {
                return Ok(crc);
            }
            let (leader, mut flight) = self.board(key);
            if let Some(leader) = leader {
                let answer = leader.read(file).await;
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
    fn board(self: &Arc<Self>, key: CrcKey) -> (Option<Leader>, watch::Receiver<Flight>) {
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
    key: CrcKey,
    sender: watch::Sender<Flight>,
}

impl Leader {
    async fn read(self, file: LazyFile) -> Result<u32, SpanError> {
        let name = format!("{file:?}");
        let other = |source: Box<dyn std::error::Error + Send + Sync>| SpanError::Other { name, source };
        let permit = match Arc::clone(&self.cache.readers).acquire_owned().await {
            Ok(permit) => permit,
            Err(closed) => return Err(other(closed.into())),
        };
        let reading = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let file = file.open_local(Wait::Yes)?;
            let crc = crc_of(&file, || self.sender.receiver_count() > 0)?;
            self.cache.insert(CrcKey::of(&file.identity()), crc);
            self.cache.insert(self.key, crc);
            self.sender.send_replace(Flight::Landed(crc));
            Ok(crc)
        });
        reading.await.map_err(|gone| other(gone.into()))?
    }
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
            let source = io::Error::new(io::ErrorKind::Interrupted, "reading was given up");
            return Err(SpanError::Read { name: file.name(), offset, source });
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

impl Known {
    fn get(&mut self, key: CrcKey, half: usize) -> Option<u32> {
        let (short, check) = key.halves();
        if let Some((there, crc)) = self.young.get(&short) {
            return (*there == check).then_some(*crc);
        }
        let (there, crc) = *self.old.get(&short)?;
        if there != check {
            return None;
        }
        // What is asked for stays young.
        self.insert(key, crc, half);
        Some(crc)
    }

    fn insert(&mut self, key: CrcKey, crc: u32, half: usize) {
        let (short, check) = key.halves();
        if self.young.len() >= half && !self.young.contains_key(&short) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(short, (check, crc));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u32) -> CrcKey {
        CrcKey([number, 1, 2])
    }

    #[test]
    fn every_field_is_part_of_the_key() {
        let base = Identity { dev: 1, ino: 2, size: 3, mtime: 4, ctime: 5 };
        let others = [
            Identity { dev: 9, ..base },
            Identity { ino: 9, ..base },
            Identity { size: 9, ..base },
            Identity { mtime: 9, ..base },
            Identity { ctime: 9, ..base },
        ];
        assert!(others.iter().all(|other| CrcKey::of(other) != CrcKey::of(&base)));
    }

    #[test]
    fn memory_is_bounded_and_what_is_used_stays() {
        let cache = CrcCache::in_memory(100);
        for number in 0..1_000 {
            cache.insert(key(number), number);
            assert_eq!(cache.get(key(0)), Some(0), "after {number}");
        }
        let known = lock(&cache.known);
        assert!(known.young.len() + known.old.len() <= 100);
        drop(known);
        assert_eq!(cache.get(key(999)), Some(999));
        assert_eq!(cache.get(key(500)), None);
    }
}
