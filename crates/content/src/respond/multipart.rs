//! Several ranges in one answer: `multipart/byteranges` (RFC 9110, 14.6), of a known length,
//! streamed.
//!
//! ```text
//! --boundary CRLF
//! Content-Type: type of the content CRLF
//! Content-Range: bytes first-last/length CRLF
//! CRLF
//! bytes of the first range CRLF
//! --boundary CRLF
//! …
//! bytes of the last range CRLF
//! --boundary-- CRLF
//! ```

use std::fmt::Write;
use std::ops::Range;
use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use http::HeaderValue;

use crate::outgoing::OutgoingPiece;
use crate::{EntityTag, Spans};

/// `Content-Type` of the answer, and its body.
pub(crate) fn byteranges(
    spans: &Arc<dyn Spans>,
    etag: Option<&EntityTag>,
    media_type: Option<&HeaderValue>,
    ranges: &[Range<u64>],
) -> (HeaderValue, Vec<OutgoingPiece>) {
    let len = spans.len();
    let boundary = boundary(etag, len, ranges);
    let mut pieces = Vec::with_capacity(2 * ranges.len() + 1);
    // One buffer for the frames of all parts; each piece is a slice of it.
    let mut frames = BytesMut::with_capacity(160 * ranges.len() + 32);
    let mut line_end = "";
    for range in ranges {
        let _ = write!(frames, "{line_end}--{boundary}\r\n");
        line_end = "\r\n";
        if let Some(media_type) = media_type {
            frames.put_slice(b"Content-Type: ");
            frames.put_slice(media_type.as_bytes());
            frames.put_slice(b"\r\n");
        }
        let _ = write!(frames, "Content-Range: bytes {}-{}/{len}\r\n\r\n", range.start, range.end - 1);
        pieces.push(OutgoingPiece::Memory(frames.split().freeze()));
        pieces.push(OutgoingPiece::Content(Arc::clone(spans), range.clone()));
    }
    let _ = write!(frames, "\r\n--{boundary}--\r\n");
    pieces.push(OutgoingPiece::Memory(frames.freeze()));

    let content_type = HeaderValue::try_from(format!("multipart/byteranges; boundary={boundary}"))
        .expect("letters, digits and punctuation are valid in a field value");
    (content_type, pieces)
}

/// The boundary is a hash (FNV-1a) of everything the answer depends on, so that the same request
/// yields the same bytes on every node and after a restart.
///
/// It need not be secret or random. A reader knows from `Content-Range` where each part ends. A
/// content that contains the boundary misleads only readers that search for it, and only about that
/// content itself, whose author could have written anything. By chance it happens once in 2^64
/// positions.
fn boundary(etag: Option<&EntityTag>, len: u64, ranges: &[Range<u64>]) -> String {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut add = |bytes: &[u8]| {
        for byte in bytes {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    add(etag.map_or(b"", |etag| etag.as_header_value().as_bytes()));
    add(&len.to_be_bytes());
    for range in ranges {
        add(&range.start.to_be_bytes());
        add(&range.end.to_be_bytes());
    }
    format!("{hash:016x}")
}
