//! Small files of a local folder that are requested again and again: kept open and described, the
//! smallest in memory.
//!
//! Opening, describing, reading and closing a file costs as much as sending ten kilobytes. A kept
//! file is compared with what is at its path before each use ([`Root::still_names`]), so that a
//! changed, replaced or deleted file is noticed as if it had been opened anew.

use std::sync::Arc;

use outflow_catalog::{FoundFile, LocalFile, OpenError, Opened, RelPath, Root};
use outflow_content::{Content, Prebuilt, Wait};
use outflow_ledger::ContentInfo;
use outflow_metrics::MetricRegistry;
use quick_cache::sync::Cache;

use super::content;
use super::located::{Description, Located, ServedFile};
use crate::metrics::DownloadMetrics;

/// Maximum number of files that are kept open.
///
/// Bound: local files.
const MAX_OPEN_FILES: usize = 512;

/// Maximum size of a file whose bytes are kept in memory, in bytes: with `MAX_OPEN_FILES`, 16 MiB.
///
/// Bound: local files.
const MAX_IN_MEMORY: u64 = 32 * 1024;

/// Maximum size of a file that is kept open, in bytes. A larger one takes long enough to send, and
/// while it is open the disk space of a deleted file is not freed: with `MAX_OPEN_FILES`, 512 MiB.
///
/// Bound: local files.
const MAX_KEPT_OPEN: u64 = 1024 * 1024;

/// A local folder and its open files.
pub(crate) struct LocalFiles {
    root: Arc<Root>,
    open: OpenFileCache,
    metrics: Arc<DownloadMetrics>,
}

impl LocalFiles {
    pub(crate) fn new(root: Arc<Root>, registry: &MetricRegistry) -> Arc<LocalFiles> {
        let (open, metrics) = (OpenFileCache(Cache::new(MAX_OPEN_FILES)), registry.set());
        let files = Arc::new(LocalFiles { root, open, metrics });
        registry.read_gauge(
            &files,
            |metrics: &DownloadMetrics| &metrics.files_kept,
            |files: &LocalFiles| files.open.0.len(),
        );
        files
    }

    /// The file at `path` if it is kept open, with its prebuilt answer.
    pub(super) fn kept(&self, path: &RelPath) -> Option<(Prebuilt, Arc<ContentInfo>)> {
        self.open.get(&self.root, path).inspect(|_| self.metrics.kept_hits.inc())
    }

    /// Finds what is at `path`: among the open files, or in the folder. `download`: as an
    /// attachment, which is not kept. `describe` describes a file that is kept from now on.
    pub(super) fn find(
        &self,
        path: &RelPath,
        download: bool,
        wait: Wait,
        describe: impl FnOnce(&FoundFile) -> Arc<ContentInfo>,
    ) -> Result<Located, OpenError> {
        if !download && let Some((kept, info)) = self.kept(path) {
            let content = kept.content().clone_unobserved();
            return Ok(Located::File(ServedFile { content, description: Description::Ready(info) }));
        }
        let file = match self.root.open(path, wait)? {
            Opened::Folder(_) => return Ok(Located::Folder),
            Opened::File(file) => file,
        };
        self.metrics.kept_misses.inc();
        let found = FoundFile::from(file.clone());
        let content = content::of(&found, download);
        if download || content.len() > MAX_KEPT_OPEN {
            return Ok(Located::File(ServedFile { content, description: Description::Of(found) }));
        }
        let info = describe(&found);
        Ok(Located::File(self.open.keep(file, &found, content, info)))
    }
}

/// Open files and their contents, by path.
struct OpenFileCache(Cache<RelPath, KeptFile>);

#[derive(Clone)]
struct KeptFile {
    file: LocalFile,
    content: Prebuilt,
    info: Arc<ContentInfo>,
}

impl OpenFileCache {
    /// The file at `path` if it is kept and `root` still has it there.
    fn get(&self, root: &Root, path: &RelPath) -> Option<(Prebuilt, Arc<ContentInfo>)> {
        let KeptFile { file, content, info } = self.0.get(path)?;
        if root.still_names(path, &file) {
            return Some((content, info));
        }
        self.0.remove(path);
        None
    }

    /// Keeps a file, and its bytes if they are few and resident.
    fn keep(
        &self,
        file: LocalFile,
        found: &FoundFile,
        content: Content,
        info: Arc<ContentInfo>,
    ) -> ServedFile {
        let content = match (content.len() <= MAX_IN_MEMORY).then(|| file.read_resident()).flatten() {
            Some(bytes) => content::of_bytes(found, bytes),
            None => content,
        };
        let served = ServedFile {
            content: content.clone_unobserved(),
            description: Description::Ready(Arc::clone(&info)),
        };
        self.0.insert(found.path.clone(), KeptFile { content: Prebuilt::new(content), info, file });
        served
    }
}
