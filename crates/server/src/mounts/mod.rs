//! Which collection is mounted at an address.
//!
//! ```text
//! transfers    the transfers of a store, `/t/ID/` each
//!   manifests    their manifests, kept for a while
//!   expiries     when they expire
//! ```

mod expiries;
mod manifests;
mod transfers;

use std::borrow::Cow;

use outflow_catalog::Store;
use outflow_web::Problem;

use crate::files::Mount;
use crate::options::DownloadOptions;
use transfers::TransferMounts;

/// What a service serves.
pub(crate) enum Mounts {
    /// One collection at the top of all addresses.
    Collection(Mount),
    /// All transfers of a store.
    Transfers(TransferMounts),
}

/// What a path without its link stands for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Location<'a> {
    /// The server itself.
    Top,
    /// A mount, without the slash at the end.
    Bare(&'a str),
    /// A mount, and the path below it from the slash on.
    Inside(&'a str, &'a str),
    /// Nothing can be there.
    Nowhere,
}

impl Mounts {
    pub(crate) fn transfers(store: Store, options: &DownloadOptions) -> Mounts {
        Mounts::Transfers(TransferMounts::new(store, options))
    }

    /// What `path` stands for.
    pub(crate) fn locate<'a>(&self, path: &'a str) -> Location<'a> {
        match self {
            Mounts::Collection(_) => Location::Inside("", path),
            Mounts::Transfers(_) => transfers::locate(path),
        }
    }

    /// The mount `id` of a [`Location`], if that is known without waiting.
    pub(crate) fn mount_at_hand(&self, id: &str) -> Option<Cow<'_, Mount>> {
        match self {
            Mounts::Collection(mount) => Some(Cow::Borrowed(mount)),
            Mounts::Transfers(transfers) => transfers.mount_at_hand(id).map(Cow::Owned),
        }
    }

    /// The mount `id` of a [`Location`]. Called on a runtime.
    pub(crate) async fn mount(&self, id: &str) -> Result<Mount, Problem> {
        match self {
            Mounts::Collection(mount) => Ok(mount.clone()),
            Mounts::Transfers(transfers) => transfers.mount(id).await,
        }
    }
}
