//! Archives around and far beyond the limits of 32 and 16 bits, without a disk: a reader reads them
//! by offset, and only the bytes that it asks for come into being. The idea is that of Go's sparse
//! Zip64 tests.
//!
//! A central directory of 4 GiB would take as much memory in names; its end record is among the
//! golden ones.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use outflow_content::{Span, SpanError, Spans};
use outflow_zip::{Archive, ArchiveFile, Bodies, Form, Layout, LayoutBuilder};
use rawzip::{RECOMMENDED_BUFFER_SIZE, ReaderAt, ZipLocator};

use crate::support::take;

const G4: u64 = 1 << 32;

/// Bodies of zeros of these sizes.
struct Zeros(Vec<u64>);

/// The CRC-32 of what is too long to check it.
const CRC: u32 = 0x0bad_cafe;

fn crc_of(size: u64) -> u32 {
    if size < 100 { crc32fast::hash(&NOTHING[..size as usize]) } else { CRC }
}

static NOTHING: [u8; 1 << 16] = [0; 1 << 16];

impl Bodies for Zeros {
    fn body(&self, _: usize, _: u64, len: u64) -> Result<Span, SpanError> {
        Ok(Span::Memory(Bytes::from_static(&NOTHING[..len.min(1 << 16) as usize])))
    }

    fn crc32(&self, entry: usize) -> Option<u32> {
        Some(crc_of(self.0[entry]))
    }

    fn compute_crc32(&self, _: usize) -> Pin<Box<dyn Future<Output = Result<u32, SpanError>> + Send>> {
        unreachable!("it is known")
    }

    fn learned_crc32(&self, _: usize, _: u32) {
        unreachable!("it is known")
    }
}

struct Virtual(Archive<Zeros>);

impl ReaderAt for Virtual {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let end = self.0.len().min(offset.saturating_add(buf.len() as u64));
        let bytes = take(&self.0, offset.min(end)..end).map_err(|(_, error)| io::Error::other(error))?;
        buf[..bytes.len()].copy_from_slice(&bytes);
        Ok(bytes.len())
    }
}

fn layout(sizes: &[u64], form: Form) -> Layout {
    let mut builder = LayoutBuilder::new();
    for (entry, &size) in sizes.iter().enumerate() {
        let crc32 = (form == Form::Stored).then(|| crc_of(size));
        builder
            .file(ArchiveFile { name: &format!("f{entry}"), size, crc32, ..ArchiveFile::default() })
            .unwrap();
    }
    builder.finish().unwrap()
}

fn archive(layout: &Arc<Layout>) -> Archive<Zeros> {
    let sizes = (0..layout.entries()).map(|entry| layout.size(entry)).collect();
    Archive::new(Arc::clone(layout), Arc::new(Zeros(sizes)))
}

/// Reads all there is but the bodies, and compares it with the layout.
fn check(layout: Layout) -> Arc<Layout> {
    let layout = Arc::new(layout);
    let archive = archive(&layout);
    let mut buffer = vec![0; RECOMMENDED_BUFFER_SIZE];
    let read = ZipLocator::new()
        .locate_in_reader(Virtual(archive), &mut buffer, layout.len())
        .map_err(|(_, error)| error)
        .unwrap();
    assert_eq!(read.entries_hint(), layout.entries() as u64);
    let mut entries = read.entries(&mut buffer);
    let mut entry = 0;
    while let Some(record) = entries.next_entry().unwrap() {
        assert_eq!(record.file_path().as_ref(), layout.name(entry).as_bytes());
        assert_eq!(record.uncompressed_size_hint(), layout.size(entry), "{entry}");
        let body = layout.body_range(entry);
        assert_eq!(record.compressed_size_hint(), body.end - body.start, "{entry}");
        assert_eq!(record.local_header_offset(), layout.entry_range(entry).start, "{entry}");
        assert_eq!(record.crc32(), crc_of(layout.size(entry)));
        // The local header is where the record says, and agrees about where the bytes are.
        if entry < 1_000 {
            let local = read.get_entry(record.wayfinder()).unwrap();
            assert_eq!(local.compressed_data_range(), (body.start, body.end), "{entry}");
        }
        entry += 1;
    }
    assert_eq!(entry, layout.entries());
    layout
}

fn bytes(layout: &Arc<Layout>, start: u64, end: u64) -> Vec<u8> {
    take(&archive(layout), start..end).unwrap()
}

fn has_zip64_end(layout: &Arc<Layout>) -> bool {
    bytes(layout, layout.len() - 42, layout.len()).starts_with(&0x0706_4b50u32.to_le_bytes())
}

/// How long the header, the descriptor and the central record of an entry are.
fn lengths(layout: &Layout, entry: usize) -> (u64, u64) {
    let (range, body) = (layout.entry_range(entry), layout.body_range(entry));
    (body.start - range.start, range.end - body.end)
}

#[test]
fn sizes_at_the_limit() {
    // The header has 30 bytes and the name 2, a Zip64 field 20.
    for (size, header) in [(G4 - 2, 32), (G4 - 1, 52), (G4, 52), (5 << 30, 52)] {
        let layout = check(layout(&[1, size, 7], Form::Stored));
        assert_eq!(lengths(&layout, 1), (header, 0), "{size}");
        assert_eq!(lengths(&layout, 0), (32, 0), "the first entry stays plain");
        assert_eq!(lengths(&layout, 2), (32, 0));
        assert!(has_zip64_end(&layout), "for the offset of the directory");
    }
}

#[test]
fn framed_sizes_at_the_limit() {
    // So many bytes fill 0xFFFFFFFE with their blocks' headers.
    let most = G4 - 2 - 5 * 65_533;
    for (size, lens) in [
        (most - 1, (32, 16)),
        (most, (32, 16)),
        (most + 1, (52, 24)),
        (G4 - 2, (52, 24)),
        (G4 - 1, (52, 24)),
        (G4, (52, 24)),
        (5 << 30, (52, 24)),
    ] {
        let layout = check(layout(&[1, size, 7], Form::Streamed));
        assert_eq!(lengths(&layout, 1), lens, "{size}");
        let (body, range) = (layout.body_range(1), layout.entry_range(1));
        assert_eq!(body.end - body.start, size + 5 * size.div_ceil(65_535));

        let descriptor = bytes(&layout, body.end, range.end);
        let mut expected = vec![0x50, 0x4b, 0x07, 0x08, 0xfe, 0xca, 0xad, 0x0b];
        for value in [body.end - body.start, size] {
            expected.extend_from_slice(&value.to_le_bytes()[..if lens.1 == 24 { 8 } else { 4 }]);
        }
        assert_eq!(descriptor, expected, "{size}");

        // The last block's header, and the last byte before the descriptor.
        let rest = (size - 1) % 65_535 + 1;
        let last = bytes(&layout, body.end - rest - 5, body.end);
        let len = (rest as u16).to_le_bytes();
        assert_eq!(last[..5], [1, len[0], len[1], !len[0], !len[1]], "{size}");
    }
}

#[test]
fn offsets_at_the_limit() {
    for offset in [G4 - 2, G4 - 1, G4, G4 + 1] {
        // The second entry begins at the offset.
        let layout = check(layout(&[offset - 32, 5], Form::Stored));
        assert_eq!(layout.entry_range(1).start, offset);
        let zip64 = if offset >= G4 - 1 { 12 } else { 0 };
        let directory = layout.len() - layout.entry_range(1).end;
        assert_eq!(directory, 48 + 48 + zip64 + 98, "{offset}");

        // The directory begins at the offset.
        let layout = check(self::layout(&[offset - 32], Form::Stored));
        assert_eq!(has_zip64_end(&layout), offset >= G4 - 1, "{offset}");
        let end = bytes(&layout, layout.len() - 22, layout.len());
        let mark = u32::try_from(offset.min(G4 - 1)).unwrap();
        assert_eq!(end[16..20], mark.to_le_bytes(), "{offset}");
        assert_eq!(end[8..12], [1, 0, 1, 0], "what fits is said");
    }
}

#[test]
fn counts_at_the_limit() {
    for (entries, zip64) in [(65_534, false), (65_535, true), (65_536, true)] {
        let layout = check(layout(&vec![0; entries], Form::Stored));
        assert_eq!(has_zip64_end(&layout), zip64, "{entries}");
    }
}

#[test]
fn an_archive_of_100_gib() {
    for form in [Form::Stored, Form::Streamed] {
        let layout = check(layout(&[1 << 30; 100], form));
        assert!(layout.len() > 100 << 30);
        assert_eq!(lengths(&layout, 99), if form == Form::Stored { (33, 0) } else { (33, 16) });
    }
}

#[test]
fn an_archive_of_nearly_8_eib() {
    for form in [Form::Stored, Form::Streamed] {
        let layout = check(layout(&[7, (1 << 62) + (1 << 61), 1 << 60, 9], form));
        assert!(layout.len() > 7 << 60);
        // A range in the very middle.
        assert_eq!(bytes(&layout, 1 << 61, (1 << 61) + 1_000_000).len(), 1_000_000);
    }
}
