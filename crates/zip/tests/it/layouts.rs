//! What a layout says of itself: length, ETag, memory.

use outflow_zip::{ArchiveFile, Form, Layout, LayoutBuilder, LayoutError};

fn layout(files: &[ArchiveFile<'_>]) -> Layout {
    let mut builder = LayoutBuilder::new();
    for file in files {
        builder.file(*file).unwrap();
    }
    builder.finish().unwrap()
}

const FILE: ArchiveFile<'_> = ArchiveFile {
    name: "a",
    size: 5,
    modified: Some(1_700_000_000),
    crc32: Some(1),
    executable: false,
    version: 7,
};

#[test]
fn the_etag_depends_on_everything_that_decides_about_a_byte() {
    let etag = layout(&[FILE]).etag();
    assert_eq!(etag.len(), 32);
    assert!(etag.bytes().all(|byte| byte.is_ascii_hexdigit()));
    assert_eq!(layout(&[FILE]).etag(), etag, "and on nothing else");
    for (what, other) in [
        ("name", ArchiveFile { name: "b", ..FILE }),
        ("size", ArchiveFile { size: 6, ..FILE }),
        ("time", ArchiveFile { modified: Some(1_700_000_001), ..FILE }),
        ("no time", ArchiveFile { modified: None, ..FILE }),
        ("crc", ArchiveFile { crc32: Some(2), ..FILE }),
        ("form", ArchiveFile { crc32: None, ..FILE }),
        ("mode", ArchiveFile { executable: true, ..FILE }),
        ("version", ArchiveFile { version: 8, ..FILE }),
    ] {
        assert_ne!(layout(&[other]).etag(), etag, "{what}");
    }
    assert_ne!(layout(&[FILE, FILE]).etag(), etag);
    assert_ne!(layout(&[]).etag(), etag);
}

/// The ETag is kept by clients: it changes with the layout's version only. When this fails,
/// archives have become other ones; then the version has to change as well.
#[test]
fn the_etag_of_a_known_archive_stays() {
    let mut builder = LayoutBuilder::new();
    builder.file(FILE).unwrap();
    builder.file(ArchiveFile { crc32: None, ..FILE }).unwrap();
    builder.directory("d", None).unwrap();
    let layout = builder.finish().unwrap();
    assert_eq!((layout.len(), layout.etag().as_str()), (333, "f4549eddfa8b365cf226b5f8db3b79af"));
}

#[test]
fn a_layout_tells_what_it_was_made_of() {
    let mut builder = LayoutBuilder::with_capacity(3, 100);
    assert_eq!(builder.file(FILE), Ok(0));
    assert_eq!(builder.file(ArchiveFile { crc32: None, modified: Some(-5), ..FILE }), Ok(1));
    assert_eq!(builder.directory("d", None), Ok(2));
    assert_eq!(builder.directory("/d/", Some(1)), Ok(2));
    assert_eq!(builder.file(ArchiveFile { name: "d/x", modified: Some(1 << 40), ..FILE }), Ok(3));
    let layout = builder.finish().unwrap();
    assert_eq!(layout.entries(), 4);
    assert_eq!([0, 1, 2, 3].map(|entry| layout.name(entry)), ["a", "a (1)", "d/", "d/x"]);
    assert_eq!([0, 1, 2].map(|entry| layout.modified(entry)), [Some(1_700_000_000), Some(-5), None]);
    assert_eq!(layout.modified(3), Some(1 << 40));
    assert_eq!([0, 1, 2].map(|entry| layout.crc32(entry)), [Some(1), None, Some(0)]);
    assert_eq!([0, 1, 2].map(|entry| layout.form(entry)), [Form::Stored, Form::Streamed, Form::Stored]);
    assert_eq!([0, 1, 2].map(|entry| layout.is_directory(entry)), [false, false, true]);
    for entry in 0..4 {
        let range = layout.entry_range(entry);
        assert_eq!(layout.entry_at(range.start), Some(entry));
        assert_eq!(layout.entry_at(range.end - 1), Some(entry));
    }
    assert_eq!(layout.entry_at(layout.entry_range(3).end), None);
    assert_eq!(layout.entry_at(u64::MAX), None);
}

#[test]
fn sizes_that_no_archive_has_are_refused_and_the_rest_goes_on() {
    let mut builder = LayoutBuilder::new();
    for crc32 in [None, Some(1)] {
        for size in [u64::MAX, u64::MAX - 5, i64::MAX as u64, 1 << 63] {
            let refused = builder.file(ArchiveFile { size, crc32, ..FILE }).unwrap_err();
            assert!(matches!(refused, LayoutError::FileTooLarge { .. }), "{size}");
            assert!(refused.to_string().contains("make several archives"), "{refused}");
        }
    }
    let hostile = "x/".repeat(50_000);
    let refused = builder.file(ArchiveFile { name: &hostile, ..FILE }).unwrap_err();
    assert!(refused.to_string().len() < 250, "{refused}");
    assert_eq!(builder.directory(&hostile, None), Err(refused));
    assert_eq!(builder.file(FILE), Ok(0));
    assert_eq!(builder.finish().unwrap().name(0), "a");
}

#[test]
fn an_archive_may_be_as_long_as_a_file_and_no_longer() {
    let most = i64::MAX as u64;
    let around = layout(&[ArchiveFile { size: 1 << 62, ..FILE }]).len() - (1 << 62);
    assert_eq!(layout(&[ArchiveFile { size: most - around, ..FILE }]).len(), most);
    let mut builder = LayoutBuilder::new();
    builder.file(ArchiveFile { size: most - around + 1, ..FILE }).unwrap();
    assert_eq!(builder.finish().unwrap_err(), LayoutError::TooLarge);
}

#[test]
fn a_plan_of_a_million_entries_stays_within_its_memory() {
    let mut builder = LayoutBuilder::new();
    for i in 0..1_000_000 {
        let name = format!("photos/{:04}/a-name-of-forty-byte-{:07}", i / 1_000, i);
        assert_eq!(name.len(), 40);
        let crc32 = (i % 2 == 0).then_some(i);
        builder.file(ArchiveFile { name: &name, size: 1_000_000, crc32, ..FILE }).unwrap();
    }
    let layout = builder.finish().unwrap();
    assert_eq!(layout.entries(), 1_000_000);
    assert!(layout.memory() < 100_000_000, "{}", layout.memory());
    // Of what it is made: 32 bytes for an entry, its name, and little else.
    assert!(layout.memory() < 73_000_000, "{}", layout.memory());
}
