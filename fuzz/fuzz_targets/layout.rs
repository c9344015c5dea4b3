//! Any entries as an archive: the layout's length is the sum of its spans, and the bytes from any
//! offset are the same as those of the whole from there.
#![no_main]

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use outflow_content::{Span, SpanError, Spans};
use outflow_zip::{Archive, ArchiveFile, Bodies, LayoutBuilder};

#[derive(arbitrary::Arbitrary, Debug)]
struct Input {
    entries: Vec<Entry>,
    offsets: Vec<u32>,
}

#[derive(arbitrary::Arbitrary, Debug)]
enum Entry {
    File { name: String, size: u16, modified: Option<i64>, known: bool, executable: bool },
    Huge { name: String, size: u64, known: bool },
    Directory { name: String, modified: Option<i64> },
}

/// Every file is zeros; the sizes of those whose CRC can be asked for.
struct Zeros(Vec<u16>);

impl Bodies for Zeros {
    fn body(&self, _entry: usize, _offset: u64, len: u64) -> Result<Span, SpanError> {
        Ok(Span::Memory(Bytes::from(vec![0; len.min(1 << 17) as usize])))
    }

    fn crc32(&self, _entry: usize) -> Option<u32> {
        None
    }

    fn compute_crc32(&self, entry: usize) -> Pin<Box<dyn Future<Output = Result<u32, SpanError>> + Send>> {
        let zeros = vec![0; usize::from(self.0[entry])];
        Box::pin(std::future::ready(Ok(crc32fast::hash(&zeros))))
    }

    fn learned_crc32(&self, _entry: usize, _crc32: u32) {}
}

fuzz_target!(|input: Input| {
    let mut builder = LayoutBuilder::new();
    let mut small = true;
    let mut sizes = Vec::new();
    for entry in input.entries.iter().take(64) {
        let added = match entry {
            Entry::File { name, size, modified, known, executable } => builder.file(ArchiveFile {
                name,
                size: u64::from(*size),
                modified: *modified,
                crc32: known.then_some(7),
                executable: *executable,
                version: 0,
            }),
            Entry::Huge { name, size, known } => {
                small = false;
                builder.file(ArchiveFile {
                    name,
                    size: *size,
                    modified: None,
                    crc32: known.then_some(7),
                    executable: false,
                    version: 1,
                })
            }
            Entry::Directory { name, modified } => builder.directory(name, *modified),
        };
        let Ok(index) = added else { return };
        sizes.resize(sizes.len().max(index + 1), 0);
        if let Entry::File { size, .. } = entry {
            sizes[index] = *size;
        }
    }
    let Ok(layout) = builder.finish() else { return };
    let layout = Arc::new(layout);
    let mut names: Vec<&str> = (0..layout.entries()).map(|entry| layout.name(entry)).collect();
    names.sort_unstable();
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "names are unique");
    assert!(names.iter().all(|name| !name.starts_with('/') && !name.split('/').any(|part| part == "..")));

    let archive = Archive::new(Arc::clone(&layout), Arc::new(Zeros(sizes)));
    let len = archive.len();
    for offset in &input.offsets {
        let offset = (u64::from(*offset) << 24 ^ u64::from(*offset)) % len;
        assert!(archive.span_at(offset).is_ok_and(|span| !span.is_empty() && span.len() <= len - offset));
    }
    if small && len < 1 << 20 {
        let whole = collect(&archive, 0);
        assert_eq!(whole.len() as u64, len);
        for offset in input.offsets.iter().take(8) {
            let offset = u64::from(*offset) % len;
            assert_eq!(collect(&archive, offset), whole[offset as usize..], "from {offset}");
        }
    }
});

fn collect(archive: &Archive<Zeros>, mut offset: u64) -> Vec<u8> {
    let mut all = Vec::new();
    let mut context = Context::from_waker(Waker::noop());
    while offset < archive.len() {
        let span = archive.span_at(offset).expect("zeros can be had");
        let mut left = span.len();
        offset += left;
        match span {
            Span::Memory(bytes) => all.extend_from_slice(&bytes),
            Span::Feed(mut feed) => {
                while left > 0 {
                    let Poll::Ready(Some(Ok(mut chunk))) = feed.feed.poll_next(&mut context) else {
                        panic!("a feed of zeros never waits, fails or ends");
                    };
                    chunk.truncate(left as usize);
                    left -= chunk.len() as u64;
                    all.extend_from_slice(&chunk);
                }
            }
            Span::File(_) => panic!("there are no files"),
        }
    }
    all
}
