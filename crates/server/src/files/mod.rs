//! A collection that is mounted at an address, and the files in it.
//!
//! ```text
//! mount            a collection and its address
//! located          a file or a folder at a path
//! content          a file -> a content: type, validators, disposition
//! open_file_cache  small files of a local folder, kept open and described
//! ```

mod content;
mod located;
mod mount;
mod open_file_cache;

use std::sync::Arc;

use http::Response;
use outflow_catalog::{FoundFile, FoundPath, OpenError, RelPath};
use outflow_content::{PrebuiltAnswer, Wait, address_of};
use outflow_ledger::ContentInfo;
use outflow_texts::text;
use outflow_web::{Problem, ResponseBody};

use crate::delivery::{DeliveryResponder, content_key};
use crate::problem::ToProblem as _;
use crate::request::{Query, RequestContext, printable};
use located::Description;
pub(crate) use located::{Located, ServedFile};
pub(crate) use mount::Mount;

/// The description of `file` for the ledger.
pub(crate) fn info(mount: &Mount, file: &ServedFile) -> Arc<ContentInfo> {
    describe(mount, &file.description)
}

fn describe(mount: &Mount, description: &Description) -> Arc<ContentInfo> {
    match description {
        Description::Ready(info) => Arc::clone(info),
        Description::Of(file) => new_info(mount, file),
    }
}

/// Finds what is at `path`; a file becomes an attachment with `download`. With [`Wait::No`] it
/// fails rather than block, and may run on a serving thread.
pub(crate) fn find(mount: &Mount, path: &RelPath, download: bool, wait: Wait) -> Result<Located, OpenError> {
    if let Some(local) = mount.local_files() {
        return local.find(path, download, wait, |file| new_info(mount, file));
    }
    Ok(match mount.collection.find(path, wait)? {
        FoundPath::Folder => Located::Folder,
        FoundPath::File(file) => Located::File(ServedFile {
            content: content::of(&file, download),
            description: Description::Of(file),
        }),
    })
}

/// The prebuilt answer with the file at `path`, if it is kept open, and its description for the
/// ledger.
pub(crate) fn prebuilt(mount: &Mount, path: &RelPath) -> Option<(PrebuiltAnswer, Arc<ContentInfo>)> {
    let (prebuilt, info) = mount.local_files()?.kept(path)?;
    Some((prebuilt.answer()?, info))
}

/// Answers with what [`find`] found at `path`.
pub(crate) fn respond(
    deliveries: &DeliveryResponder,
    mount: &Mount,
    path: &RelPath,
    query: &Query,
    found: Result<Located, OpenError>,
    request: &RequestContext,
) -> Result<Response<ResponseBody>, Problem> {
    match found.map_err(|error| error.to_problem())? {
        Located::Folder => Ok(mount.redirect_to_folder(path, request)),
        Located::File(_) if query.zip => Err(Problem::bad_request(text!(archive_of_a_file))),
        Located::File(ServedFile { content, description }) => {
            deliveries.respond(request, content, || describe(mount, &description), None)
        }
    }
}

/// A file as the ledger knows it. Its tag alone would not do: it is made of size and time, which
/// other files may share.
fn new_info(mount: &Mount, file: &FoundFile) -> Arc<ContentInfo> {
    let path = format!("{}{}", mount.home, address_of(&file.path));
    let etag = file.etag.clone().unwrap_or_default();
    Arc::new(ContentInfo {
        key: content_key("file", &[path.as_bytes(), etag.as_bytes(), &file.size.to_le_bytes()]),
        etag,
        length: file.size,
        name: printable(&String::from_utf8_lossy(file.path.name())),
        path: printable(&path),
        transfer: mount.transfer(),
        parts: None,
    })
}
