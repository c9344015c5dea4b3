//! Bytes of an archive that need reading or computing: framed files, and records without a CRC.

use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use outflow_content::{Feed, FeedSpan, Span, SpanError};

use crate::framing::{FRAMED_BLOCK, Framer};
use crate::{Archive, Bodies};

/// Maximum size of a chunk of a streamed entry: two blocks.
///
/// Bound: archives.
const MAX_CHUNK: u64 = 2 * FRAMED_BLOCK;
/// A chunk of this size is returned when the next bytes have not arrived.
const MIN_EARLY_CHUNK: usize = 64 * 1024;

type FeedItem = Option<Result<Bytes, SpanError>>;
type ComputedCrc32 = Pin<Box<dyn Future<Output = Result<u32, SpanError>> + Send>>;

/// A streamed entry from any offset to its end: local header, blocks, descriptor. A small file fits
/// in one chunk.
pub(crate) struct EntryFeed<B: ?Sized> {
    archive: Archive<B>,
    entry: usize,
    /// The entry's next byte that is not in `out`.
    at: u64,
    header_len: u64,
    len: u64,
    framer: Framer,
    /// Bytes of the file that are not framed yet, and their source.
    raw: Bytes,
    source: Option<FeedSpan>,
    out: Vec<u8>,
    computing: Option<ComputedCrc32>,
}

impl<B: Bodies + ?Sized> EntryFeed<B> {
    /// Starts at the `at`th byte of the entry.
    pub(crate) fn new(archive: Archive<B>, entry: usize, at: u64) -> EntryFeed<B> {
        let range = archive.layout().entry_range(entry);
        let body = archive.layout().body_range(entry);
        let header_len = body.start - range.start;
        let framed = body.end - body.start;
        let framer =
            Framer::new(archive.layout().size(entry), framed, at.saturating_sub(header_len).min(framed));
        EntryFeed {
            archive,
            entry,
            at,
            header_len,
            len: range.end - range.start,
            framer,
            raw: Bytes::new(),
            source: None,
            out: Vec::new(),
            computing: None,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<FeedItem> {
        if self.at >= self.len {
            return Poll::Ready(None);
        }
        if self.out.capacity() == 0 {
            self.out.reserve_exact(MAX_CHUNK.min(self.len - self.at) as usize);
        }
        if self.at < self.header_len {
            // A header has less than 4,200 bytes, so it fits into a chunk that continues after it.
            self.out.extend_from_slice(&self.archive.local_header(self.entry)[self.at as usize..]);
            self.at = self.header_len;
        }
        while !self.framer.is_done() {
            let before = self.out.len();
            self.framer.frame(&mut self.raw, &mut self.out, MAX_CHUNK as usize);
            self.at += (self.out.len() - before) as u64;
            if self.framer.is_done() {
                break;
            }
            if self.out.len() as u64 >= MAX_CHUNK {
                return self.flush();
            }
            match self.poll_raw(cx)? {
                Poll::Ready(raw) => self.raw = raw,
                Poll::Pending if self.out.len() >= MIN_EARLY_CHUNK => return self.flush(),
                Poll::Pending => return Poll::Pending,
            }
        }
        let known = self.framer.crc32().or_else(|| self.archive.known_crc32(self.entry)).is_some();
        if !known && !self.out.is_empty() {
            // Computing it may read the whole file, and the client may not want the descriptor.
            return self.flush();
        }
        let crc32 = ready!(self.poll_crc32(cx))?;
        let descriptor = self.archive.descriptor(self.entry, crc32);
        let skip = descriptor.len() - (self.len - self.at) as usize;
        self.out.extend_from_slice(&descriptor[skip..]);
        self.at = self.len;
        self.flush()
    }

    fn flush(&mut self) -> Poll<FeedItem> {
        Poll::Ready(Some(Ok(Bytes::from(std::mem::take(&mut self.out)))))
    }

    /// The file's next bytes, never empty.
    fn poll_raw(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, SpanError>> {
        let offset = self.framer.raw_offset();
        if self.source.is_none() {
            let left = self.archive.layout().size(self.entry) - offset;
            let mut span = self.archive.bodies().body(self.entry, offset, left)?;
            span.truncate(left);
            if span.is_empty() {
                return Poll::Ready(Err(self.archive.truncated(self.entry, offset)));
            }
            self.source = Some(match span {
                Span::Memory(bytes) => return Poll::Ready(Ok(bytes)),
                Span::File(file) => FeedSpan { feed: file.file.feed(file.offset, file.len), len: file.len },
                Span::Feed(feed) => feed,
            });
        }
        let Some(source) = &mut self.source else { return Poll::Pending }; // set just now
        match ready!(source.feed.poll_next(cx)).transpose()? {
            Some(mut chunk) if !chunk.is_empty() => {
                chunk.truncate(usize::try_from(source.len).unwrap_or(usize::MAX));
                source.len -= chunk.len() as u64;
                if source.len == 0 {
                    self.source = None;
                }
                Poll::Ready(Ok(chunk))
            }
            _ => Poll::Ready(Err(self.archive.truncated(self.entry, offset))),
        }
    }

    /// The CRC-32 for the descriptor: that of the bytes if all of them flowed here, or else the one
    /// that the bodies know or compute.
    fn poll_crc32(&mut self, cx: &mut Context<'_>) -> Poll<Result<u32, SpanError>> {
        let Some(crc32) = self.framer.crc32() else {
            return poll_crc32(&self.archive, self.entry, &mut self.computing, cx);
        };
        if self.archive.bodies().crc32(self.entry).is_none() {
            self.archive.bodies().learned_crc32(self.entry, crc32);
        }
        // Checked after reporting: of two deliveries that saw different bytes at the same time, one
        // fails.
        Poll::Ready(self.archive.confirm_crc32(self.entry, crc32))
    }
}

impl<B: Bodies + ?Sized> Feed for EntryFeed<B> {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<FeedItem> {
        let chunk = ready!(self.poll(cx));
        if matches!(chunk, Some(Err(_))) {
            self.at = self.len;
        }
        Poll::Ready(chunk)
    }
}

/// Records of the central directory whose CRCs may have to be computed. Records before such a one
/// are returned first, so that nothing is computed for a client that stops there.
pub(crate) struct CentralFeed<B: ?Sized> {
    archive: Archive<B>,
    entries: Range<usize>,
    /// Bytes of the first record to leave out.
    skip: u64,
    computing: Option<ComputedCrc32>,
}

impl<B: Bodies + ?Sized> CentralFeed<B> {
    /// The records of `entries` without the first `skip` bytes, all of which belong to the first
    /// record.
    pub(crate) fn new(archive: Archive<B>, entries: Range<usize>, skip: u64) -> CentralFeed<B> {
        CentralFeed { archive, entries, skip, computing: None }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<FeedItem> {
        let mut out = Vec::new();
        while !self.entries.is_empty() {
            let entry = self.entries.start;
            let at = if out.is_empty() { self.skip } else { 0 };
            let crc32 = match self.archive.central_crc32(entry, at) {
                Some(crc32) => crc32,
                None if !out.is_empty() => break,
                None => ready!(poll_crc32(&self.archive, entry, &mut self.computing, cx))?,
            };
            self.archive.put_central(entry, crc32, &mut out);
            self.computing = None;
            self.entries.start += 1;
        }
        if out.is_empty() {
            return Poll::Ready(None);
        }
        let skip = std::mem::take(&mut self.skip);
        Poll::Ready(Some(Ok(Bytes::from(out).slice(skip as usize..))))
    }
}

impl<B: Bodies + ?Sized> Feed for CentralFeed<B> {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<FeedItem> {
        let chunk = ready!(self.poll(cx));
        if matches!(chunk, Some(Err(_))) {
            self.entries.start = self.entries.end;
        }
        Poll::Ready(chunk)
    }
}

/// The CRC-32 of an entry: known, or being computed.
fn poll_crc32<B: Bodies + ?Sized>(
    archive: &Archive<B>,
    entry: usize,
    computing: &mut Option<ComputedCrc32>,
    cx: &mut Context<'_>,
) -> Poll<Result<u32, SpanError>> {
    if let Some(crc32) = archive.known_crc32(entry) {
        return Poll::Ready(Ok(crc32));
    }
    let future = computing.get_or_insert_with(|| archive.bodies().compute_crc32(entry));
    let crc32 = ready!(future.as_mut().poll(cx))?;
    Poll::Ready(archive.confirm_crc32(entry, crc32))
}
