//! A selection from a page's form: becomes an address that stands for it.

use std::collections::HashSet;
use std::fmt::Display;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use http_body::Body;
use outflow_catalog::{EntryKind, RelPath, Tree, WalkLimits, WalkScope};
use outflow_content::address::encode;
use outflow_web::Problem;
use tokio::sync::OwnedSemaphorePermit;

use crate::app::{Place, Shared};
use crate::archives::selection::{NoPick, Pick};
use crate::limits;
use crate::problem::{ToProblem as _, missing_files};
use crate::request::query::Query;
use crate::request::target::address;

/// Longest form that is read, in bytes: 10,000 names of 200 bytes, each byte percent-encoded, and some.
const FORM: usize = 8 << 20;
/// Up to this length an address names the selected files; a longer selection becomes a token.
const NAMES: usize = 1_000;
/// From this length on, in bytes, no address is given: the engine reads heads of up to 64 KiB, and other fields are
/// to fit in, too.
const TOO_LONG: usize = 60_000;

/// The address, path and query, of what the form's `body` selects in `folder`.
pub(crate) async fn address_of<B>(
    shared: &Arc<Shared>,
    place: &Place,
    folder: &RelPath,
    headers: &HeaderMap,
    body: B,
) -> Result<String, Problem>
where
    B: Body<Data = Bytes>,
    B::Error: Display,
{
    let media_type = headers.get(CONTENT_TYPE).map(|media| media.as_bytes().to_ascii_lowercase());
    if !media_type.is_some_and(|media| media.starts_with(b"application/x-www-form-urlencoded")) {
        let detail =
            "Send the selection as application/x-www-form-urlencoded, one \"file\" field for each file.";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
    }
    let (form, room) = read(shared, headers, body).await?;
    let query = Query::parse(&form).map_err(Problem::bad_request)?;
    drop(form);
    if query.files.is_empty() {
        return Err(Problem::bad_request("Nothing is selected. Go back and tick what you want."));
    }
    let permit = shared.plans.permit().await?;
    let (place, folder) = (place.clone(), folder.clone());
    let work = tokio::task::spawn_blocking(move || {
        let _held = (permit, room);
        let query = query_for(&place, &folder, &query.files)?;
        let address = format!("{}{}/?{query}", place.base, address(&folder));
        if address.len() >= TOO_LONG { Err(too_many()) } else { Ok(address) }
    });
    work.await.unwrap_or_else(|gone| Err(Problem::internal(gone.to_string())))
}

/// The query that stands for `files`, all of which are in `folder`. Blocks.
fn query_for(place: &Place, folder: &RelPath, files: &[RelPath]) -> Result<String, Problem> {
    let levels = files.iter().map(|path| path.components().count()).max().unwrap_or(1);
    let tree = Arc::clone(&place.collection)
        .walk(folder, &WalkScope::Levels(levels), WalkLimits::default())
        .map_err(|error| error.to_problem())?;
    // Says what is missing, too; it costs less than walking did.
    let pick = Pick::of(&tree, files, levels).map_err(|no| match no {
        NoPick::Missing(paths) => {
            let first = paths.iter().take(outflow_catalog::Unreadable::NAMED).map(RelPath::to_string);
            missing_files(first.collect(), paths.len())
        }
        NoPick::TooMany => too_many(),
    })?;
    if is_everything(&tree, files) {
        return Ok("zip".to_owned());
    }
    let files: HashSet<&[u8]> = files.iter().map(RelPath::as_bytes).collect();
    let mut names = "zip".to_owned();
    let named = tree.visit(|entry| {
        if files.contains(entry.path) {
            names.push_str("&file=");
            names.push_str(&encode(entry.path));
            names.push_str(if entry.kind == EntryKind::Folder { "/" } else { "" });
        }
        if names.len() > NAMES { Err(()) } else { Ok(()) }
    });
    Ok(if named.is_ok() { names } else { format!("zip&pick={}", pick.to_token()) })
}

/// No address can stand for that many files.
fn too_many() -> Problem {
    let detail = "Too many files are selected for one address. Select their folder instead.";
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
}

/// Whether the selection has all that is directly in the folder.
fn is_everything(tree: &Tree, files: &[RelPath]) -> bool {
    let files: HashSet<&[u8]> = files.iter().map(RelPath::as_bytes).collect();
    let missed =
        tree.visit(
            |entry| {
                if entry.path.contains(&b'/') || files.contains(entry.path) { Ok(()) } else { Err(()) }
            },
        );
    missed.is_ok()
}

/// A form's bytes, and the room that they take.
type Form = (Vec<u8>, Option<OwnedSemaphorePermit>);

/// Reads a form, up to a bound.
async fn read<B>(shared: &Shared, headers: &HeaderMap, body: B) -> Result<Form, Problem>
where
    B: Body<Data = Bytes>,
    B::Error: Display,
{
    let too_large =
        || Problem::new(StatusCode::PAYLOAD_TOO_LARGE, format!("A form may have up to {FORM} bytes."));
    let announced = headers.get(CONTENT_LENGTH).and_then(|len| len.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|len| len > FORM as u64) {
        return Err(too_large());
    }
    let mut body = pin!(body);
    let (mut form, mut room) = (Vec::new(), None);
    while let Some(frame) = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        let frame =
            frame.map_err(|error| Problem::bad_request(format!("The form did not arrive: {error}.")))?;
        if let Ok(data) = frame.into_data() {
            if form.len() + data.len() > FORM {
                return Err(too_large());
            }
            if form.len() + data.len() > limits::SMALL && room.is_none() {
                // Its names are held a second time, decoded.
                room = shared.room.take(2 * FORM)?;
            }
            form.extend_from_slice(&data);
        }
    }
    Ok((form, room))
}
