//! One delivery of an archive, which fetches the next files while one leaves.
//!
//! A store takes its time to answer. Fetched one after the other, many small files would leave no faster than
//! that; so up to [`FILES`] of them are on their way. Deliveries of a few files, a short range say, begin with few.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use outflow_content::{Source, Span, SpanError};
use outflow_zip::{Bodies, Layout};

use crate::archives::plan::Plan;

/// Most files on their way ahead of the one that leaves.
const FILES: usize = 48;
/// So many at first.
const FIRST: usize = 2;
/// Most bytes of them, together; of a large one only the beginning is fetched.
const BYTES: u64 = 4 << 20;
/// What is fetched of a large one, about.
const BEGINNING: u64 = 1 << 20;

/// A plan's bodies for one delivery.
pub(crate) struct Ahead {
    plan: Arc<Plan>,
    layout: Arc<Layout>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What is on its way, by entry, in the archive's order.
    coming: VecDeque<(usize, Arc<dyn Source>)>,
    /// The entry that was wanted last.
    last: Option<usize>,
    /// How many files may be on their way: twice as many with each that was wanted.
    depth: usize,
}

impl Ahead {
    pub(crate) fn new(plan: Arc<Plan>, layout: Arc<Layout>) -> Ahead {
        Ahead { plan, layout, state: Mutex::default() }
    }

    /// The source of `entry`, and the next ones asked for.
    fn source(&self, entry: usize) -> Result<Arc<dyn Source>, SpanError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while state.coming.front().is_some_and(|(first, _)| *first < entry) {
            state.coming.pop_front();
        }
        let came = if state.coming.front().is_some_and(|(first, _)| *first == entry) {
            state.coming.pop_front()
        } else {
            None
        };
        let source = match came {
            Some((_, source)) => {
                state.depth = (state.depth * 2).min(FILES);
                source
            }
            None => {
                if state.last != Some(entry) {
                    // Somewhere else in the archive.
                    state.coming.clear();
                    state.depth = FIRST;
                }
                self.plan.source(entry)?
            }
        };
        state.last = Some(entry);
        self.ask_ahead(&mut state, entry);
        Ok(source)
    }

    fn ask_ahead(&self, state: &mut State, entry: usize) {
        let mut next = state.coming.back().map_or(entry, |(last, _)| *last) + 1;
        let weight = |entry: usize| self.layout.size(entry).min(BEGINNING);
        let mut bytes: u64 = state.coming.iter().map(|(entry, _)| weight(*entry)).sum();
        while state.coming.len() < state.depth && bytes < BYTES && next < self.layout.entries() {
            let size = self.layout.size(next);
            if size > 0 {
                // What is wrong with it will be told when it is wanted.
                let Ok(source) = self.plan.source(next) else { return };
                source.fetch_ahead(0, size);
                bytes += weight(next);
                state.coming.push_back((next, source));
            }
            next += 1;
        }
    }
}

impl Bodies for Ahead {
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
