//! Bytes in memory that nobody can change any more.
//!
//! Few of them are kept by the program, and leave together with a response's head. More are kept by the kernel, in a
//! file without a name (memfd_create(2)) whose seals forbid to write, grow and shrink it: it leaves by `sendfile`,
//! and counts to no process's resident memory.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use outflow_content::{Content, Feed, FileSource, FileSpan, OpenFile, SpanError, Wait};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;

use super::sys;

/// Up to so many bytes are kept by the program: sending them costs less with a copy than without. Measured:
/// `bench/README.md`.
const SMALL: u64 = 32 * 1024;

/// Contents of these sizes are gathered into huge pages. A smaller one would fill too little of one; to copy a larger one
/// takes too long, before anything can be served.
const HUGE_FROM: u64 = 64 * 1024;
const HUGE_TO: u64 = 64 * 1024 * 1024;

/// What it is called in messages and in /proc.
const NAME: &str = "outflow-content";

/// One chunk for whoever cannot send from a descriptor.
const CHUNK: usize = 64 * 1024;

/// Bytes that cannot change, and their hash. Clones share them.
#[derive(Clone)]
pub struct Sealed {
    place: Place,
    len: u64,
    hash: blake3::Hash,
}

#[derive(Clone)]
enum Place {
    Program(Bytes),
    Kernel(Arc<Memory>),
}

/// A file in memory, sealed.
struct Memory(OwnedFd);

/// Takes in the bytes of a [`Sealed`].
pub struct Filling {
    memory: OwnedFd,
    hasher: blake3::Hasher,
    len: u64,
}

impl Filling {
    /// Begins with nothing.
    ///
    /// # Errors
    /// When the kernel gives no file in memory.
    pub fn new() -> io::Result<Filling> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let memory = match rustix::fs::memfd_create(NAME, flags | MemfdFlags::NOEXEC_SEAL) {
            // Before Linux 6.3 nobody could say that it is not to be executed.
            Err(Errno::INVAL) => rustix::fs::memfd_create(NAME, flags),
            result => result,
        };
        Ok(Filling { memory: memory?, hasher: blake3::Hasher::new(), len: 0 })
    }

    /// Appends `bytes`.
    ///
    /// # Errors
    /// When memory is short.
    pub fn push(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        while !bytes.is_empty() {
            match rustix::io::pwrite(&self.memory, bytes, self.len) {
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

    /// Bytes so far.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// True as long as there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// From now on nothing changes.
    ///
    /// # Errors
    /// When the kernel cannot seal, or cannot read what it has.
    pub fn seal(self) -> io::Result<Sealed> {
        let Filling { memory, hasher, len } = self;
        if (HUGE_FROM..=HUGE_TO).contains(&len)
            && let Err(error) = sys::gather(memory.as_fd(), len as usize)
        {
            tracing::debug!(%error, "the content stays in small pages");
        }
        let all = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
        rustix::fs::fcntl_add_seals(&memory, all)?;
        let memory = Memory(memory);
        let place = if len <= SMALL {
            let mut bytes = vec![0; len as usize];
            memory.read(0, &mut bytes)?;
            Place::Program(bytes.into())
        } else {
            Place::Kernel(Arc::new(memory))
        };
        Ok(Sealed { place, len, hash: hasher.finalize() })
    }
}

impl Sealed {
    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// True if there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Of all bytes (BLAKE3).
    #[must_use]
    pub fn hash(&self) -> blake3::Hash {
        self.hash
    }

    /// As a content without a description.
    pub(super) fn content(&self) -> Content {
        match &self.place {
            Place::Program(bytes) => Content::bytes(bytes.clone()),
            Place::Kernel(memory) => {
                let file = Arc::new(Run(Arc::clone(memory)));
                Content::files([FileSpan { file, offset: 0, len: self.len }])
            }
        }
    }

    /// Reads from the first byte to the last.
    pub(super) fn reader(&self) -> impl io::Read + use<> {
        Reader { sealed: self.clone(), at: 0 }
    }

    /// Fills some of `into` with the bytes from `offset` on; 0 at the end.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        match &self.place {
            Place::Program(bytes) => {
                let from = usize::try_from(offset).map_or(&[][..], |at| bytes.get(at..).unwrap_or_default());
                let n = from.len().min(into.len());
                into[..n].copy_from_slice(&from[..n]);
                Ok(n)
            }
            Place::Kernel(memory) => memory.read_some(offset, into),
        }
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealed").field("len", &self.len).field("hash", &self.hash.to_hex()).finish()
    }
}

struct Reader {
    sealed: Sealed,
    at: u64,
}

impl io::Read for Reader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let n = self.sealed.read_at(self.at, into)?;
        self.at += n as u64;
        Ok(n)
    }
}

impl Memory {
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

impl OpenFile for Memory {
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

/// A file in memory as a content's spans see it: open for as long as there is one.
struct Run(Arc<Memory>);

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(NAME)
    }
}

impl FileSource for Run {
    fn open(&self, _: Wait) -> Result<Arc<dyn OpenFile>, SpanError> {
        Ok(Arc::clone(&self.0) as Arc<dyn OpenFile>)
    }

    fn feed(&self, offset: u64, len: u64) -> Box<dyn Feed> {
        Box::new(Chunks { memory: Arc::clone(&self.0), at: offset, left: len })
    }
}

/// The bytes one chunk after the other. They are in memory: reading them takes no time.
struct Chunks {
    memory: Arc<Memory>,
    at: u64,
    left: u64,
}

impl Feed for Chunks {
    fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, SpanError>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let mut chunk = vec![0; usize::try_from(self.left).map_or(CHUNK, |left| left.min(CHUNK))];
        if let Err(source) = self.memory.read(self.at, &mut chunk) {
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

    fn sealed(bytes: &[u8]) -> Sealed {
        let mut filling = Filling::new().unwrap();
        bytes.chunks(1000).for_each(|chunk| filling.push(chunk).unwrap());
        assert_eq!(filling.len(), bytes.len() as u64);
        filling.seal().unwrap()
    }

    #[test]
    fn what_goes_in_comes_out_wherever_it_is_kept() {
        for len in [0, 1, SMALL as usize, SMALL as usize + 1, 300_000] {
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
        let Place::Kernel(memory) = sealed(&[1; 100_000]).place else { panic!("it is not small") };
        assert_eq!(rustix::io::pwrite(&memory.0, b"x", 0), Err(Errno::PERM));
        assert_eq!(rustix::fs::ftruncate(&memory.0, 1), Err(Errno::PERM));
        assert_eq!(rustix::fs::ftruncate(&memory.0, 1_000_000), Err(Errno::PERM));
        assert_eq!(rustix::fs::fcntl_add_seals(&memory.0, SealFlags::FUTURE_WRITE), Err(Errno::PERM));
    }

    #[test]
    fn as_a_feed_it_has_the_bytes_of_the_range() {
        let bytes: Vec<u8> = (0..200_000_u32).map(|at| (at % 251) as u8).collect();
        let Place::Kernel(memory) = sealed(&bytes).place else { panic!("it is not small") };
        let mut feed = Run(memory).feed(5, 150_000);
        let mut out = Vec::new();
        let mut cx = Context::from_waker(std::task::Waker::noop());
        while let Poll::Ready(Some(chunk)) = feed.poll_next(&mut cx) {
            out.extend_from_slice(&chunk.unwrap());
        }
        assert_eq!(out, bytes[5..150_005]);
    }
}
