//! Entry points for the fuzz targets; compiled for these only.

use crate::http1::head;
use crate::message::chunked::{ChunkStep, Chunked};

/// Reads `bytes` as a request's head. A head that is accepted is complete at its last byte and at
/// none before.
pub fn head(bytes: &[u8]) {
    let Ok(Some(head)) = head::parse(bytes) else { return };
    assert!(head.len <= bytes.len());
    for len in 0..head.len {
        assert!(matches!(head::parse(&bytes[..len]), Ok(None)), "complete or refused at byte {len} already");
    }
    let again = head::parse(&bytes[..head.len]).ok().flatten().map(|head| head.len);
    assert_eq!(again, Some(head.len), "what follows a head changes it");
}

/// Decodes `bytes` as a chunked body, shown at once and in pieces: the outcome is the same.
pub fn chunked(bytes: &[u8], piece: usize) {
    let at_once = decode(bytes, bytes.len().max(1));
    assert_eq!(at_once, decode(bytes, piece.max(1)));
}

fn decode(bytes: &[u8], piece: usize) -> Result<(Vec<u8>, Option<usize>), &'static str> {
    let (mut decoder, mut data, mut at) = (Chunked::new(), Vec::new(), 0);
    while at < bytes.len() {
        let shown = &bytes[at..(at + piece).min(bytes.len())];
        match decoder.step(shown)? {
            ChunkStep::Skip(n) => at += n,
            ChunkStep::Data(n) => {
                data.extend_from_slice(&shown[..n]);
                at += n;
            }
            ChunkStep::End(n) => return Ok((data, Some(at + n))),
        }
    }
    Ok((data, None))
}
