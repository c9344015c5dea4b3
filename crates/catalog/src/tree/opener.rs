//! Where the bytes of a tree's files come from.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;

use outflow_content::{Feed, Source, Span, SpanError};

use crate::entry::FileTag;
use crate::fingerprint::Fingerprint;
use crate::tree::TreeFile;

/// Opens the files of a tree, which itself has records only.
///
/// Only [`FileOpener::source`] is required. The other methods tell more about the files. They are
/// called for each of a million files, so they have to be quick unless their description says
/// otherwise.
pub trait FileOpener: fmt::Debug + Send + Sync + 'static {
    /// The bytes of `file`. They are those that the tree's record describes, or fail while they
    /// leave.
    fn source(&self, file: TreeFile<'_>) -> Arc<dyn Source>;

    /// What the file's strong entity tag is made of.
    fn tag(&self, file: TreeFile<'_>) -> FileTag {
        let _ = file;
        FileTag::Times
    }

    /// A number that changes whenever the file's bytes may have changed, and is the same on every
    /// node.
    fn version(&self, file: TreeFile<'_>) -> u64 {
        file.modified_nanos().cast_unsigned()
    }

    /// The CRC-32 of all its bytes, if it came with the file.
    fn crc32(&self, file: TreeFile<'_>) -> Option<u32> {
        let _ = file;
        None
    }

    /// Computes the CRC-32 of all its bytes. Dropping the future gives up.
    fn compute_crc32(&self, file: TreeFile<'_>) -> OpenerFuture {
        let (source, size, fingerprint) = (self.source(file), file.size(), file.fingerprint());
        Box::pin(async move {
            let crc32 = crc32_of(source, size).await?;
            Ok(FileCrc32 { crc32, fingerprint })
        })
    }

    /// Learns the file's CRC-32 in the background, if that costs little. Blocks. Calls `rest`
    /// between pieces of work, and gives up when that returns false.
    fn learn_crc32(&self, file: TreeFile<'_>, rest: &mut dyn FnMut() -> bool) -> LearnedCrc32 {
        let _ = (file, rest);
        LearnedCrc32::Nothing
    }

    /// Whether the bytes are fetched over a network, so that it pays to fetch the next files while
    /// one leaves.
    fn is_remote(&self) -> bool {
        false
    }

    /// Heap memory in bytes. Trees that share an opener each count it.
    fn memory(&self) -> usize {
        0
    }
}

/// A CRC-32 that is being computed.
pub type OpenerFuture = Pin<Box<dyn Future<Output = Result<FileCrc32, SpanError>> + Send>>;

/// The CRC-32 of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileCrc32 {
    /// Of all its bytes.
    pub crc32: u32,
    /// Fingerprint of the file that was read: the tree's, or another one after a change that does
    /// not concern the bytes.
    pub fingerprint: Fingerprint,
}

/// The result of [`FileOpener::learn_crc32`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LearnedCrc32 {
    /// It is this.
    Known(FileCrc32),
    /// It cannot be learned at little cost.
    Nothing,
    /// The background should leave this tree alone for now.
    GiveUp,
}

/// Reads all bytes of a source through memory.
async fn crc32_of(source: Arc<dyn Source>, size: u64) -> Result<u32, SpanError> {
    let mut hasher = crc32fast::Hasher::new();
    let mut left = size;
    let mut feed: Box<dyn Feed> = match source.span(0, size) {
        Span::Memory(bytes) => {
            hasher.update(&bytes);
            return Ok(hasher.finalize());
        }
        Span::File(span) => span.file.feed(span.offset, span.len),
        Span::Feed(span) => span.feed,
    };
    while left > 0
        && let Some(bytes) = poll_fn(|cx| feed.poll_next(cx)).await
    {
        let bytes = bytes?;
        // A feed may go on after its span.
        let len = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        hasher.update(&bytes[..len]);
        left -= len as u64;
    }
    if left > 0 {
        let name = "a file of a collection".to_owned();
        return Err(SpanError::Truncated { name, offset: size - left, missing: left });
    }
    Ok(hasher.finalize())
}
