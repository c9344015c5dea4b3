//! A range is the slice of the whole, whatever is in the archive, whatever is known, however bytes
//! come.

use std::sync::Arc;

use outflow_content::Spans;
use outflow_zip::{ArchiveFile, Layout, LayoutBuilder};
use proptest::prelude::*;

use crate::readback;
use crate::support::{Made, Way, archive, crc_of, layout_of, take, whole, with_bodies};

#[derive(Clone, Debug)]
struct Wish {
    name: String,
    directory: bool,
    size: u64,
    modified: Option<i64>,
    known: bool,
    executable: bool,
}

fn wish() -> impl Strategy<Value = Wish> {
    let size = prop_oneof![
        2 => Just(0),
        4 => 1..2_000u64,
        1 => 65_530..65_545u64,
        1 => 131_065..131_075u64,
        1 => 0..150_000u64,
    ];
    // Few letters, so that names meet.
    ("[ab/.ä:]{0,6}", prop::bool::weighted(0.2), size, any::<Option<i64>>(), any::<bool>(), any::<bool>())
        .prop_map(|(name, directory, size, modified, known, executable)| Wish {
            name,
            directory,
            size,
            modified,
            known,
            executable,
        })
}

fn lay_out(wishes: &[Wish]) -> Arc<Layout> {
    let mut builder = LayoutBuilder::new();
    let mut entries = 0;
    for wish in wishes {
        let entry = if wish.directory {
            builder.directory(&wish.name, wish.modified).unwrap()
        } else {
            let crc32 = wish.known.then(|| crc_of(entries, wish.size));
            let Wish { name, size, modified, executable, .. } = wish;
            let file = ArchiveFile {
                name,
                size: *size,
                modified: *modified,
                crc32,
                executable: *executable,
                version: 1,
            };
            builder.file(file).unwrap()
        };
        entries = entries.max(entry + 1);
    }
    Arc::new(builder.finish().unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_range_of_any_archive_is_the_slice_of_the_whole(
        wishes in prop::collection::vec(wish(), 0..12),
        ranges in prop::collection::vec((any::<u64>(), any::<u64>(), any::<bool>()), 40),
        way in prop::sample::select(vec![Way::Memory, Way::Pieces, Way::Feed, Way::File]),
    ) {
        let layout = lay_out(&wishes);
        let (archive, bodies) = with_bodies(&layout, Made::new(&layout, way));
        let bytes = whole(&archive);
        prop_assert_eq!(bytes.len() as u64, layout.len());
        readback::check(&layout, &bytes);
        for (a, b, knowing) in ranges {
            let start = a % layout.len();
            // Half of the ranges are short.
            let end = (start + 1 + if b % 2 == 0 { b % 100 } else { b % layout.len() }).min(layout.len());
            let bodies = bodies.forgetful();
            let (archive, _) = with_bodies(&layout, if knowing { bodies.knowing_all() } else { bodies });
            let part = take(&archive, start..end).map_err(|(_, error)| TestCaseError::fail(error.to_string()))?;
            prop_assert!(part == bytes[start as usize..end as usize], "{}..{} of {}", start, end, layout.len());
        }
    }
}

/// Every span begins where it is asked for, in headers and descriptors too.
#[test]
fn an_archive_can_be_taken_byte_by_byte() {
    for known in [true, false] {
        let layout = layout_of(&[3, 0, 700, 65_537], known);
        let expected = whole(&archive(&layout, Way::Memory));
        let (archive, _) = with_bodies(&layout, Made::new(&layout, Way::Memory).knowing_all());
        let near = |offset: u64| offset < 1_200 || offset > layout.len() - 700;
        for offset in (0..layout.len()).filter(|offset| near(*offset)) {
            assert_eq!(
                take(&archive, offset..offset + 1).unwrap(),
                [expected[offset as usize]],
                "{known} {offset}"
            );
        }
    }
}

#[test]
fn a_thousand_ranges_of_an_archive_are_slices_of_the_whole() {
    let sizes: Vec<u64> = (0..200).map(|i| i * i * 7 % 5_000).chain([70_000, 300_000, 1]).collect();
    for known in [true, false] {
        let layout = layout_of(&sizes, known);
        let expected = whole(&archive(&layout, Way::File));
        let (archive, _) = with_bodies(&layout, Made::new(&layout, Way::Memory).knowing_all());
        let mut random = 1u64;
        for _ in 0..1_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let start = (random >> 20) % layout.len();
            let end = (start + 1 + (random >> 40) % 9_000).min(layout.len());
            assert!(
                take(&archive, start..end).unwrap() == expected[start as usize..end as usize],
                "{start}..{end}"
            );
        }
    }
}

#[test]
fn beyond_the_end_there_is_nothing() {
    let layout = layout_of(&[5], true);
    let archive = archive(&layout, Way::Memory);
    assert!(archive.span_at(layout.len()).unwrap().is_empty());
    assert!(archive.span_at(u64::MAX).unwrap().is_empty());
}
