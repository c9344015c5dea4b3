//! A delivery as the ledger knows it, announced before its first byte.

use std::fmt::Display;
use std::sync::Arc;

use http::Method;
use outflow_ledger::{ContentInfo, ContentKey, DeliveryHandle, Ledger, NewDelivery};
use outflow_texts::text;
use outflow_web::Problem;

use crate::request::RequestContext;

/// Maximum length of a recorded address or name, in bytes.
///
/// Bound: ledger.
const MAX_TEXT: usize = 1_000;

/// Announces the delivery that a request may become; the ledger writes nothing until it begins.
/// `None` if the delivery cannot be recorded: there is no ledger, the method is not GET, or the
/// engine reports neither the client nor what arrives there.
pub(super) fn announce(
    ledger: Option<&Ledger>,
    request: &RequestContext,
    content: impl FnOnce() -> Arc<ContentInfo>,
) -> Result<Option<DeliveryHandle>, Problem> {
    let client = request.client.address;
    let Some(ledger) = ledger.filter(|_| *request.method() == Method::GET && client.is_some()) else {
        return Ok(None);
    };
    let opening = NewDelivery {
        content: content(),
        recipient: request.recipient(),
        link: request.link_use(),
        client,
        user_agent: request.user_agent(),
        assurance: request.assurance(),
    };
    ledger.track(opening).map(Some).map_err(|full| {
        tracing::warn!(%full, "a download is rejected: the ledger cannot record more deliveries now");
        Problem::busy(text!(cannot_record_download))
    })
}

/// The key of a content among all contents of one `kind`.
pub(crate) fn content_key(kind: &str, parts: &[&[u8]]) -> ContentKey {
    let mut hash = blake3::Hasher::new();
    hash.update(kind.as_bytes());
    for bytes in parts {
        hash.update(&(bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    }
    let mut key = [0; 16];
    hash.finalize_xof().fill(&mut key);
    ContentKey(key)
}

/// A text as it is recorded: printable and shortened.
pub(crate) fn printable(text: &(impl Display + ?Sized)) -> String {
    let mut text: String =
        text.to_string().chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if text.len() > MAX_TEXT {
        let end = (0..=MAX_TEXT).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_recorded_is_printable_and_short() {
        assert_eq!(printable("a\n\u{1b}[31mb"), "a\u{fffd}\u{fffd}[31mb");
        assert!(printable(&"é".repeat(10_000)).len() <= MAX_TEXT + 3);
    }
}
