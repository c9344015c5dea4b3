//! A folder, or a selection of its files, as one ZIP.
//!
//! ```text
//! ready          the layout that a request gets
//! spec           which archive: what a request decides, and the identity of what was found
//!   selection      a selection in a short address
//!     rice           coding of its hashes
//! plans          the plans of archives, kept for the next requests
//!   plan           the files of an archive, and its layouts
//!   layout_files   the same as the ledger counts them
//! prefetch       the files for one delivery, fetched ahead
//! layout_memory  which layout a client began with
//! ```

mod layout_files;
mod layout_memory;
mod plan;
mod plans;
mod prefetch;
mod ready;
mod rice;
mod selection;
mod spec;

use std::path::Path;
use std::sync::Arc;

use http::{Method, Response, StatusCode};
use outflow_catalog::{Background, CrcCache, Memo, RelPath};
use outflow_content::address_of;
use outflow_ledger::{ArchiveParts, ContentInfo};
use outflow_web::{Problem, ResponseBody};

use crate::access::AccessControl;
use crate::delivery::{DeliveryResponder, DeliverySource, content_key};
use crate::files::Mount;
use crate::limits::WalkPermits;
use crate::options::DownloadOptions;
use crate::request::{Query, RequestContext, printable};
use layout_memory::LayoutMemory;
use plans::ArchivePlans;
use ready::ReadyArchive;
pub(crate) use selection::{NoToken, SelectionToken};
use spec::ArchiveSpec;

/// Answers requests for archives.
pub(crate) struct Archives {
    plans: Arc<ArchivePlans>,
    layouts: LayoutMemory,
    /// Learns CRC-32s while the server is idle.
    background: Option<Background>,
}

impl Archives {
    /// Blocks: it reads the cache folder.
    pub(crate) fn new(options: &DownloadOptions, walks: WalkPermits) -> Archives {
        let mut folder = options.cache.as_deref();
        let crcs = Arc::new(CrcCache::new(
            open_memo(&mut folder, "crc32-v1", options.crc_capacity),
            &options.metrics,
        ));
        let layouts = LayoutMemory::new(open_memo(&mut folder, "layouts-v1", layout_memory::MAX_REMEMBERED));
        let background = options.crc_background.then(|| Background::start(Arc::clone(&crcs)));
        let background = background.and_then(|started| {
            started
                .inspect_err(|error| {
                    tracing::warn!(%error, "cannot start the thread that computes CRC-32s in the background");
                })
                .ok()
        });
        Archives {
            plans: Arc::new(ArchivePlans::new(crcs, walks, options.plan_fresh, options.metrics.set())),
            layouts,
            background,
        }
    }

    /// Number of folders that were walked for archives since the start.
    pub(crate) fn walk_count(&self) -> u64 {
        self.plans.walk_count()
    }

    /// The archive of `folder` that `query` asks for.
    pub(crate) async fn respond(
        &self,
        access: &AccessControl,
        deliveries: &DeliveryResponder,
        mount: &Mount,
        folder: &RelPath,
        query: Query,
        request: &RequestContext,
    ) -> Result<Response<ResponseBody>, Problem> {
        let spec = ArchiveSpec::new(query.archive)?;
        let ready = self.prepare(mount, folder, spec, request).await?;
        let info = info(mount, folder, &ready, request);
        access.may_download(request, || info.key).await?;
        let ReadyArchive { content, plan, built, .. } = ready;
        let source = Arc::clone(&plan) as Arc<dyn DeliverySource>;
        let response = deliveries.respond(request, content, || info, Some(source))?;
        if *request.method() == Method::GET && response.status() == StatusCode::OK {
            self.layouts.record_start(plan.identity(), request.client.address, built.form);
        }
        Ok(response)
    }
}

/// An archive as the ledger knows it: its tag depends on every byte of it, whatever its address.
fn info(mount: &Mount, folder: &RelPath, ready: &ReadyArchive, request: &RequestContext) -> Arc<ContentInfo> {
    let layout = &ready.built.layout;
    let etag = layout.etag();
    let path = format!("{}{}/?{}", mount.home, address_of(folder), request.query().unwrap_or_default());
    Arc::new(ContentInfo {
        key: content_key("archive", &[etag.as_bytes()]),
        etag,
        length: layout.len(),
        name: printable(&format!("{}.zip", ready.name)),
        path: printable(&path),
        transfer: mount.transfer(),
        parts: Some(Arc::clone(&ready.built.files) as Arc<dyn ArchiveParts>),
    })
}

/// Opens a memo in the cache folder; in memory if there is no folder, or if it cannot be used.
fn open_memo(folder: &mut Option<&Path>, name: &str, capacity: usize) -> Memo {
    if let Some(path) = *folder {
        match Memo::open(path, name, capacity) {
            Ok(memo) => return memo,
            Err(error) => {
                tracing::warn!(folder = %path.display(), %error, "cannot use the cache folder, so nothing is remembered over a restart; choose another one with --cache");
                *folder = None;
            }
        }
    }
    Memo::in_memory(capacity)
}
