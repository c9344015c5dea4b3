//! Small files that are asked for again and again: kept open, described once, and the smallest in memory.
//!
//! Opening, describing, reading and closing a file costs as much as sending ten kilobytes. What is kept is looked
//! at by its path before each use ([`Root::still_names`]), so that a changed, replaced or deleted file is
//! noticed at once, as if it had been opened anew.

use std::sync::Arc;

use outflow_catalog::{FoundFile, LocalFile, RelPath, Root};
use outflow_content::Content;
use outflow_ledger::ContentInfo;
use quick_cache::sync::Cache;

use crate::files::content;

/// Files kept open: that many descriptors at the most.
const FILES: usize = 512;

/// Largest file whose bytes are kept, too: 16 MiB of them at the most.
const IN_MEMORY: u64 = 32 * 1024;

/// Largest file that is kept open, in bytes. A larger one takes long enough to send; and a deleted one
/// would go on filling the disk. So at most 512 MiB of deleted files are kept.
const LARGEST: u64 = 1024 * 1024;

/// Open files and their contents, by path.
pub(crate) struct Hot(Cache<RelPath, Kept>);

#[derive(Clone)]
struct Kept {
    file: LocalFile,
    content: Arc<Content>,
    info: Arc<ContentInfo>,
}

impl Hot {
    pub(crate) fn new() -> Hot {
        Hot(Cache::new(FILES))
    }

    /// The content of `path` if it is kept and `root` still has the same file there.
    pub(crate) fn get(&self, root: &Root, path: &RelPath) -> Option<(Content, Arc<ContentInfo>)> {
        let Kept { file, content, info } = self.0.get(path)?;
        if root.still_names(path, &file) {
            return Some((content.clone_unobserved(), info));
        }
        self.0.remove(path);
        None
    }

    /// Keeps an open file and its content, if it is small, and gives the content back.
    pub(crate) fn keep(
        &self,
        file: LocalFile,
        found: &FoundFile,
        content: Content,
        info: &Arc<ContentInfo>,
    ) -> Content {
        if content.len() > LARGEST {
            return content;
        }
        let content = match (content.len() <= IN_MEMORY).then(|| file.read_resident()).flatten() {
            Some(bytes) => content::content_in_memory(found, bytes),
            None => content,
        };
        let again = content.clone_unobserved();
        let kept = Kept { content: Arc::new(content), info: Arc::clone(info), file };
        self.0.insert(found.path.clone(), kept);
        again
    }
}
