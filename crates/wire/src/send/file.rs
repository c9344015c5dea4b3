//! Reading and sending files without waiting for a disk on a thread that serves others.
//!
//! `sendfile` and `pread` wait when a page is not in the page cache, and all connections of the
//! thread wait with them. So each run is probed first with `preadv2(RWF_NOWAIT)`, which never waits
//! (preadv2(2)); a run that is not cached is read in on a thread that may block, and sent from here
//! afterwards.

use std::io::{self, IoSliceMut};
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use outflow_content::{FileSpan, OpenFile, SpanError, Wait};
use rustix::io::{Errno, ReadWriteFlags};

/// Distance between two probes. The kernel reads ahead in windows of about this size, so that a
/// page between two cached ones is cached, too, but for rare evictions.
const PROBE_STRIDE: u64 = 256 * 1024;

/// Longest run that is read in at once, in bytes.
///
/// Bound: local files.
const COLD_RUN: u64 = 512 * 1024;

/// Distance between the bytes that are read to wait for a run.
const TOUCH_STRIDE: usize = 64 * 1024;

/// Opens a span's file, on this thread if that does not block.
pub(crate) async fn open(span: &FileSpan) -> Result<Arc<dyn OpenFile>, SpanError> {
    match span.file.open(Wait::No) {
        Err(error) if error.is_would_block() => {
            let file = Arc::clone(&span.file);
            blocking(move || file.open(Wait::Yes)).await
        }
        result => result,
    }
}

/// Reads some of `into` from `offset`: as much as is in the page cache, or else on a thread that
/// may block. 0 is the end of the file.
pub(crate) async fn read(file: &Arc<dyn OpenFile>, offset: u64, into: &mut [u8]) -> Result<usize, SpanError> {
    if file.is_sealed() {
        return pread(file.fd(), into, offset).map_err(|source| read_error(file, offset, source));
    }
    let result = rustix::io::preadv2(file.fd(), &mut [IoSliceMut::new(into)], offset, ReadWriteFlags::NOWAIT);
    match result {
        Ok(n) if n > 0 => Ok(n),
        // Linux 5.9 and 5.10 answer 0 where they should say EAGAIN (preadv2(2), BUGS): a plain read
        // decides.
        Ok(_) | Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INTR) => {
            let (clone, len) = (Arc::clone(file), into.len());
            let bytes = blocking(move || {
                let mut bytes = vec![0; len];
                let n = pread(clone.fd(), &mut bytes, offset)
                    .map_err(|source| read_error(&clone, offset, source))?;
                bytes.truncate(n);
                Ok(bytes)
            })
            .await?;
            into[..bytes.len()].copy_from_slice(&bytes);
            Ok(bytes.len())
        }
        Err(errno) => Err(read_error(file, offset, errno.into())),
    }
}

/// Makes a run from `offset`, of at most `len` bytes, sendable without waiting for a disk. Gives
/// its length, and whether that took time. What has to be read in comes in shorter runs than what
/// is cached, so that no connection waits long behind several of them.
pub(crate) async fn make_resident(
    file: &Arc<dyn OpenFile>,
    offset: u64,
    len: u64,
) -> Result<(u64, bool), SpanError> {
    if is_resident(file.fd(), offset, len) {
        return Ok((len, false));
    }
    let len = len.min(COLD_RUN);
    let file = Arc::clone(file);
    blocking(move || {
        // The disk reads all of this run while we wait, and the next one while this one leaves.
        let ahead = std::num::NonZeroU64::new(len.saturating_mul(2));
        let _ = rustix::fs::fadvise(file.fd(), offset, ahead, rustix::fs::Advice::WillNeed);
        // Reading a byte waits for its page. Reading all bytes would take the core from the serving
        // thread.
        for at in (offset..offset + len).step_by(TOUCH_STRIDE).chain([offset + len.saturating_sub(1)]) {
            pread(file.fd(), &mut [0], at).map_err(|source| read_error(&file, at, source))?;
        }
        Ok((len, true))
    })
    .await
}

/// Whether a run is in the page cache, as far as a few probes tell. Does not wait.
pub(super) fn is_resident(file: BorrowedFd<'_>, offset: u64, len: u64) -> bool {
    let last = offset + len.saturating_sub(1);
    // One probe, at the end, for what a single read-ahead brings in.
    let mut at = if len <= PROBE_STRIDE / 2 { last } else { offset };
    loop {
        let mut byte = [0];
        match rustix::io::preadv2(file, &mut [IoSliceMut::new(&mut byte)], at, ReadWriteFlags::NOWAIT) {
            // The end of the file, or a kernel that answers 0 instead of EAGAIN: a thread that may
            // block finds out which.
            Ok(0) => return false,
            Ok(_) => {}
            // A file system without RWF_NOWAIT counts as cold: it may well be a slow one.
            Err(_) => return false,
        }
        if at == last {
            return true;
        }
        at = (at + PROBE_STRIDE).min(last);
    }
}

fn pread(file: BorrowedFd<'_>, into: &mut [u8], offset: u64) -> io::Result<usize> {
    loop {
        match rustix::io::pread(file, &mut *into, offset) {
            Err(Errno::INTR) => {}
            result => return Ok(result?),
        }
    }
}

pub(crate) fn read_error(file: &Arc<dyn OpenFile>, offset: u64, source: io::Error) -> SpanError {
    SpanError::Read { name: file.name(), offset, source }
}

/// Runs `work` on a thread that may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SpanError> + Send + 'static,
) -> Result<T, SpanError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(SpanError::Other { name: "reading a file".to_owned(), source: error.into() }),
    }
}
