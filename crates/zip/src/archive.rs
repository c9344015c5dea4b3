//! An archive's bytes as spans, from any offset.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use outflow_content::{FeedSpan, Span, SpanError, Spans};

use crate::feed::{CentralFeed, EntryFeed};
use crate::layout::LayoutPosition;
use crate::record::CENTRAL_CRC_END;
use crate::{Form, Layout};

/// Bytes of headers that one span encodes, approximately.
///
/// Bound: archives.
pub(crate) const HEADER_BATCH: u64 = 64 * 1024;

/// Provides the bytes of an archive's entries, and CRCs that the layout does not know.
///
/// Never called for folders, nor for files without bytes.
pub trait Bodies: Send + Sync + 'static {
    /// Returns `len` bytes from `offset` of the file of `entry`, or a first part of them, which is
    /// never empty; another call asks for the rest. A span of a stored entry is sent unchanged: a
    /// file span by `sendfile`.
    ///
    /// # Errors
    /// [`SpanError`] when the bytes cannot be read. It ends the delivery.
    fn body(&self, entry: usize, offset: u64, len: u64) -> Result<Span, SpanError>;

    /// The CRC-32 of `entry` if it is known by now. Never waits. Called for [`Form::Streamed`]
    /// only.
    fn crc32(&self, entry: usize) -> Option<u32>;

    /// Computes the CRC-32 of `entry` by reading the whole file, for a Range that needs it before
    /// the bytes were sent. The implementation should store it for [`Bodies::crc32`].
    fn compute_crc32(&self, entry: usize) -> Pin<Box<dyn Future<Output = Result<u32, SpanError>> + Send>>;

    /// Reports the CRC-32 of `entry` after all of its bytes were sent in order, unless
    /// [`Bodies::crc32`] knew it. An implementation that does not store it computes it again for
    /// the central directory.
    fn learned_crc32(&self, entry: usize, crc32: u32);
}

/// A layout and the bodies of its entries: the spans of an archive.
///
/// Readers check the bytes against the CRC in the headers, and several deliveries may each send a
/// part of an archive. So every entry has one CRC: bytes with another CRC end in an error instead
/// of a descriptor, and no client holds a wrong archive that looks complete.
pub struct Archive<B: ?Sized> {
    layout: Arc<Layout>,
    bodies: Arc<B>,
}

impl<B: Bodies + ?Sized> Archive<B> {
    /// Joins a layout with the bytes of its entries.
    #[must_use]
    pub fn new(layout: Arc<Layout>, bodies: Arc<B>) -> Archive<B> {
        Archive { layout, bodies }
    }

    /// The layout.
    #[must_use]
    pub fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    pub(crate) fn bodies(&self) -> &B {
        &self.bodies
    }

    /// The CRC-32 of an entry, if it is known by now.
    pub(crate) fn known_crc32(&self, entry: usize) -> Option<u32> {
        self.layout.crc32(entry).or_else(|| self.bodies.crc32(entry))
    }

    /// Compares `crc32` with the CRC that [`Bodies::crc32`] reports by now.
    pub(crate) fn confirm_crc32(&self, entry: usize, crc32: u32) -> Result<u32, SpanError> {
        match self.bodies.crc32(entry) {
            Some(promised) if promised != crc32 => Err(SpanError::Changed {
                name: self.layout.name(entry).to_owned(),
                how: format!("its bytes have the CRC-32 {crc32:08x}, but {promised:08x} was promised"),
            }),
            _ => Ok(crc32),
        }
    }

    fn entry_span(&self, entry: usize, at: u64) -> Result<Span, SpanError> {
        let range = self.layout.entry_range(entry);
        let body = self.layout.body_range(entry);
        let (offset, left) = (range.start + at, range.end - range.start - at);
        match self.layout.form(entry) {
            Form::Stored if offset < body.start => Ok(Span::Memory(self.local_headers(entry, at))),
            Form::Stored => {
                let mut span = self.bodies.body(entry, offset - body.start, left)?;
                span.truncate(left);
                if span.is_empty() {
                    return Err(self.truncated(entry, offset - body.start));
                }
                Ok(span)
            }
            Form::Streamed => {
                if offset >= body.end
                    && let Some(crc32) = self.bodies.crc32(entry)
                {
                    let descriptor = self.descriptor(entry, crc32);
                    return Ok(Span::Memory(descriptor.slice((offset - body.end) as usize..)));
                }
                Ok(Span::Feed(FeedSpan {
                    feed: Box::new(EntryFeed::new(self.clone(), entry, at)),
                    len: left,
                }))
            }
        }
    }

    /// The local header of a stored entry from its `at`th byte, with the headers that follow
    /// directly: those of folders and of files without bytes.
    fn local_headers(&self, first: usize, at: u64) -> Bytes {
        let mut out = Vec::new();
        for entry in first..self.layout.entries() {
            if entry > first && self.layout.form(entry) == Form::Streamed {
                break;
            }
            self.layout.entry(entry).put_local(&mut out);
            if self.layout.size(entry) > 0 || out.len() as u64 >= HEADER_BATCH {
                break;
            }
        }
        Bytes::from(out).slice(at as usize..)
    }

    pub(crate) fn local_header(&self, entry: usize) -> Bytes {
        let mut out = Vec::new();
        self.layout.entry(entry).put_local(&mut out);
        Bytes::from(out)
    }

    pub(crate) fn descriptor(&self, entry: usize, crc32: u32) -> Bytes {
        let mut out = Vec::with_capacity(24);
        self.layout.entry(entry).with_crc32(crc32).put_descriptor(&mut out);
        Bytes::from(out)
    }

    pub(crate) fn put_central(&self, entry: usize, crc32: u32, out: &mut Vec<u8>) {
        self.layout.entry(entry).with_crc32(crc32).put_central(out);
    }

    /// The CRC-32 for an entry's central record from its `at`th byte, if no computation is needed.
    pub(crate) fn central_crc32(&self, entry: usize, at: u64) -> Option<u32> {
        if at >= CENTRAL_CRC_END { Some(0) } else { self.known_crc32(entry) }
    }

    /// The central directory from the `at`th byte of the record of `first`: the records whose CRC
    /// is known, or a feed that computes missing CRCs.
    fn central_span(&self, first: usize, at: u64) -> Span {
        let entries = self.layout.entries();
        let mut out = Vec::new();
        let mut entry = first;
        while entry < entries && (out.len() as u64) < HEADER_BATCH + at {
            let at = if entry == first { at } else { 0 };
            let Some(crc32) = self.central_crc32(entry, at) else { break };
            self.put_central(entry, crc32, &mut out);
            entry += 1;
        }
        if entry == entries {
            self.layout.end().put(&mut out);
        }
        if entry > first {
            return Span::Memory(Bytes::from(out).slice(at as usize..));
        }
        let mut len = 0;
        while entry < entries && len < HEADER_BATCH + at {
            len += self.layout.entry(entry).central_len();
            entry += 1;
        }
        let feed = CentralFeed::new(self.clone(), first..entry, at);
        Span::Feed(FeedSpan { feed: Box::new(feed), len: len - at })
    }

    pub(crate) fn truncated(&self, entry: usize, offset: u64) -> SpanError {
        SpanError::Truncated {
            name: self.layout.name(entry).to_owned(),
            offset,
            missing: self.layout.size(entry).saturating_sub(offset),
        }
    }
}

impl<B: Bodies + ?Sized> Spans for Archive<B> {
    fn len(&self) -> u64 {
        self.layout.len()
    }

    /// A binary search, and the encoding of the bytes there. Never iterates over all entries.
    fn span_at(&self, offset: u64) -> Result<Span, SpanError> {
        match self.layout.position(offset) {
            LayoutPosition::Entry { entry, at } => self.entry_span(entry, at),
            LayoutPosition::Central { entry, at } => Ok(self.central_span(entry, at)),
            LayoutPosition::End { at } => {
                let mut out = Vec::new();
                self.layout.end().put(&mut out);
                Ok(Span::Memory(Bytes::from(out).slice(at as usize..)))
            }
            LayoutPosition::Beyond => Ok(Span::Memory(Bytes::new())),
        }
    }
}

impl<B: ?Sized> Clone for Archive<B> {
    fn clone(&self) -> Archive<B> {
        Archive { layout: Arc::clone(&self.layout), bodies: Arc::clone(&self.bodies) }
    }
}

impl<B: ?Sized> fmt::Debug for Archive<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Archive")
            .field("entries", &self.layout.entries())
            .field("len", &self.layout.len())
            .finish()
    }
}
