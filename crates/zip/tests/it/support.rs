//! Bodies that are made up, and a client that takes ranges.

use std::collections::HashMap;
use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use outflow_content::{Feed, FeedSpan, FileSource, FileSpan, OpenFile, Span, SpanError, Spans, Wait};
use outflow_zip::{Archive, ArchiveFile, Bodies, Layout, LayoutBuilder};

/// How bodies hand their bytes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Memory,
    /// Less than was asked for.
    Pieces,
    /// Small chunks, each after a wait, and more than was asked for.
    Feed,
    File,
}

/// Bodies whose bytes follow from their entry and position, and that remember what they were told.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) way: Way,
    pub(crate) files: Arc<Vec<Bytes>>,
    /// Where the files really end, if before their size.
    pub(crate) end: u64,
    pub(crate) known: Mutex<HashMap<usize, u32>>,
    pub(crate) learned: Mutex<Vec<(usize, u32)>>,
    pub(crate) computed: Mutex<Vec<usize>>,
}

impl Made {
    pub(crate) fn new(layout: &Layout, way: Way) -> Made {
        let file = |entry| Bytes::from(contents(entry, 0..layout.size(entry)));
        Made::of(Arc::new((0..layout.entries()).map(file).collect()), way)
    }

    fn of(files: Arc<Vec<Bytes>>, way: Way) -> Made {
        Made {
            way,
            files,
            end: u64::MAX,
            known: Mutex::default(),
            learned: Mutex::default(),
            computed: Mutex::default(),
        }
    }

    /// The same files, and nothing is known of them.
    pub(crate) fn forgetful(&self) -> Made {
        Made::of(Arc::clone(&self.files), self.way)
    }

    pub(crate) fn knowing_all(self) -> Made {
        let known = self.files.iter().map(|file| crc32fast::hash(file)).enumerate().collect();
        Made { known: Mutex::new(known), ..self }
    }

    pub(crate) fn learned(&self) -> Vec<(usize, u32)> {
        self.learned.lock().unwrap().clone()
    }

    pub(crate) fn computed(&self) -> Vec<usize> {
        self.computed.lock().unwrap().clone()
    }
}

pub(crate) fn contents(entry: usize, range: Range<u64>) -> Vec<u8> {
    let salt = (entry as u64 + 1).wrapping_mul(0x9E37_79B9);
    range.map(|at| (at.wrapping_mul(salt | 1) >> 7) as u8 ^ salt as u8).collect()
}

pub(crate) fn crc_of(entry: usize, size: u64) -> u32 {
    crc32fast::hash(&contents(entry, 0..size))
}

impl Bodies for Made {
    fn body(&self, entry: usize, offset: u64, len: u64) -> Result<Span, SpanError> {
        let file = &self.files[entry];
        let size = file.len() as u64;
        assert!(len > 0 && offset + len <= size, "{offset}+{len} of {size} bytes");
        let bytes = |range: Range<u64>| file.slice(range.start as usize..range.end as usize);
        let end = (offset + len).min(self.end).max(offset);
        let feed = || Chunks::new(bytes(offset..end), self.way == Way::Feed);
        Ok(match self.way {
            Way::Memory => Span::Memory(bytes(offset..end)),
            Way::Pieces => Span::Memory(bytes(offset..end.min(offset + 1 + len / 3))),
            Way::Feed => Span::Feed(FeedSpan { feed: Box::new(feed()), len }),
            Way::File => {
                let file = MadeFile(bytes(0..size.min(self.end)));
                Span::File(FileSpan { file: Arc::new(file), offset, len })
            }
        })
    }

    fn crc32(&self, entry: usize) -> Option<u32> {
        self.known.lock().unwrap().get(&entry).copied()
    }

    fn compute_crc32(&self, entry: usize) -> Pin<Box<dyn Future<Output = Result<u32, SpanError>> + Send>> {
        let crc32 = crc32fast::hash(&self.files[entry]);
        self.computed.lock().unwrap().push(entry);
        let mut waited = false;
        Box::pin(std::future::poll_fn(move |cx| {
            if std::mem::replace(&mut waited, true) {
                return Poll::Ready(Ok(crc32));
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        }))
    }

    fn learned_crc32(&self, entry: usize, crc32: u32) {
        self.learned.lock().unwrap().push((entry, crc32));
        self.known.lock().unwrap().insert(entry, crc32);
    }
}

/// Bytes in chunks of 1,000 to 50,000, with a wait before each.
struct Chunks {
    bytes: Bytes,
    surplus: bool,
    waited: bool,
    next: usize,
}

impl Chunks {
    fn new(bytes: Bytes, surplus: bool) -> Chunks {
        Chunks { bytes, surplus, waited: false, next: 1_000 }
    }
}

impl Feed for Chunks {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, SpanError>>> {
        if !std::mem::replace(&mut self.waited, true) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.waited = false;
        if self.bytes.is_empty() {
            return Poll::Ready(None);
        }
        let chunk = self.bytes.split_to(self.next.min(self.bytes.len()));
        self.next = (self.next * 3).min(50_000);
        let mut chunk = Vec::from(chunk);
        if self.surplus && self.bytes.is_empty() {
            chunk.extend_from_slice(b"more than the span has");
        }
        Poll::Ready(Some(Ok(Bytes::from(chunk))))
    }
}

#[derive(Debug)]
struct MadeFile(Bytes);

impl FileSource for MadeFile {
    fn open(&self, _: Wait) -> Result<Arc<dyn OpenFile>, SpanError> {
        unreachable!("nobody sends by the kernel here")
    }

    fn feed(&self, offset: u64, len: u64) -> Box<dyn Feed> {
        let end = (offset + len).min(self.0.len() as u64);
        Box::new(Chunks::new(self.0.slice(offset as usize..end as usize), false))
    }
}

/// The bytes of a range as a server would send them, or those before the error.
pub(crate) fn take(spans: &dyn Spans, range: Range<u64>) -> Result<Vec<u8>, (Vec<u8>, SpanError)> {
    let mut out = Vec::new();
    let mut at = range.start;
    while at < range.end {
        let mut span = match spans.span_at(at) {
            Ok(span) => span,
            Err(error) => return Err((out, error)),
        };
        assert!(!span.is_empty(), "an empty span at {at}");
        span.truncate(range.end - at);
        at += span.len();
        let mut feed = match span {
            Span::Memory(bytes) => {
                out.extend_from_slice(&bytes);
                continue;
            }
            Span::File(file) => FeedSpan { feed: file.file.feed(file.offset, file.len), len: file.len },
            Span::Feed(feed) => feed,
        };
        while feed.len > 0 {
            match next(feed.feed.as_mut()) {
                Some(Ok(mut chunk)) => {
                    assert!(!chunk.is_empty(), "an empty chunk");
                    chunk.truncate(feed.len as usize);
                    feed.len -= chunk.len() as u64;
                    out.extend_from_slice(&chunk);
                }
                Some(Err(error)) => return Err((out, error)),
                None => {
                    let error =
                        SpanError::Truncated { name: "feed".to_owned(), offset: at, missing: feed.len };
                    return Err((out, error));
                }
            }
        }
    }
    Ok(out)
}

/// The next chunk of a feed that always becomes ready.
pub(crate) fn next(feed: &mut dyn Feed) -> Option<Result<Bytes, SpanError>> {
    let mut cx = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(chunk) = feed.poll_next(&mut cx) {
            return chunk;
        }
    }
}

pub(crate) fn whole(spans: &dyn Spans) -> Vec<u8> {
    take(spans, 0..spans.len()).expect("every byte can be had")
}

pub(crate) fn archive(layout: &Arc<Layout>, way: Way) -> Archive<Made> {
    Archive::new(Arc::clone(layout), Arc::new(Made::new(layout, way)))
}

pub(crate) fn with_bodies(layout: &Arc<Layout>, bodies: Made) -> (Archive<Made>, Arc<Made>) {
    let bodies = Arc::new(bodies);
    (Archive::new(Arc::clone(layout), Arc::clone(&bodies)), bodies)
}

/// A layout of files of these sizes, named `f0`, `f1`..., whose CRCs are known or not.
pub(crate) fn layout_of(sizes: &[u64], known: bool) -> Arc<Layout> {
    let mut builder = LayoutBuilder::new();
    for (entry, &size) in sizes.iter().enumerate() {
        let crc32 = known.then(|| crc_of(entry, size));
        let name = format!("f{entry}");
        builder
            .file(ArchiveFile {
                name: &name,
                size,
                crc32,
                modified: Some(1_700_000_000),
                ..ArchiveFile::default()
            })
            .unwrap();
    }
    Arc::new(builder.finish().unwrap())
}
