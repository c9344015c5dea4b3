//! The form of a page: becomes the address of the archive that it selects.

use std::collections::HashSet;
use std::fmt::Display;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use http_body::Body;
use outflow_catalog::{EntryKind, RelPath, Tree, Unreadable, WalkLimits, WalkScope};
use outflow_content::address::encode;
use outflow_content::address_of;
use outflow_texts::text;
use outflow_web::Problem;
use tokio::sync::OwnedSemaphorePermit;

use crate::archives::{NoToken, SelectionToken};
use crate::files::Mount;
use crate::limits::{self, MemoryBudget};
use crate::problem::{ToProblem as _, missing_files};
use crate::request::{ArchiveQuery, Query};

/// Maximum length of a form, in bytes: 10,000 names of 200 bytes, each byte percent-encoded, and
/// some.
///
/// Bound: pages and forms.
const MAX_FORM: usize = 8 << 20;
/// Maximum length of an address that names the selected files, in bytes; a longer selection becomes
/// a token.
const MAX_NAMED: usize = 1_000;
/// Maximum length of an address, in bytes: the engine reads heads of up to 64 KiB, which other
/// fields share.
///
/// Bound: pages and forms.
const MAX_ADDRESS: usize = 60_000;

/// Reads and parses a form, and takes the memory that a large one needs from the budget.
pub(super) async fn read<B>(
    budget: &MemoryBudget,
    headers: &HeaderMap,
    body: B,
) -> Result<(Query, Option<OwnedSemaphorePermit>), Problem>
where
    B: Body<Data = Bytes>,
    B::Error: Display,
{
    let media_type = headers.get(CONTENT_TYPE).map(|media| media.as_bytes().to_ascii_lowercase());
    if !media_type.is_some_and(|media| media.starts_with(b"application/x-www-form-urlencoded")) {
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, text!(form_media_type)));
    }
    let too_large = || Problem::new(StatusCode::PAYLOAD_TOO_LARGE, text!(form_too_large, limit = MAX_FORM));
    let announced = headers.get(CONTENT_LENGTH).and_then(|len| len.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|len| len > MAX_FORM as u64) {
        return Err(too_large());
    }
    let mut body = pin!(body);
    let (mut form, mut memory) = (Vec::new(), None);
    while let Some(frame) = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        let frame = frame.map_err(|error| Problem::bad_request(text!(form_incomplete, %error)))?;
        if let Ok(data) = frame.into_data() {
            if form.len() + data.len() > MAX_FORM {
                return Err(too_large());
            }
            if form.len() + data.len() > limits::FREE_SIZE && memory.is_none() {
                // The parsed names take as much again.
                memory = budget.take(2 * MAX_FORM)?;
            }
            form.extend_from_slice(&data);
        }
    }
    let query = Query::parse(&form).map_err(Problem::bad_request)?;
    if query.archive.files.is_empty() {
        return Err(Problem::bad_request(text!(form_empty)));
    }
    Ok((query, memory))
}

/// The address, path and query, of the archive that `form` selects in `folder`. Blocks.
pub(super) fn archive_address(mount: &Mount, folder: &RelPath, form: Query) -> Result<String, Problem> {
    // A form has no token.
    let ArchiveQuery { files, pick: _ } = form.archive;
    let query = query_for(mount, folder, &files)?;
    let address = format!("{}{}/?{query}", mount.base, address_of(folder));
    if address.len() >= MAX_ADDRESS { Err(too_many()) } else { Ok(address) }
}

/// The query that stands for `files`, all of which are in `folder`.
fn query_for(mount: &Mount, folder: &RelPath, files: &[RelPath]) -> Result<String, Problem> {
    let levels = files.iter().map(|path| path.components().count()).max().unwrap_or(1);
    let tree = Arc::clone(&mount.collection)
        .walk(folder, &WalkScope::Levels(levels), WalkLimits::default())
        .map_err(|error| error.to_problem())?;
    // It costs less than the walk, and reports what is missing.
    let token = SelectionToken::new(&tree, files, levels).map_err(|no| match no {
        NoToken::Missing(paths) => {
            let first = paths.iter().take(Unreadable::NAMED).map(RelPath::to_string);
            missing_files(first.collect(), paths.len())
        }
        NoToken::TooMany => too_many(),
    })?;
    let files: HashSet<&[u8]> = files.iter().map(RelPath::as_bytes).collect();
    if is_everything(&tree, &files) {
        return Ok("zip".to_owned());
    }
    let mut names = "zip".to_owned();
    let named = tree.visit(|entry| {
        if files.contains(entry.path) {
            names.push_str("&file=");
            names.push_str(&encode(entry.path));
            names.push_str(if entry.kind == EntryKind::Folder { "/" } else { "" });
        }
        if names.len() > MAX_NAMED { Err(()) } else { Ok(()) }
    });
    Ok(if named.is_ok() { names } else { format!("zip&pick={}", token.encode()) })
}

/// No address is long enough for so many files.
fn too_many() -> Problem {
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, text!(form_too_many))
}

/// Whether the selection has all that is directly in the folder.
fn is_everything(tree: &Tree, files: &HashSet<&[u8]>) -> bool {
    let missed =
        tree.visit(
            |entry| {
                if entry.path.contains(&b'/') || files.contains(entry.path) { Ok(()) } else { Err(()) }
            },
        );
    missed.is_ok()
}
