//! A file or a folder at a path of a collection.

use std::sync::Arc;

use outflow_catalog::FoundFile;
use outflow_content::Content;
use outflow_ledger::ContentInfo;

/// A file or a folder at a path.
// Boxing the file would cost most requests an allocation.
#[allow(clippy::large_enum_variant)]
pub(crate) enum Located {
    File(ServedFile),
    Folder,
}

/// A file that can be sent, and its description for the ledger.
pub(crate) struct ServedFile {
    pub(super) content: Content,
    pub(super) description: Description,
}

/// Made when needed; ready if the file was kept open.
pub(super) enum Description {
    Ready(Arc<ContentInfo>),
    Of(FoundFile),
}
