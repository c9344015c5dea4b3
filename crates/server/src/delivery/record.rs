//! A delivery as the ledger knows it, announced before its first byte.

use std::sync::Arc;

use outflow_ledger::{ContentInfo, ContentKey, DeliveryHandle, Ledger, NewDelivery, Recipient};
use outflow_texts::text;
use outflow_web::Problem;

use crate::request::RequestFacts;

/// Those who follow downloads while they are under way.
pub(crate) trait DeliveryListeners: Send + Sync {
    /// Whether somebody follows the downloads of a recipient.
    fn follow(&self, recipient: &dyn Fn() -> Recipient) -> bool;
}

/// Announces the delivery that a request may become; the ledger writes nothing until it begins.
/// `None` if nothing is known of the delivery: there is no ledger, the method is not GET, or the
/// engine reports neither the client nor what arrives there.
///
/// A delivery by a link is recorded, and one that an endpoint or a listener waits for. Any other is
/// recorded if the ledger finds it worth that and has capacity, and counted if not.
pub(super) fn announce(
    ledger: Option<&Ledger>,
    listeners: Option<&dyn DeliveryListeners>,
    request: &impl RequestFacts,
    content: impl FnOnce() -> Arc<ContentInfo>,
) -> Result<Option<DeliveryHandle>, Problem> {
    let client = request.client().address;
    let Some(ledger) = ledger.filter(|_| request.is_get() && client.is_some()) else {
        return Ok(None);
    };
    let content = content();
    let link = request.link_use();
    let is_awaited = || listeners.is_some_and(|listeners| listeners.follow(&|| request.recipient()));
    if link.is_none() && !ledger.is_worth_recording(&content) && !is_awaited() {
        return Ok(Some(ledger.count(content)));
    }
    let may_be_counted = link.is_none() && !ledger.must_record(&content);
    let opening = NewDelivery {
        content: Arc::clone(&content),
        recipient: request.recipient(),
        link,
        client,
        user_agent: request.user_agent(),
        assurance: request.assurance(),
    };
    match ledger.track(opening) {
        Ok(tracked) => Ok(Some(tracked)),
        Err(_) if may_be_counted => Ok(Some(ledger.count(content))),
        Err(full) => {
            tracing::warn!(%full, "a download is rejected: the ledger cannot record more deliveries now");
            Err(Problem::busy(text!(cannot_record_download)))
        }
    }
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
