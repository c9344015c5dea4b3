//! Prints what a plan of a million entries costs: `cargo run --release -p outflow-zip --example
//! million`.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use outflow_content::{Span, SpanError, Spans};
use outflow_zip::{Archive, ArchiveFile, Bodies, LayoutBuilder};

const ENTRIES: usize = 1_000_000;

struct Zeros;

impl Bodies for Zeros {
    fn body(&self, _: usize, _: u64, len: u64) -> Result<Span, SpanError> {
        Ok(Span::Memory(Bytes::from(vec![0; len as usize])))
    }

    fn crc32(&self, _: usize) -> Option<u32> {
        None
    }

    fn compute_crc32(&self, _: usize) -> Pin<Box<dyn Future<Output = Result<u32, SpanError>> + Send>> {
        Box::pin(std::future::ready(Ok(0)))
    }

    fn learned_crc32(&self, _: usize, _: u32) {}
}

fn main() {
    // Names of 40 bytes in a thousand folders, all in one buffer: what is measured is the plan.
    let names: String =
        (0..ENTRIES).map(|i| format!("photos/{:04}/a-name-of-forty-byte-{i:07}", i / 1_000)).collect();
    let name = |i: usize| &names[i * 40..(i + 1) * 40];
    let before = memory_kib("VmRSS");

    for (what, order) in [("sorted", 1), ("shuffled", 7_919)] {
        let (start, cpu) = (Instant::now(), cpu_ms());
        let mut builder = LayoutBuilder::with_capacity(ENTRIES, 40 * ENTRIES);
        for i in 0..ENTRIES {
            let name = name(i * order % ENTRIES);
            let file = ArchiveFile {
                name,
                size: 1_000_000,
                modified: Some(i as i64),
                crc32: Some(1),
                ..ArchiveFile::default()
            };
            builder.file(file).expect("safe and short");
        }
        let layout = Arc::new(builder.finish().expect("a terabyte is no trouble"));
        let (planned, cpu) = (start.elapsed(), cpu_ms() - cpu);

        let archive = Archive::new(Arc::clone(&layout), Arc::new(Zeros));
        let start = Instant::now();
        let mut at = layout.len() / 2;
        for _ in 0..1_000 {
            let span = archive.span_at(at).expect("bytes of zeros");
            at = (at + 7 * span.len() + 999_999_937) % layout.len();
        }
        let spans = start.elapsed() / 1_000;

        let directory = layout.entry_range(ENTRIES - 1).end;
        let start = Instant::now();
        let len = archive.span_at((directory + layout.len()) / 2).expect("in memory").len();
        let central = start.elapsed();

        println!("{what}: {ENTRIES} entries, {} bytes, etag {}", layout.len(), layout.etag());
        println!("  planned in          {planned:?} ({cpu} ms of CPU)");
        println!("  layout in memory    {:.1} MB", layout.memory() as f64 / 1e6);
        println!("  a span              {spans:?} (a megabyte of body among them)");
        println!("  {len} bytes of the central directory's middle in {central:?}");
    }
    let peak = memory_kib("VmHWM").saturating_sub(before);
    println!("peak of the process above its names: {:.1} MB", peak as f64 * 1024.0 / 1e6);
}

/// What the process has had of the processors: the elapsed time of a busy machine says little.
fn cpu_ms() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    stat.split(' ').next().and_then(|ns| ns.parse::<u64>().ok()).unwrap_or(0) / 1_000_000
}

fn memory_kib(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    line.and_then(|line| line.split_whitespace().nth(1)).and_then(|kib| kib.parse().ok()).unwrap_or(0)
}
