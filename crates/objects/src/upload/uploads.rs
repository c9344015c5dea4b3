//! What uploads that run at the same time share, and what each of them is about.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use outflow_content::{OpenFile, SpanError};
use tokio::sync::{Semaphore, watch};

use crate::error::{StoreError, StoreErrorKind};

/// Shared by uploads that run at the same time: their number, their progress, and how they are
/// stopped.
#[derive(Debug)]
pub struct Uploads {
    pub(crate) lanes: Semaphore,
    parallel: usize,
    pub(crate) sent: AtomicU64,
    stop: watch::Sender<bool>,
    /// The store refused to check sums; later uploads do not ask for it.
    pub(crate) unchecked: AtomicBool,
}

/// An open file that is uploaded, and its size.
#[derive(Clone)]
pub struct UploadFile {
    file: Arc<dyn OpenFile>,
    pub(crate) size: u64,
}

impl UploadFile {
    /// The whole of `file`, which has `size` bytes.
    #[must_use]
    pub fn new(file: Arc<dyn OpenFile>, size: u64) -> UploadFile {
        UploadFile { file, size }
    }

    /// Reads at `offset` into `buffer`; 0 at the file's end. Blocks.
    pub(crate) fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, SpanError> {
        loop {
            match rustix::io::pread(self.file.fd(), &mut *buffer, offset) {
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => {
                    return Err(SpanError::Read { name: self.file.name(), offset, source: errno.into() });
                }
                Ok(read) => return Ok(read),
            }
        }
    }

    /// Checks that the file has not been changed since it was opened.
    pub(crate) fn verify(&self) -> Result<(), SpanError> {
        self.file.verify()
    }

    /// The error of a file that ends at `offset`.
    pub(crate) fn truncated(&self, offset: u64) -> SpanError {
        SpanError::Truncated { name: self.file.name(), offset, missing: self.size - offset }
    }
}

/// An object that was uploaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uploaded {
    /// The store's tag, if it gave one.
    pub etag: Option<String>,
    /// Of all bytes that were read and sent.
    pub crc32: u32,
    /// In bytes.
    pub size: u64,
}

/// Why an upload failed.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// It cannot be read, or was changed meanwhile.
    #[error(transparent)]
    File(#[from] SpanError),
    /// The store refused it or failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// [`Uploads::stop`] was called.
    #[error("stopped")]
    Stopped,
}

/// The same, without the name of the object.
pub(crate) enum UploadFailure {
    File(SpanError),
    Store(StoreErrorKind),
    Stopped,
}

impl From<StoreErrorKind> for UploadFailure {
    fn from(kind: StoreErrorKind) -> UploadFailure {
        UploadFailure::Store(kind)
    }
}

impl From<SpanError> for UploadFailure {
    fn from(error: SpanError) -> UploadFailure {
        UploadFailure::File(error)
    }
}

impl Uploads {
    /// Allows `parallel` files and parts of files at the same time; each takes 16 MiB of memory or
    /// more.
    #[must_use]
    pub fn new(parallel: usize) -> Uploads {
        let parallel = parallel.clamp(1, 1024);
        Uploads {
            lanes: Semaphore::new(parallel),
            parallel,
            sent: AtomicU64::new(0),
            stop: watch::Sender::new(false),
            unchecked: AtomicBool::new(false),
        }
    }

    /// Bytes that the store has received so far.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Counts bytes that need not be sent.
    pub fn skip(&self, bytes: u64) {
        self.sent.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Maximum number of files and parts at the same time.
    #[must_use]
    pub fn parallel(&self) -> usize {
        self.parallel
    }

    /// Stops all of them. They remove what they have begun in the store before they end.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// The CRC-32 of a file of this machine, read in one of the lanes.
    ///
    /// # Errors
    /// [`UploadError::File`], also if it was changed meanwhile.
    pub async fn crc32_of(&self, file: &UploadFile) -> Result<u32, UploadError> {
        let _lane = self.lanes.acquire().await.map_err(|_| UploadError::Stopped)?;
        let file = file.clone();
        let stopped = self.stop.subscribe();
        let read = tokio::task::spawn_blocking(move || {
            let mut crc32 = crc32fast::Hasher::new();
            let mut buffer = vec![0; 1 << 20];
            let mut offset = 0;
            while !*stopped.borrow() {
                match file.read_at(&mut buffer, offset)? {
                    0 if offset < file.size => {
                        return Err(file.truncated(offset).into());
                    }
                    0 => {
                        file.verify()?;
                        return Ok(crc32.finalize());
                    }
                    read => {
                        crc32.update(&buffer[..read]);
                        offset += read as u64;
                    }
                }
            }
            Err(UploadError::Stopped)
        });
        read.await.unwrap_or(Err(UploadError::Stopped))
    }

    /// Whether [`Uploads::stop`] has been called.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        *self.stop.borrow()
    }

    /// Returns when [`Uploads::stop`] has been called.
    pub async fn stopped(&self) {
        // The sender lives as long as this does.
        let _ = self.stop.subscribe().wait_for(|stopped| *stopped).await;
    }
}
