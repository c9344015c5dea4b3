//! Log lines, written in blocks by a thread of their own.
//!
//! A thread that logs appends a line to the block that is being filled, and waits for nothing. The
//! block is written when it is full or has waited for [`DELAY`], or at once if a line is in it that
//! should not wait. Lines are never torn. While their reader is too slow, further lines are
//! dropped, counted, and reported as soon as there is room.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tracing::Metadata;
use tracing_subscriber::fmt::MakeWriter;

/// Length of a block that is written without waiting for more, in bytes.
const BLOCK: usize = 64 << 10;
/// Maximum length of lines that wait to be written, in bytes; further lines are dropped.
///
/// Bound: logs.
const MAX_WAITING: usize = 2 << 20;
/// How long a line waits for others.
const DELAY: Duration = Duration::from_millis(200);
/// How long the end of the process waits for the last lines to be written.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Takes lines. Clones share the block.
#[derive(Clone)]
pub(super) struct LogBlocks {
    shared: Arc<SharedBlocks>,
    /// The target whose lines may wait.
    patient: &'static str,
}

/// Dropping it writes the lines that wait, and ends the thread.
pub(crate) struct LogGuard(Arc<SharedBlocks>);

#[derive(Default)]
struct SharedBlocks {
    state: Mutex<BlockState>,
    changed: Condvar,
}

#[derive(Default)]
struct BlockState {
    /// Whole lines.
    waiting: Vec<u8>,
    /// One of them should not wait.
    is_urgent: bool,
    /// Lines that were dropped since the last report.
    dropped: u64,
    is_closed: bool,
    has_ended: bool,
}

impl LogBlocks {
    /// Starts the thread, which writes to `output`. Lines of the target `patient` may wait for
    /// others.
    ///
    /// # Errors
    ///
    /// The thread cannot be started.
    pub(super) fn start(
        output: impl Write + Send + 'static,
        patient: &'static str,
    ) -> io::Result<(LogBlocks, LogGuard)> {
        let shared = Arc::<SharedBlocks>::default();
        let thread = Arc::clone(&shared);
        std::thread::Builder::new().name("log".to_owned()).spawn(move || thread.write_all(output))?;
        Ok((LogBlocks { shared: Arc::clone(&shared), patient }, LogGuard(shared)))
    }
}

impl<'a> MakeWriter<'a> for LogBlocks {
    type Writer = LineWriter<'a>;

    fn make_writer(&'a self) -> LineWriter<'a> {
        LineWriter { shared: &self.shared, is_urgent: true }
    }

    fn make_writer_for(&'a self, line: &Metadata<'_>) -> LineWriter<'a> {
        LineWriter { shared: &self.shared, is_urgent: line.target() != self.patient }
    }
}

/// Takes one line, in one call.
pub(super) struct LineWriter<'a> {
    shared: &'a SharedBlocks,
    is_urgent: bool,
}

impl Write for LineWriter<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.shared.push(line, self.is_urgent);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl SharedBlocks {
    fn push(&self, line: &[u8], is_urgent: bool) {
        let mut state = self.state.lock();
        let before = state.waiting.len();
        if before + line.len() > MAX_WAITING {
            state.dropped += 1;
            return;
        }
        state.waiting.extend_from_slice(line);
        let wakes = before == 0 || (is_urgent && !state.is_urgent) || (before < BLOCK && state.is_full());
        state.is_urgent |= is_urgent;
        drop(state);
        if wakes {
            self.changed.notify_all();
        }
    }

    /// Writes blocks until the guard is dropped and nothing waits.
    fn write_all(&self, mut output: impl Write) {
        let mut block = Vec::new();
        loop {
            let dropped = {
                let mut state = self.state.lock();
                self.changed.wait_while(&mut state, |state| state.waiting.is_empty() && !state.is_closed);
                let until = Instant::now() + DELAY;
                while !(state.is_urgent || state.is_closed || state.is_full()) {
                    if self.changed.wait_until(&mut state, until).timed_out() {
                        break;
                    }
                }
                if state.waiting.is_empty() {
                    state.has_ended = true;
                    self.changed.notify_all();
                    return;
                }
                std::mem::swap(&mut block, &mut state.waiting);
                state.is_urgent = false;
                std::mem::take(&mut state.dropped)
            };
            // If that fails, no one is left to be told.
            let _ = output.write_all(&block).and_then(|()| output.flush());
            block.clear();
            block.shrink_to(2 * BLOCK);
            if dropped > 0 {
                tracing::warn!(lines = dropped, "log lines were dropped: they were read too slowly");
            }
        }
    }
}

impl BlockState {
    fn is_full(&self) -> bool {
        self.waiting.len() >= BLOCK
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.is_closed = true;
        self.0.changed.notify_all();
        self.0.changed.wait_while_for(&mut state, |state| !state.has_ended, LAST_LINES);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// Passes each block on, when it is allowed to.
    struct Gate {
        allowed: Receiver<()>,
        blocks: Sender<Vec<u8>>,
    }

    impl Write for Gate {
        fn write(&mut self, block: &[u8]) -> io::Result<usize> {
            let _ = self.allowed.recv();
            let _ = self.blocks.send(block.to_vec());
            Ok(block.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn gate() -> (Gate, Sender<()>, Receiver<Vec<u8>>) {
        let ((allow, allowed), (blocks, written)) = (channel(), channel());
        (Gate { allowed, blocks }, allow, written)
    }

    #[test]
    fn lines_of_many_threads_are_whole_and_none_is_lost() {
        let (output, allow, written) = gate();
        drop(allow);
        let (blocks, guard) = LogBlocks::start(output, "patient").unwrap();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let shared = &blocks.shared;
                scope.spawn(move || {
                    for number in 0..1000 {
                        let line = format!("{thread} {number} {}\n", "x".repeat(number % 90));
                        shared.push(line.as_bytes(), number % 100 == 0);
                    }
                });
            }
        });
        drop((guard, blocks));
        let all = String::from_utf8(written.into_iter().flatten().collect()).unwrap();
        let mut next = [0; 4];
        for line in all.lines() {
            let mut words = line.split(' ');
            let mut number = || words.next().unwrap().parse::<usize>().unwrap();
            let (thread, number) = (number(), number());
            assert_eq!((next[thread], words.next()), (number, Some(&*"x".repeat(number % 90))));
            next[thread] += 1;
        }
        assert_eq!(next, [1000; 4]);
    }

    #[test]
    fn a_reader_that_stalls_stops_nobody_and_loses_only_what_has_no_room() {
        let (output, allow, written) = gate();
        let (blocks, guard) = LogBlocks::start(output, "patient").unwrap();
        let line = [b'x'; 1023].into_iter().chain([b'\n']).collect::<Vec<u8>>();
        // The thread takes the first, and waits with it for its reader.
        blocks.shared.push(&line, true);
        while !blocks.shared.state.lock().waiting.is_empty() {
            std::thread::yield_now();
        }
        for _ in 0..MAX_WAITING / line.len() + 10 {
            blocks.shared.push(&line, true);
        }
        assert_eq!(blocks.shared.state.lock().dropped, 10);
        drop(allow);
        drop(guard);
        let all: Vec<u8> = written.into_iter().flatten().collect();
        assert_eq!(all.len(), line.len() + MAX_WAITING);
        assert!(all.chunks(line.len()).all(|chunk| chunk == line));
    }

    #[test]
    fn lines_that_may_wait_are_written_together_and_an_urgent_one_takes_them_along() {
        let (output, allow, written) = gate();
        drop(allow);
        let (blocks, guard) = LogBlocks::start(output, "patient").unwrap();
        blocks.shared.push(b"a\n", false);
        blocks.shared.push(b"b\n", false);
        blocks.shared.push(b"c\n", true);
        let first = written.recv().unwrap();
        assert!(first.ends_with(b"c\n") || first == b"a\nb\n" || first == b"a\n", "{first:?}");
        drop((guard, blocks));
        let rest: Vec<u8> = written.into_iter().flatten().collect();
        assert_eq!([first, rest].concat(), b"a\nb\nc\n");
    }
}
