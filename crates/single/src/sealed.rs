//! Bytes in memory that can no longer change.
//!
//! A short content lies in the program's heap and is sent together with the response head. A longer
//! one lies in an anonymous file (memfd_create(2)) that is sealed against writing, growing and
//! shrinking: it is sent by `sendfile`, and does not count as resident memory of the process.

use std::fmt;
use std::io;
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use outflow_content::{Content, Feed, FileSource, FileSpan, OpenFile, SpanError, Wait};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;

use crate::sys;

/// Longest content, in bytes, that lies in the heap: up to here copying costs less than `sendfile`
/// (measured in `bench/README.md`).
const MAX_HEAP: u64 = 32 * 1024;

/// Lengths, in bytes, for which huge pages pay. A shorter content fills too little of one; a longer
/// one takes too long to copy before it can be served.
const HUGE_PAGE_LENGTHS: RangeInclusive<u64> = 64 * 1024..=64 * 1024 * 1024;

/// The file's name in messages and in /proc.
const NAME: &str = "outflow-content";

/// Length of the chunks for an engine that cannot send from a descriptor, in bytes.
const CHUNK: usize = 64 * 1024;

/// Bytes that can no longer change, and their hash. Clones share them.
#[derive(Clone)]
pub struct SealedBytes {
    storage: SealedStorage,
    len: u64,
    hash: blake3::Hash,
}

#[derive(Clone)]
enum SealedStorage {
    Heap(Bytes),
    Memfd(Arc<SealedMemfd>),
}

/// A sealed file in memory.
struct SealedMemfd(OwnedFd);

/// Collects the bytes of a [`SealedBytes`].
pub struct SealedBytesBuilder {
    memfd: OwnedFd,
    hasher: blake3::Hasher,
    len: u64,
}

impl SealedBytesBuilder {
    /// Starts without bytes.
    ///
    /// # Errors
    /// When the kernel cannot create a file in memory.
    pub fn new() -> io::Result<SealedBytesBuilder> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let memfd = match rustix::fs::memfd_create(NAME, flags | MemfdFlags::NOEXEC_SEAL) {
            // NOEXEC_SEAL came with Linux 6.3.
            Err(Errno::INVAL) => rustix::fs::memfd_create(NAME, flags),
            result => result,
        };
        Ok(SealedBytesBuilder { memfd: memfd?, hasher: blake3::Hasher::new(), len: 0 })
    }

    /// Appends `bytes`.
    ///
    /// # Errors
    /// When memory is short.
    pub fn push(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        while !bytes.is_empty() {
            match rustix::io::pwrite(&self.memfd, bytes, self.len) {
                Ok(n) => {
                    bytes = &bytes[n..];
                    self.len += n as u64;
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    /// Number of bytes so far.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are no bytes yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Seals the bytes.
    ///
    /// # Errors
    /// When the kernel cannot seal the file, or cannot read it.
    pub fn seal(self) -> io::Result<SealedBytes> {
        let SealedBytesBuilder { memfd, hasher, len } = self;
        if HUGE_PAGE_LENGTHS.contains(&len)
            && let Err(error) = sys::collapse_into_huge_pages(memfd.as_fd(), len as usize)
        {
            tracing::debug!(%error, "the content stays in small pages");
        }
        let all = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
        rustix::fs::fcntl_add_seals(&memfd, all)?;
        let memfd = SealedMemfd(memfd);
        let storage = if len <= MAX_HEAP {
            let mut bytes = vec![0; len as usize];
            memfd.read(0, &mut bytes)?;
            SealedStorage::Heap(bytes.into())
        } else {
            SealedStorage::Memfd(Arc::new(memfd))
        };
        Ok(SealedBytes { storage, len, hash: hasher.finalize() })
    }
}

impl SealedBytes {
    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// BLAKE3 of all bytes.
    #[must_use]
    pub fn hash(&self) -> blake3::Hash {
        self.hash
    }

    /// The bytes as a content without header fields.
    pub(super) fn content(&self) -> Content {
        match &self.storage {
            SealedStorage::Heap(bytes) => Content::bytes(bytes.clone()),
            SealedStorage::Memfd(memfd) => {
                let file = Arc::new(MemfdSource(Arc::clone(memfd)));
                Content::files([FileSpan { file, offset: 0, len: self.len }])
            }
        }
    }

    /// A reader from the first byte to the last.
    pub(super) fn reader(&self) -> impl io::Read + use<> {
        SealedReader { sealed: self.clone(), at: 0 }
    }

    /// Fills part of `into` with the bytes from `offset` on; returns 0 at the end.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        match &self.storage {
            SealedStorage::Heap(bytes) => {
                let from = usize::try_from(offset).map_or(&[][..], |at| bytes.get(at..).unwrap_or_default());
                let n = from.len().min(into.len());
                into[..n].copy_from_slice(&from[..n]);
                Ok(n)
            }
            SealedStorage::Memfd(memfd) => memfd.read_some(offset, into),
        }
    }
}

impl fmt::Debug for SealedBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealedBytes").field("len", &self.len).field("hash", &self.hash.to_hex()).finish()
    }
}

struct SealedReader {
    sealed: SealedBytes,
    at: u64,
}

impl io::Read for SealedReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let n = self.sealed.read_at(self.at, into)?;
        self.at += n as u64;
        Ok(n)
    }
}

impl SealedMemfd {
    fn read_some(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        loop {
            match rustix::io::pread(&self.0, &mut *into, offset) {
                Err(Errno::INTR) => {}
                result => return Ok(result?),
            }
        }
    }

    fn read(&self, mut offset: u64, mut into: &mut [u8]) -> io::Result<()> {
        while !into.is_empty() {
            match self.read_some(offset, into)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => {
                    into = &mut into[n..];
                    offset += n as u64;
                }
            }
        }
        Ok(())
    }
}

impl OpenFile for SealedMemfd {
    fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    fn verify(&self) -> Result<(), SpanError> {
        Ok(())
    }

    fn name(&self) -> String {
        NAME.to_owned()
    }

    fn is_sealed(&self) -> bool {
        true
    }
}

/// The file in memory behind a content's spans. It stays open as long as one of them exists.
struct MemfdSource(Arc<SealedMemfd>);

impl fmt::Debug for MemfdSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(NAME)
    }
}

impl FileSource for MemfdSource {
    fn open(&self, _: Wait) -> Result<Arc<dyn OpenFile>, SpanError> {
        Ok(Arc::clone(&self.0) as Arc<dyn OpenFile>)
    }

    fn feed(&self, offset: u64, len: u64) -> Box<dyn Feed> {
        Box::new(MemfdFeed { memfd: Arc::clone(&self.0), at: offset, left: len })
    }
}

/// The bytes chunk by chunk. Reading them does not block, because they are in memory.
struct MemfdFeed {
    memfd: Arc<SealedMemfd>,
    at: u64,
    left: u64,
}

impl Feed for MemfdFeed {
    fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, SpanError>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let mut chunk = vec![0; usize::try_from(self.left).map_or(CHUNK, |left| left.min(CHUNK))];
        if let Err(source) = self.memfd.read(self.at, &mut chunk) {
            let (name, offset) = (NAME.to_owned(), self.at);
            return Poll::Ready(Some(Err(SpanError::Read { name, offset, source })));
        }
        self.at += chunk.len() as u64;
        self.left -= chunk.len() as u64;
        Poll::Ready(Some(Ok(chunk.into())))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn sealed(bytes: &[u8]) -> SealedBytes {
        let mut builder = SealedBytesBuilder::new().unwrap();
        bytes.chunks(1000).for_each(|chunk| builder.push(chunk).unwrap());
        assert_eq!(builder.len(), bytes.len() as u64);
        builder.seal().unwrap()
    }

    #[test]
    fn what_goes_in_comes_out_wherever_it_is_kept() {
        for len in [0, 1, MAX_HEAP as usize, MAX_HEAP as usize + 1, 300_000] {
            let bytes: Vec<u8> = (0..len).map(|at| (at % 251) as u8).collect();
            let sealed = sealed(&bytes);
            let mut out = Vec::new();
            sealed.reader().read_to_end(&mut out).unwrap();
            assert_eq!(out, bytes);
            assert_eq!(sealed.hash(), blake3::hash(&bytes));
            assert_eq!(sealed.content().len(), len as u64);
        }
    }

    #[test]
    fn nobody_can_change_what_is_sealed() {
        let SealedStorage::Memfd(memfd) = sealed(&[1; 100_000]).storage else { panic!("it is not small") };
        assert_eq!(rustix::io::pwrite(&memfd.0, b"x", 0), Err(Errno::PERM));
        assert_eq!(rustix::fs::ftruncate(&memfd.0, 1), Err(Errno::PERM));
        assert_eq!(rustix::fs::ftruncate(&memfd.0, 1_000_000), Err(Errno::PERM));
        assert_eq!(rustix::fs::fcntl_add_seals(&memfd.0, SealFlags::FUTURE_WRITE), Err(Errno::PERM));
    }

    #[test]
    fn as_a_feed_it_has_the_bytes_of_the_range() {
        let bytes: Vec<u8> = (0..200_000_u32).map(|at| (at % 251) as u8).collect();
        let SealedStorage::Memfd(memfd) = sealed(&bytes).storage else { panic!("it is not small") };
        let mut feed = MemfdSource(memfd).feed(5, 150_000);
        let mut out = Vec::new();
        let mut cx = Context::from_waker(std::task::Waker::noop());
        while let Poll::Ready(Some(chunk)) = feed.poll_next(&mut cx) {
            out.extend_from_slice(&chunk.unwrap());
        }
        assert_eq!(out, bytes[5..150_005]);
    }
}
