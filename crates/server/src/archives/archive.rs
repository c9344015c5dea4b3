//! A folder, or a selection of what is in it, as one ZIP.

use std::net::IpAddr;
use std::sync::Arc;

use http::header::{RANGE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use outflow_catalog::RelPath;
use outflow_content::Content;
use outflow_web::Problem;
use outflow_zip::{Archive, Form};

use crate::app::{Place, Shared};
use crate::archives::layout_memory::presumes;
use crate::archives::plan::{Made, Plan, has_tags};
use crate::archives::plans::Ask;
use crate::archives::prefetch::Ahead;
use crate::archives::selection::Pick;
use crate::request::query::Query;

/// An archive that is ready to be sent, and what is to be remembered of it.
pub(crate) struct Ready {
    pub(crate) content: Content,
    pub(crate) plan: Arc<Plan>,
    /// What the client begins with if all of it is sent.
    pub(crate) made: Made,
    /// The folder's name, or what stands for one.
    pub(crate) name: String,
}

/// What a query asks for.
pub(crate) fn ask(query: Query) -> Result<Ask, Problem> {
    match query.pick {
        Some(token) => match Pick::parse(&token) {
            Some(pick) => Ok(Ask::Pick(Box::new(pick), token)),
            None => Err(Problem::bad_request("\"pick\" is not a selection that this server made.")),
        },
        None if query.files.is_empty() => Ok(Ask::All),
        None => Ok(Ask::These(query.files)),
    }
}

/// The archive of what is asked of `folder`.
pub(crate) async fn ready(
    shared: &Arc<Shared>,
    place: &Place,
    folder: &RelPath,
    ask: Ask,
    method: &Method,
    headers: &HeaderMap,
    client: Option<IpAddr>,
) -> Result<Ready, Problem> {
    let plan = shared.plans.get(&place.collection, folder, ask, headers).await;
    let plan = plan.map_err(|problem| Problem::clone(&problem))?;
    let bare = bare_range(headers);
    let continued = bare.then(|| shared.resume.continued(&plan.identity, client)).flatten();
    // RFC 9110, 14.2: a range means something to GET only.
    let presumes = bare && *method == Method::GET && presumes(headers);
    if presumes && continued.is_none() {
        return Err(unknown());
    }
    let made = match at_hand(&plan, headers, continued) {
        Some(made) => made,
        None => {
            let (plan, headers) = (Arc::clone(&plan), headers.clone());
            let choosing = tokio::task::spawn_blocking(move || choose(&plan, &headers, continued));
            choosing.await.map_err(|gone| Problem::internal(gone.to_string()))??
        }
    };
    // With a tag it may be refused, and whoever knows tags needs no memory of ours.
    if *method == Method::HEAD && !has_tags(headers) {
        shared.resume.told(&plan.identity, client, made.form);
    }
    if made.form == Form::Streamed
        && *method == Method::GET
        && let Some(background) = &shared.background
        && plan.wants_background()
    {
        background.ask(plan.tree());
    }
    // The stored layout cannot be made if CRC-32s were forgotten.
    if presumes && continued != Some(made.form) {
        return Err(unknown());
    }
    if *method == Method::GET && bare {
        shared.resume.went_on(&plan.identity, client, made.form);
    }
    let name = match if folder.is_root() { place.collection.name() } else { folder.name() } {
        b"" => "files".to_owned(),
        name => String::from_utf8_lossy(name).into_owned(),
    };
    // No Last-Modified: the two layouts of one archive would share it, and `If-Range` with a date would
    // join the one's head with the other's tail.
    let bodies = Ahead::new(Arc::clone(&plan), Arc::clone(&made.layout));
    let content = Content::new(Arc::new(Archive::new(Arc::clone(&made.layout), Arc::new(bodies))))
        .etag(made.etag.clone())
        .media_type(HeaderValue::from_static("application/zip"))
        .attachment(&format!("{name}.zip"))
        .header(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(Ready { content, plan, made, name })
}

/// A bare `Range` goes on in a layout that is not known, or that cannot be made any more. A part of another
/// layout would be joined to what the client has: a file of the right length, and broken. All of the archive is
/// no answer either, though RFC 9110, 14.2 lets a server ignore `Range`: wget 1 skips as many bytes of that as
/// it has, and appends the rest. So this is an error (RFC 6585, 3), at which all clients keep what they have.
///
/// Nothing is remembered of it: it goes on being unknown what the client has.
fn unknown() -> Problem {
    let detail = "Nobody knows which form of this archive the download began with. Start it again, or send the ETag that it came with in If-Range.";
    Problem::new(StatusCode::PRECONDITION_REQUIRED, detail)
}

/// A range without a word about what it is a range of.
fn bare_range(headers: &HeaderMap) -> bool {
    headers.contains_key(RANGE) && !has_tags(headers)
}

/// The layout to use, if finding it takes no time.
fn at_hand(plan: &Plan, headers: &HeaderMap, continued: Option<Form>) -> Option<Made> {
    if let Some(form) = continued {
        return plan.made(form).cloned();
    }
    if let Some(made) = plan.named(headers) {
        return Some(made.clone());
    }
    if has_tags(headers) || !plan.is_settled() {
        return None;
    }
    plan.made(Form::Stored).or_else(|| plan.made(Form::Streamed)).cloned()
}

/// The layout to use: the one that is continued, if it can be made. Blocks.
fn choose(plan: &Plan, headers: &HeaderMap, continued: Option<Form>) -> Result<Made, Problem> {
    let made = |form| {
        plan.layout(form).map_err(|error| {
            tracing::warn!(%error, "no archive of this folder");
            let detail = format!("There can be no archive of this: {error}. Select parts of it.");
            Problem::new(StatusCode::FORBIDDEN, detail)
        })
    };
    if let Some(form) = continued {
        return made(form);
    }
    let best = made(plan.best())?;
    if best.form == Form::Stored && has_tags(headers) && plan.named(headers).is_none() {
        // It may be the tag of the layout that was there before all CRC-32s were known.
        made(Form::Streamed)?;
    }
    Ok(plan.named(headers).cloned().unwrap_or(best))
}
