//! What an independent reader finds: rawzip for the structure, miniz_oxide for the blocks.

use std::collections::HashSet;

use outflow_zip::{Form, Layout};
use rawzip::{CompressionMethod, ZipArchive};

use crate::support::{Way, archive, layout_of, whole};

/// Reads an archive of made up contents, and compares everything with its layout.
pub(crate) fn check(layout: &Layout, bytes: &[u8]) {
    let read = ZipArchive::from_slice(bytes).unwrap();
    assert_eq!(read.entries_hint(), layout.entries() as u64);
    let mut names = HashSet::new();
    let mut entries = 0;
    for record in read.entries() {
        let record = record.unwrap();
        let entry = entries;
        entries += 1;

        let name = layout.name(entry);
        assert_eq!(record.file_path().as_ref(), name.as_bytes());
        assert_eq!(record.is_dir(), layout.is_directory(entry));
        assert_eq!(record.uncompressed_size_hint(), layout.size(entry));
        assert_eq!(record.local_header_offset(), layout.entry_range(entry).start);
        assert_eq!(record.has_data_descriptor(), layout.form(entry) == Form::Streamed);
        // A careful reader has nothing to change. (This one takes the slash from a folder named
        // "a..".)
        let normal = record.file_path().try_normalize().unwrap();
        assert_eq!(normal.as_ref().trim_end_matches('/'), name.trim_end_matches('/'));
        assert!(names.insert(name.trim_end_matches('/').to_owned()), "{name} is there twice");

        let local = read.get_entry(record.wayfinder()).unwrap();
        let body = layout.body_range(entry);
        assert_eq!(local.compressed_data_range(), (body.start, body.end), "{name}");
        assert_eq!(local.file_path().as_ref(), name.as_bytes());
        let inflated = match record.compression_method() {
            CompressionMethod::Store => local.data().to_vec(),
            CompressionMethod::Deflate => miniz_oxide::inflate::decompress_to_vec(local.data()).unwrap(),
            other => panic!("{name} has the method {other:?}"),
        };
        assert_eq!(inflated.len() as u64, layout.size(entry), "{name}");
        // Of the descriptor, if there is one.
        assert_eq!(local.claim_verifier().crc(), crc32fast::hash(&inflated), "{name}");
        assert_eq!(local.claim_verifier().size(), inflated.len() as u64, "{name}");
        assert_eq!(record.crc32(), crc32fast::hash(&inflated), "{name}");
        if layout.size(entry) > 0 {
            assert!(inflated == crate::support::contents(entry, 0..layout.size(entry)), "{name}");
        }
    }
    assert_eq!(entries, layout.entries());
    // No file is a folder of another.
    for entry in 0..layout.entries() {
        let name = layout.name(entry).trim_end_matches('/');
        for (slash, _) in name.match_indices('/') {
            let file = (0..layout.entries()).find(|other| layout.name(*other) == &name[..slash]);
            assert_eq!(file, None, "{name} is in a file");
        }
    }
}

#[test]
fn an_empty_archive_is_22_bytes() {
    let layout = layout_of(&[], true);
    let bytes = whole(&archive(&layout, Way::Memory));
    assert_eq!((layout.len(), layout.entries()), (22, 0));
    check(&layout, &bytes);
}

#[test]
fn both_forms_read_back() {
    for known in [true, false] {
        for way in [Way::Memory, Way::Pieces, Way::Feed, Way::File] {
            let layout = layout_of(&[0, 1, 65_534, 65_535, 65_536, 131_070, 131_071, 1_000_000], known);
            check(&layout, &whole(&archive(&layout, way)));
        }
    }
}

#[test]
fn a_streamed_file_takes_five_bytes_more_for_each_block_and_a_descriptor() {
    let layout = layout_of(&[0, 1, 65_535, 65_536], false);
    let framed: Vec<u64> =
        (0..4).map(|entry| layout.body_range(entry)).map(|body| body.end - body.start).collect();
    assert_eq!(framed, [0, 6, 65_540, 65_546]);
    assert_eq!(layout.form(0), Form::Stored, "a file without bytes is never deflated");
    assert_eq!(layout.crc32(0), Some(0));
    assert_eq!(layout.entry_range(1).end - layout.body_range(1).end, 16);
}
