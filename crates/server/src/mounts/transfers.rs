//! The transfers of a store, `/t/ID/` each.

use std::sync::Arc;

use http::StatusCode;
use outflow_catalog::{Store, Transfer};
use outflow_content::UnixTime;
use outflow_texts::{Time, text};
use outflow_web::Problem;

use super::Location;
use super::expiries::Expiries;
use super::manifests::ManifestCache;
use crate::files::Mount;
use crate::options::DownloadOptions;

/// The transfers of a store.
pub(crate) struct TransferMounts {
    manifests: ManifestCache,
    expiries: Expiries,
}

impl TransferMounts {
    pub(super) fn new(store: Store, options: &DownloadOptions) -> TransferMounts {
        TransferMounts {
            manifests: ManifestCache::new(store, options),
            expiries: Expiries::new(options.ledger.clone()),
        }
    }

    pub(super) fn mount_at_hand(&self, id: &str) -> Option<Mount> {
        let transfer = self.manifests.cached(id)?.ok()?;
        check_expiry(&transfer).ok()?;
        Some(mount(id, transfer))
    }

    pub(super) async fn mount(&self, id: &str) -> Result<Mount, Problem> {
        let transfer = self.manifests.get(id).await.map_err(|problem| Problem::clone(&problem))?;
        if let Some(expires) = transfer.about().expires {
            self.expiries.watch(id, expires);
        }
        check_expiry(&transfer)?;
        Ok(mount(id, transfer))
    }
}

fn mount(id: &str, transfer: Arc<Transfer>) -> Mount {
    Mount::new(transfer, format!("/t/{id}").into())
}

/// 410 for a transfer that has expired.
fn check_expiry(transfer: &Transfer) -> Result<(), Problem> {
    match transfer.about().expires {
        Some(expires) if UnixTime::now().nanos() >= expires => {
            let time = Time(UnixTime::from_nanos(expires).seconds());
            let detail = text!(transfer_expired, time);
            Err(Problem::new(StatusCode::GONE, detail).without_link_back())
        }
        _ => Ok(()),
    }
}

/// What a path stands for.
pub(super) fn locate(path: &str) -> Location<'_> {
    if path == "/" || path == "*" {
        return Location::Top;
    }
    let Some(rest) = path.strip_prefix("/t/") else { return Location::Nowhere };
    let (id, below) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    match (outflow_catalog::is_transfer_id(id), below.is_empty()) {
        (false, _) => Location::Nowhere,
        (true, true) => Location::Bare(id),
        (true, false) => Location::Inside(id, below),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_lead_to_transfers() {
        for (path, location) in [
            ("/", Location::Top),
            ("/t/abc", Location::Bare("abc")),
            ("/t/abc/", Location::Inside("abc", "/")),
            ("/t/abc//", Location::Inside("abc", "//")),
            ("/t/abc/a%20b/c", Location::Inside("abc", "/a%20b/c")),
            ("/t", Location::Nowhere),
            ("/t/", Location::Nowhere),
            ("/t//", Location::Nowhere),
            ("/t/../x", Location::Nowhere),
            ("/t/%61bc/", Location::Nowhere),
            ("/t/a b/", Location::Nowhere),
            ("/abc", Location::Nowhere),
            ("/favicon.ico", Location::Nowhere),
        ] {
            assert_eq!(locate(path), location, "{path}");
        }
        assert_eq!(locate(&format!("/t/{}/", "a".repeat(5_000))), Location::Nowhere);
    }
}
