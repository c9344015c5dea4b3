//! `?events`: the progress of downloads as server-sent events (WHATWG HTML, section 9.2).
//!
//! ```text
//! scope      whose downloads of what a stream is about, and their whole state
//! broadcast  the ledger's reports, rendered once, for all subscribers
//! listener   one stream, on a connection that the engine has handed over
//! ```
//!
//! A stream begins with the whole state, followed by every change; so a client that reconnects
//! needs nothing repeated.

mod broadcast;
mod listener;
mod scope;

use std::sync::Arc;

use http::header::HeaderMap;
use http::{Method, Response, StatusCode};
use outflow_catalog::FoundPath;
use outflow_content::{UrlPath, Wait, address_of};
use outflow_ledger::DownloadProgress;
use outflow_texts::text;
use outflow_web::{Problem, ResponseBody, reply, sse};
use outflow_wire::upgrade::Handoff;

use crate::files::Mount;
use crate::problem::ToProblem as _;
use crate::request::{Query, RequestContext, RequestFacts as _, printable};
pub(crate) use broadcast::ProgressFeed;
use broadcast::ProgressTopic;
use listener::{POLICY, ProgressListener};
use scope::{Coverage, DownloadsState, ProgressScope};

/// The stream of events about `target`.
pub(crate) async fn respond(
    feed: Option<&ProgressFeed>,
    mount: &Mount,
    target: &UrlPath,
    query: &Query,
    request: &RequestContext,
) -> Result<Response<ResponseBody>, Problem> {
    let Some(feed) = feed else {
        return Err(Problem::new(StatusCode::NOT_IMPLEMENTED, text!(progress_needs_ledger)));
    };
    if request.client.address.is_none() {
        // Not our engine, so no handoff: the stream would end at once.
        return Err(Problem::new(StatusCode::NOT_IMPLEMENTED, text!(progress_needs_engine)));
    }
    let (collection, path) = (Arc::clone(&mount.collection), target.path.clone());
    let finding = tokio::task::spawn_blocking(move || collection.find(&path, Wait::Yes));
    let found = finding.await.map_err(|_| Problem::task_lost())?;
    match found.map_err(|error| error.to_problem())? {
        FoundPath::Folder if !target.folder => return Ok(mount.redirect_to_folder(&target.path, request)),
        FoundPath::File(_) if target.folder => return Err(Problem::not_found()),
        FoundPath::Folder | FoundPath::File(_) => {}
    }
    let topic = match request.link() {
        Some(link) if link.operator => ProgressTopic::All,
        _ => {
            let recipient = request.recipient();
            ProgressTopic::Of { recipient: recipient.id, weak: recipient.weak }
        }
    };
    let coverage = coverage(mount, target, query, request);
    let link = request.link().map(|link| (Arc::clone(link), request.spent().cloned()));
    open(feed, ProgressScope { topic, coverage, transfer: mount.transfer(), link }, request).await
}

/// What the address stands for, as the ledger records addresses.
fn coverage(mount: &Mount, target: &UrlPath, query: &Query, request: &RequestContext) -> Coverage {
    let here = format!("{}{}", mount.home, address_of(&target.path));
    match (target.folder, query.zip) {
        (false, _) => Coverage::Exactly(printable(&here)),
        (true, false) => Coverage::Below(format!("{here}/")),
        (true, true) => {
            // The archive's address has no fields of the stream.
            let fields = request.query().unwrap_or_default().split('&');
            let fields = fields.filter(|field| {
                let name = field.split('=').next();
                !matches!(name, Some("events" | "last_event_id"))
            });
            Coverage::Exactly(printable(&format!("{here}/?{}", fields.collect::<Vec<_>>().join("&"))))
        }
    }
}

/// Opens the stream of events of `scope`.
async fn open(
    feed: &ProgressFeed,
    scope: ProgressScope,
    request: &RequestContext,
) -> Result<Response<ResponseBody>, Problem> {
    // Before the state is queried, so that no report falls between the two.
    let mut subscription = feed.subscribe(scope.topic.clone());
    let state = DownloadsState::query(feed, &scope, &mut subscription).await?;
    if let Some((link, Some(spent))) = &scope.link {
        // The link is still good for what was begun by it.
        let began = |progress: &DownloadProgress| progress.link.as_ref() == Some(&link.id);
        if link.operator || !state.downloads.iter().any(began) {
            return Err(spent.to_problem());
        }
    }
    let over = state.is_over(&scope);
    if over && has_reconnected(request.query(), request.headers()) {
        return Ok(reply::no_content());
    }
    let mut response = sse::response();
    if *request.method() == Method::GET {
        let mut first = POLICY.retry_field().into_bytes();
        first.extend_from_slice(&state.event(feed));
        drop(state);
        let feed = feed.clone();
        let handoff = Handoff::new(move |connection| {
            // The socket of an HTTP/2 stream belongs to others, too.
            if let Some(socket) = connection.socket() {
                POLICY.apply(socket);
            }
            let mut draining = connection.draining();
            let listener = ProgressListener::new(connection, scope, feed, subscription);
            tokio::spawn(async move {
                // Either ends the stream. A client that is interested reconnects.
                tokio::select! {
                    _ = listener.serve(first, over) => {}
                    () = draining.begun() => {}
                }
            });
        });
        response.extensions_mut().insert(handoff);
    }
    Ok(response)
}

/// Whether the client has received events of this stream before.
fn has_reconnected(query: Option<&str>, headers: &HeaderMap) -> bool {
    let names_event = |field: &str| field.strip_prefix("last_event_id=").is_some_and(|id| !id.is_empty());
    sse::last_event_id(headers).is_some() || query.is_some_and(|query| query.split('&').any(names_event))
}
