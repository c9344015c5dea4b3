//! CRCs that become known while downloads are under way: always one archive, or an error.

use outflow_content::{Span, SpanError, Spans};

use crate::support::{Made, Way, archive, crc_of, layout_of, next, take, whole, with_bodies};

const SIZES: [u64; 4] = [10, 100_000, 0, 300_000];

#[test]
fn a_download_begun_before_the_crcs_were_known_resumes_to_identical_bytes() {
    let layout = layout_of(&SIZES, false);
    let expected = whole(&archive(&layout, Way::File));
    for cut in [0, 1, 35, 50, 60_000, 100_120, 100_150, 200_000, layout.len() - 250, layout.len() - 23] {
        let (before, _) = with_bodies(&layout, Made::new(&layout, Way::Feed));
        let (after, bodies) = with_bodies(&layout, Made::new(&layout, Way::Memory).knowing_all());
        let mut bytes = take(&before, 0..cut).unwrap();
        bytes.extend(take(&after, cut..layout.len()).unwrap());
        assert!(bytes == expected, "{cut}");
        assert_eq!((bodies.learned(), bodies.computed()), (vec![], vec![]), "all was known");
    }
}

#[test]
fn a_crc_is_learned_once_from_the_bytes_that_flowed() {
    let layout = layout_of(&SIZES, false);
    let (archive, bodies) = with_bodies(&layout, Made::new(&layout, Way::Pieces));
    let first = whole(&archive);
    let learned: Vec<_> = [0, 1, 3].map(|entry| (entry, crc_of(entry, SIZES[entry]))).into();
    assert_eq!(bodies.learned(), learned);
    assert_eq!(bodies.computed(), [], "the central directory has it from the bytes");
    assert!(whole(&archive) == first);
    assert_eq!(bodies.learned(), learned);
}

#[test]
fn a_range_computes_only_the_crcs_that_it_needs() {
    let layout = layout_of(&SIZES, false);
    let (archive, bodies) = with_bodies(&layout, Made::new(&layout, Way::Memory));
    let body = layout.body_range(1);
    take(&archive, body.start + 100..body.end).unwrap();
    assert_eq!(bodies.computed(), [], "bytes without a descriptor");
    take(&archive, body.end..body.end + 4).unwrap();
    assert_eq!(bodies.computed(), [1], "a descriptor");
    assert_eq!(bodies.learned(), [], "computed is not learned");

    // The central directory: signature and versions of the first record, then its CRC, then those
    // of all.
    let (archive, bodies) = with_bodies(&layout, Made::new(&layout, Way::Memory));
    let directory = layout.entry_range(3).end;
    take(&archive, directory + 20..directory + 50).unwrap();
    assert_eq!(bodies.computed(), [], "what comes after a CRC does not need it");
    take(&archive, directory + 19..directory + 20).unwrap();
    assert_eq!(bodies.computed(), [0]);
    take(&archive, directory..layout.len() - 22).unwrap();
    assert_eq!(bodies.computed(), [0, 0, 1, 3], "files without bytes need none");
    take(&archive, layout.len() - 22..layout.len()).unwrap();
    assert_eq!(bodies.computed().len(), 4);
}

#[test]
fn bytes_with_another_crc_than_was_promised_are_cut_before_their_descriptor() {
    let layout = layout_of(&SIZES, false);
    let (archive, bodies) = with_bodies(&layout, Made::new(&layout, Way::Feed));
    bodies.known.lock().unwrap().insert(1, 0xdead_beef);
    let (sent, error) = take(&archive, 0..layout.len()).unwrap_err();
    assert!(sent.len() as u64 <= layout.body_range(1).end);
    assert!(matches!(error, SpanError::Changed { .. }), "{error}");
    assert!(error.to_string().contains("f1") && error.to_string().contains("deadbeef"), "{error}");
    assert_eq!(bodies.learned(), [(0, crc_of(0, 10))], "a wrong CRC is not learned");
}

/// Two deliveries read different bytes at the same time: the one that is ready later is cut.
#[test]
fn of_two_downloads_that_saw_different_bytes_one_is_cut() {
    let layout = layout_of(&[200_000], false);
    let (archive, bodies) = with_bodies(&layout, Made::new(&layout, Way::Memory));
    let Ok(Span::Feed(mut early)) = archive.span_at(0) else { panic!("a feed") };
    let first = next(early.feed.as_mut()).unwrap().unwrap();
    assert!(first.len() < 200_000);
    // Meanwhile somebody else saw other bytes to the end.
    bodies.known.lock().unwrap().insert(0, 1);
    assert!(matches!(next(early.feed.as_mut()), Some(Err(SpanError::Changed { .. }))));
    assert!(next(early.feed.as_mut()).is_none(), "after an error nothing comes");
}

#[test]
fn a_file_that_ends_early_is_an_error() {
    for known in [true, false] {
        for way in [Way::Memory, Way::Pieces, Way::Feed, Way::File] {
            let layout = layout_of(&[100_000], known);
            let (archive, bodies) = with_bodies(&layout, Made { end: 70_000, ..Made::new(&layout, way) });
            let (sent, error) = take(&archive, 0..layout.len()).unwrap_err();
            assert!(sent.len() < 70_100, "{known} {way:?}: {}", sent.len());
            assert!(matches!(error, SpanError::Truncated { .. }), "{known} {way:?}: {error}");
            assert_eq!(bodies.learned(), []);
        }
    }
}

/// A small file is one chunk: local header, blocks and descriptor.
#[test]
fn a_small_streamed_file_leaves_in_one_piece() {
    let layout = layout_of(&[1_000], false);
    let archive = archive(&layout, Way::Memory);
    let Ok(Span::Feed(mut span)) = archive.span_at(0) else { panic!("a feed") };
    let chunk = next(span.feed.as_mut()).unwrap().unwrap();
    assert_eq!((chunk.len() as u64, chunk.len() as u64), (span.len, layout.entry_range(0).end));
    assert!(next(span.feed.as_mut()).is_none());
}
