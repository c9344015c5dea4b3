//! Each record's bytes, field by field.

use super::*;

const G4: u64 = 1 << 32;

fn hex(text: &str) -> Vec<u8> {
    let digits: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    (0..digits.len()).step_by(2).map(|i| u8::from_str_radix(&digits[i..i + 2], 16).unwrap()).collect()
}

fn stored<'a>(name: &'a str, size: u64) -> EntryHeader<'a> {
    EntryHeader {
        name,
        offset: 0,
        size,
        framed: size,
        crc32: 0x1234_5678,
        modified: None,
        form: Form::Stored,
        directory: false,
        executable: false,
    }
}

fn streamed<'a>(name: &'a str, size: u64) -> EntryHeader<'a> {
    EntryHeader {
        form: Form::Streamed,
        framed: framed_len(Form::Streamed, size).unwrap(),
        ..stored(name, size)
    }
}

/// 2023-11-14 22:13:20 UTC: DOS time b1aa, date 576e; 6553f100 in hexadecimal.
const NOVEMBER: Option<i64> = Some(1_700_000_000);

fn check(entry: EntryHeader<'_>, local: &str, descriptor: &str, central: &str) {
    let mut out = Vec::new();
    entry.put_local(&mut out);
    assert_eq!(out, hex(local), "local header");
    assert_eq!(out.len() as u64, entry.local_len());
    out.clear();
    if entry.descriptor_len() > 0 {
        entry.put_descriptor(&mut out);
    }
    assert_eq!(out, hex(descriptor), "descriptor");
    assert_eq!(out.len() as u64, entry.descriptor_len());
    out.clear();
    entry.put_central(&mut out);
    assert_eq!(out, hex(central), "central record");
    assert_eq!(out.len() as u64, entry.central_len());
}

#[test]
fn a_stored_file() {
    check(
        EntryHeader { modified: NOVEMBER, offset: 0x0102_0304, ..stored("a.txt", 5) },
        "504b0304 1400 0000 0000 aab1 6e57 78563412 05000000 05000000 0500 0900 612e747874
         5554 0500 01 00f15365",
        "",
        "504b0102 2d03 1400 0000 0000 aab1 6e57 78563412 05000000 05000000 0500 0900 0000 0000 0000
         0000a481 04030201 612e747874 5554 0500 01 00f15365",
    );
}

#[test]
fn a_file_without_a_time() {
    check(
        stored("a", 5),
        "504b0304 1400 0000 0000 0000 2100 78563412 05000000 05000000 0100 0000 61",
        "",
        "504b0102 2d03 1400 0000 0000 0000 2100 78563412 05000000 05000000 0100 0000 0000 0000 0000
         0000a481 00000000 61",
    );
}

#[test]
fn an_executable_file_with_a_name_beyond_ascii() {
    check(
        EntryHeader { executable: true, ..stored("ä", 1) },
        "504b0304 1400 0008 0000 0000 2100 78563412 01000000 01000000 0200 0000 c3a4",
        "",
        "504b0102 2d03 1400 0008 0000 0000 2100 78563412 01000000 01000000 0200 0000 0000 0000 0000
         0000ed81 00000000 c3a4",
    );
}

#[test]
fn a_folder() {
    check(
        EntryHeader { directory: true, crc32: 0, modified: NOVEMBER, ..stored("d/", 0) },
        "504b0304 1400 0000 0000 aab1 6e57 00000000 00000000 00000000 0200 0900 642f 5554 0500 01 00f15365",
        "",
        "504b0102 2d03 1400 0000 0000 aab1 6e57 00000000 00000000 00000000 0200 0900 0000 0000 0000
         1000ed41 00000000 642f 5554 0500 01 00f15365",
    );
}

#[test]
fn a_streamed_file() {
    check(
        streamed("a", 65_536),
        "504b0304 1400 0800 0800 0000 2100 00000000 00000000 00000000 0100 0000 61",
        "504b0708 78563412 0a000100 00000100",
        "504b0102 2d03 1400 0800 0800 0000 2100 78563412 0a000100 00000100 0100 0000 0000 0000 0000
         0000a481 00000000 61",
    );
}

#[test]
fn a_stored_file_with_zip64() {
    check(
        EntryHeader { modified: NOVEMBER, ..stored("a", G4) },
        "504b0304 2d00 0000 0000 aab1 6e57 78563412 ffffffff ffffffff 0100 1d00 61
         0100 1000 0000000001000000 0000000001000000 5554 0500 01 00f15365",
        "",
        "504b0102 2d03 2d00 0000 0000 aab1 6e57 78563412 ffffffff ffffffff 0100 1d00 0000 0000 0000
         0000a481 00000000 61 0100 1000 0000000001000000 0000000001000000 5554 0500 01 00f15365",
    );
}

/// The size fits, its blocks do not: the local header has both sizes, the central record one.
#[test]
fn a_streamed_file_with_zip64_for_its_framed_size() {
    check(
        streamed("a", G4 - 2),
        "504b0304 2d00 0800 0800 0000 2100 00000000 ffffffff ffffffff 0100 1400 61
         0100 1000 0000000000000000 0000000000000000",
        "504b0708 78563412 0300050001000000 feffffff00000000",
        "504b0102 2d03 2d00 0800 0800 0000 2100 78563412 ffffffff feffffff 0100 0c00 0000 0000 0000
         0000a481 00000000 61 0100 0800 0300050001000000",
    );
}

#[test]
fn a_streamed_file_with_zip64_for_all_that_there_is() {
    check(
        EntryHeader { offset: 2 * G4, ..streamed("a", G4) },
        "504b0304 2d00 0800 0800 0000 2100 00000000 ffffffff ffffffff 0100 1400 61
         0100 1000 0000000000000000 0000000000000000",
        "504b0708 78563412 0a00050001000000 0000000001000000",
        "504b0102 2d03 2d00 0800 0800 0000 2100 78563412 ffffffff ffffffff 0100 1c00 0000 0000 0000
         0000a481 ffffffff 61 0100 1800 0000000001000000 0a00050001000000 0000000002000000",
    );
}

/// The local header stays plain then.
#[test]
fn a_file_with_zip64_for_its_offset() {
    check(
        EntryHeader { offset: G4 - 1, ..stored("a", 3) },
        "504b0304 1400 0000 0000 0000 2100 78563412 03000000 03000000 0100 0000 61",
        "",
        "504b0102 2d03 2d00 0000 0000 0000 2100 78563412 03000000 03000000 0100 0c00 0000 0000 0000
         0000a481 ffffffff 61 0100 0800 ffffffff00000000",
    );
}

/// Exactly 0xFFFFFFFF is the mark for Zip64, so that it cannot be a value.
#[test]
fn the_limit_itself_needs_zip64() {
    assert_eq!(stored("a", G4 - 2).local_len(), 31);
    assert_eq!(stored("a", G4 - 1).local_len(), 51);
    assert_eq!(EntryHeader { offset: G4 - 2, ..stored("a", 1) }.central_len(), 47);
    assert_eq!(EntryHeader { offset: G4 - 1, ..stored("a", 1) }.central_len(), 59);
    // 65,533 blocks: 0xFFFFFFFE bytes with their headers, and one more.
    let most = G4 - 2 - 5 * 65_533;
    assert_eq!(framed_len(Form::Streamed, most), Some(G4 - 2));
    assert_eq!((streamed("a", most).local_len(), streamed("a", most).descriptor_len()), (31, 16));
    assert_eq!((streamed("a", most + 1).local_len(), streamed("a", most + 1).descriptor_len()), (51, 24));
}

#[test]
fn times_beyond_32_bits_are_clamped_alike_in_both_headers() {
    for (modified, ut) in [(i64::MAX, "ffffff7f"), (i64::MIN, "00000080"), (-1, "ffffffff")] {
        let entry = EntryHeader { modified: Some(modified), ..stored("a", 1) };
        let (mut local, mut central) = (Vec::new(), Vec::new());
        entry.put_local(&mut local);
        entry.put_central(&mut central);
        let expected = hex(&format!("5554 0500 01 {ut}"));
        assert!(local.ends_with(&expected) && central.ends_with(&expected), "{modified}");
    }
}

fn check_end(end: EndRecord, expected: &str) {
    let mut out = Vec::new();
    end.put(&mut out);
    assert_eq!(out, hex(expected));
    assert_eq!(out.len() as u64, end.end_len());
}

#[test]
fn the_end() {
    check_end(
        EndRecord { entries: 0, offset: 0, len: 0 },
        "504b0506 0000 0000 0000 0000 00000000 00000000 0000",
    );
    check_end(
        EndRecord { entries: 65_534, offset: G4 - 2, len: G4 - 2 },
        "504b0506 0000 0000 feff feff feffffff feffffff 0000",
    );
}

#[test]
fn the_end_with_zip64_keeps_what_fits() {
    check_end(
        EndRecord { entries: 2, offset: G4 - 1, len: 0x100 },
        "504b0606 2c00000000000000 2d03 2d00 00000000 00000000 0200000000000000 0200000000000000
         0001000000000000 ffffffff00000000
         504b0607 00000000 ff00000001000000 01000000
         504b0506 0000 0000 0200 0200 00010000 ffffffff 0000",
    );
    check_end(
        EndRecord { entries: 65_535, offset: 5, len: 6 },
        "504b0606 2c00000000000000 2d03 2d00 00000000 00000000 ffff000000000000 ffff000000000000
         0600000000000000 0500000000000000
         504b0607 00000000 0b00000000000000 01000000
         504b0506 0000 0000 ffff ffff 06000000 05000000 0000",
    );
    check_end(
        EndRecord { entries: 65_536, offset: 5, len: G4 - 1 },
        "504b0606 2c00000000000000 2d03 2d00 00000000 00000000 0000010000000000 0000010000000000
         ffffffff00000000 0500000000000000
         504b0607 00000000 0400000001000000 01000000
         504b0506 0000 0000 ffff ffff ffffffff 05000000 0000",
    );
}
