//! `?events`: the progress of downloads as server-sent events (WHATWG HTML, 9.2).
//!
//! First comes the whole state, then every change of it; so a listener that reconnects needs nothing repeated. Once the
//! head has left, the connection is taken over from the engine: a listener is its socket, its place in a list, and a
//! timer.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use outflow_ledger::{Download, DownloadQuery, Progress, State};
use outflow_wire::upgrade::{Handoff, Upgraded};
use serde::Serialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::broadcast::error::RecvError;

use crate::body::ServerBody;
use crate::live::{Live, Told, Topic, event};
use crate::problem::Problem;

/// A comment is sent after so long without an event: less than what proxies wait for.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// A listener that takes nothing for so long is let go of.
const STALL: Duration = Duration::from_secs(30);
/// Downloads that the whole state tells of, the newest ones.
const STATE: usize = 100;
/// Bounds of what a browser is told to wait for before it connects again, in milliseconds. Not the same for all, lest
/// all come back at once.
const RETRY: std::ops::Range<u64> = 2_000..6_000;

/// What somebody listens to.
#[derive(Clone)]
pub(crate) struct Scope {
    pub(crate) topic: Topic,
    pub(crate) of: Of,
}

/// Downloads of what.
#[derive(Clone, Debug)]
pub(crate) enum Of {
    /// Of everything below this address, which ends in a slash.
    Below(String),
    /// Of what is at this address: the stream ends with the download.
    Exactly(String),
}

impl Scope {
    fn has(&self, path: &str) -> bool {
        match &self.of {
            Of::Below(folder) => path.starts_with(folder.as_str()),
            Of::Exactly(address) => path == address,
        }
    }

    fn is_single(&self) -> bool {
        matches!(self.of, Of::Exactly(_))
    }

    fn query(&self) -> DownloadQuery {
        let (Of::Below(path) | Of::Exactly(path)) = &self.of;
        let mut query = DownloadQuery { path: Some(path.clone()), limit: STATE, ..DownloadQuery::default() };
        match &self.topic {
            Topic::All => {}
            Topic::Link(link) => query.link = Some(link.clone()),
            Topic::Recipient(recipient) => query.recipient = Some(recipient.clone()),
        }
        query
    }
}

#[derive(Serialize)]
struct WholeState {
    downloads: Vec<Progress>,
}

impl WholeState {
    /// True when there is nothing more to be said of one download.
    fn is_over(&self, scope: &Scope) -> bool {
        let newest = self.downloads.first();
        scope.is_single() && newest.is_some_and(|newest| newest.state == State::Completed)
    }
}

/// The answer to a request for the events of `scope`.
pub(crate) async fn answer(
    live: &Live,
    scope: Scope,
    query: Option<&str>,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Response<ServerBody>, Problem> {
    // Before the state is asked for, so that nothing falls between the two.
    let mut heard = live.listen(scope.topic.clone());
    let state = state(live, &scope).await?;
    if state.is_over(&scope) && comes_back(query, headers) {
        // Whoever hears this does not come back (WHATWG HTML, 9.2.3).
        let mut response = Response::new(ServerBody::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        return Ok(response);
    }
    let retry = RETRY.start + random() % (RETRY.end - RETRY.start);
    let mut first = format!("retry: {retry}\n").into_bytes();
    first.extend_from_slice(&event("state", live.number(), &state));

    let mut response = Response::new(ServerBody::empty());
    let fields = response.headers_mut();
    fields.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // nginx would collect what comes.
    fields.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    if *method == Method::GET {
        let (live, over) = (live.clone(), state.is_over(&scope));
        let handoff = Handoff::new(move |connection| {
            tokio::spawn(async move {
                let listener = async {
                    let mut listener = Listener { connection, scope, live };
                    listener.send(&first).await?;
                    if over { Some(()) } else { listener.listen(&mut heard).await }
                };
                // Ended by either side: whoever still wants to know connects again.
                let _ = listener.await;
            });
        });
        response.extensions_mut().insert(handoff);
    }
    Ok(response)
}

/// Whether the listener has heard of it before.
fn comes_back(query: Option<&str>, headers: &HeaderMap) -> bool {
    let named = |field: &str| field == "last_event_id" || field.starts_with("last_event_id=");
    headers.contains_key("last-event-id") || query.is_some_and(|query| query.split('&').any(named))
}

async fn state(live: &Live, scope: &Scope) -> Result<WholeState, Problem> {
    let downloads = live.ledger().downloads(&scope.query()).await.map_err(|error| {
        tracing::warn!(%error, "the ledger cannot tell how downloads stand");
        Problem::busy("The server cannot tell how downloads stand right now. Try again in a few seconds.")
    })?;
    let within = downloads.into_iter().filter(|download| scope.has(&download.path));
    Ok(WholeState { downloads: within.map(progress).collect() })
}

/// How a download stood when it was last written down.
fn progress(download: Download) -> Progress {
    Progress {
        eta: download.completed.map(|_| 0),
        sent: 0,
        rate: 0,
        download: download.id,
        content: download.content,
        path: download.path,
        transfer: download.transfer,
        link: download.link,
        recipient: download.recipient,
        state: download.state,
        acked: download.acked,
        total: download.total,
        files_done: download.files_done,
        files: download.files,
    }
}

fn random() -> u64 {
    let mut bytes = [0; 8];
    // Without random numbers all wait for the same time.
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    u64::from_le_bytes(bytes)
}

/// Somebody who has been told the state.
struct Listener {
    connection: Upgraded,
    scope: Scope,
    live: Live,
}

impl Listener {
    /// Passes on what is heard, until there is nothing more to be said. `None`: until the listener went away, or the
    /// server drains.
    async fn listen(&mut self, heard: &mut tokio::sync::broadcast::Receiver<Arc<Told>>) -> Option<()> {
        let mut draining = self.connection.draining();
        let mut said = [0; 64];
        loop {
            let told = tokio::select! {
                told = heard.recv() => told,
                () = tokio::time::sleep(HEARTBEAT) => {
                    self.send(b":\n\n").await?;
                    continue;
                }
                // Nothing that it says matters but its end.
                read = self.connection.read(&mut said) => match read {
                    Ok(1..) => continue,
                    Ok(0) | Err(_) => return None,
                },
                () = draining.begun() => return None,
            };
            match told {
                Ok(told) if self.scope.has(&told.progress.path) => {
                    self.send(&told.event).await?;
                    if self.scope.is_single() && told.progress.state == State::Completed {
                        return Some(());
                    }
                }
                Ok(_) => {}
                Err(RecvError::Lagged(_)) => {
                    let state = state(&self.live, &self.scope).await.ok()?;
                    let over = state.is_over(&self.scope);
                    let whole: Bytes = event("state", self.live.number(), &state);
                    self.send(&whole).await?;
                    if over {
                        return Some(());
                    }
                }
                Err(RecvError::Closed) => return None,
            }
        }
    }

    async fn send(&mut self, bytes: &[u8]) -> Option<()> {
        tokio::time::timeout(STALL, self.connection.write_all(bytes)).await.ok()?.ok()
    }
}
