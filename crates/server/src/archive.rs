//! A folder, or a selection of what is in it, as one ZIP.

use std::net::IpAddr;
use std::sync::Arc;

use http::header::{RANGE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderValue, Method};
use outflow_content::Content;
use outflow_store::RelPath;
use outflow_zip::{Archive, Form};

use crate::pick::Pick;
use crate::plan::{Made, Plan, has_tags};
use crate::plans::Ask;
use crate::problem::Problem;
use crate::query::Query;
use crate::service::Shared;

/// An archive that is ready to be sent, and what is to be remembered of it.
pub(crate) struct Ready {
    pub(crate) content: Content,
    pub(crate) identity: [u8; 32],
    pub(crate) form: Form,
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
    folder: &RelPath,
    ask: Ask,
    method: &Method,
    headers: &HeaderMap,
    client: Option<IpAddr>,
) -> Result<Ready, Problem> {
    let plan = shared.plans.get(folder, ask, headers).await.map_err(|problem| Problem::clone(&problem))?;
    let continued = bare_range(headers).then(|| shared.resume.continued(&plan.identity, client)).flatten();
    let made = match at_hand(&plan, headers, continued) {
        Some(made) => made,
        None => {
            let (plan, headers) = (Arc::clone(&plan), headers.clone());
            let choosing = tokio::task::spawn_blocking(move || choose(&plan, &headers, continued));
            choosing.await.map_err(|gone| Problem::internal(gone.to_string()))??
        }
    };
    if made.form == Form::Streamed
        && *method == Method::GET
        && let Some(background) = &shared.background
        && plan.wants_background()
    {
        background.ask(&shared.root, plan.tree());
    }
    let name = match if folder.is_root() { shared.root.name() } else { folder.name() } {
        b"" => "files".into(),
        name => String::from_utf8_lossy(name),
    };
    let identity = plan.identity;
    // No Last-Modified: the two layouts of one archive would share it, and `If-Range` with a date would
    // join the one's head with the other's tail.
    let content = Content::new(Arc::new(Archive::new(made.layout, plan)))
        .etag(made.etag)
        .media_type(HeaderValue::from_static("application/zip"))
        .attachment(&format!("{name}.zip"))
        .header(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(Ready { content, identity, form: made.form })
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

/// The layout to use. Blocks.
fn choose(plan: &Plan, headers: &HeaderMap, continued: Option<Form>) -> Result<Made, Problem> {
    let made = |form| {
        plan.layout(form).map_err(|error| {
            tracing::warn!(%error, "no archive of this folder");
            Problem::internal(format!("There can be no archive of this: {error}."))
        })
    };
    let best = plan.best();
    match continued {
        // Asked for the better one when it cannot be made any more (its CRC-32s were forgotten): the other
        // one has another length, and a client that continues by the wrong one must not get a whole file.
        Some(Form::Stored) if best == Form::Streamed => made(best),
        Some(form) => made(form),
        None => {
            let first = made(best)?;
            if best == Form::Stored && has_tags(headers) && plan.named(headers).is_none() {
                // It may be the tag of the layout that was there before all CRC-32s were known.
                made(Form::Streamed)?;
                return Ok(plan.named(headers).cloned().unwrap_or(first));
            }
            Ok(first)
        }
    }
}
