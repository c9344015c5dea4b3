//! The files of an archive for one delivery, fetched ahead of the one that is sent.
//!
//! A store takes its time to answer. Many small files, fetched one after the other, would be sent
//! no faster than that, so up to [`MAX_FILES_AHEAD`] of them are requested ahead. A delivery begins
//! with few, since it may be a short range.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use outflow_content::{Source, Span, SpanError};
use outflow_zip::{Bodies, Layout};
use parking_lot::Mutex;

use super::plan::ArchivePlan;

/// Maximum number of files that are fetched ahead of the one that is sent.
///
/// Bound: archives.
const MAX_FILES_AHEAD: usize = 48;
/// Number of files fetched ahead at first.
const FILES_AT_FIRST: usize = 2;
/// Maximum number of bytes that are fetched ahead; only the beginning of a large file is.
///
/// Bound: archives.
const MAX_BYTES_AHEAD: u64 = 4 << 20;
/// About what is fetched ahead of a large file, in bytes.
const BEGINNING: u64 = 1 << 20;

/// A plan's bodies for one delivery.
pub(crate) struct PrefetchingBodies {
    plan: Arc<ArchivePlan>,
    layout: Arc<Layout>,
    queue: Mutex<PrefetchQueue>,
}

#[derive(Default)]
struct PrefetchQueue {
    /// The files that are fetched, by entry, in the archive's order.
    fetching: VecDeque<(usize, Arc<dyn Source>)>,
    /// The entry that was requested last.
    last: Option<usize>,
    /// Number of files to fetch ahead; doubles with each file that was.
    depth: usize,
}

impl PrefetchingBodies {
    pub(crate) fn new(plan: Arc<ArchivePlan>, layout: Arc<Layout>) -> PrefetchingBodies {
        PrefetchingBodies { plan, layout, queue: Mutex::default() }
    }

    /// The source of `entry`; requests the next ones.
    fn source(&self, entry: usize) -> Result<Arc<dyn Source>, SpanError> {
        let mut state = self.queue.lock();
        while state.fetching.front().is_some_and(|(first, _)| *first < entry) {
            state.fetching.pop_front();
        }
        let came = if state.fetching.front().is_some_and(|(first, _)| *first == entry) {
            state.fetching.pop_front()
        } else {
            None
        };
        let source = match came {
            Some((_, source)) => {
                state.depth = (state.depth * 2).min(MAX_FILES_AHEAD);
                source
            }
            None => {
                if state.last != Some(entry) {
                    // Somewhere else in the archive.
                    state.fetching.clear();
                    state.depth = FILES_AT_FIRST;
                }
                self.plan.source(entry)?
            }
        };
        state.last = Some(entry);
        self.fetch_ahead(&mut state, entry);
        Ok(source)
    }

    fn fetch_ahead(&self, state: &mut PrefetchQueue, entry: usize) {
        let mut next = state.fetching.back().map_or(entry, |(last, _)| *last) + 1;
        let weight = |entry: usize| self.layout.size(entry).min(BEGINNING);
        let mut bytes: u64 = state.fetching.iter().map(|(entry, _)| weight(*entry)).sum();
        while state.fetching.len() < state.depth && bytes < MAX_BYTES_AHEAD && next < self.layout.entries() {
            let size = self.layout.size(next);
            if size > 0 {
                // The error is reported when the file is sent.
                let Ok(source) = self.plan.source(next) else { return };
                source.fetch_ahead(0, size);
                bytes += weight(next);
                state.fetching.push_back((next, source));
            }
            next += 1;
        }
    }
}

impl Bodies for PrefetchingBodies {
    fn body(&self, entry: usize, offset: u64, len: u64) -> Result<Span, SpanError> {
        if !self.plan.tree().is_remote() {
            return self.plan.body(entry, offset, len);
        }
        Ok(self.source(entry)?.span(offset, len))
    }

    fn crc32(&self, entry: usize) -> Option<u32> {
        self.plan.crc32(entry)
    }

    fn compute_crc32(&self, entry: usize) -> Pin<Box<dyn Future<Output = Result<u32, SpanError>> + Send>> {
        self.plan.compute_crc32(entry)
    }

    fn learned_crc32(&self, entry: usize, crc32: u32) {
        self.plan.learned_crc32(entry, crc32);
    }
}
