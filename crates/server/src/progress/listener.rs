//! `?events`: the progress of downloads as server-sent events (WHATWG HTML, 9.2).
//!
//! First comes the whole state, then every change of it; so a listener that reconnects needs nothing repeated. Once the
//! head has left, the connection is taken over from the engine: a listener is its socket, its place in a list, and a
//! timer.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response};
use outflow_ledger::{DownloadQuery, Progress, State};
use outflow_web::reply::no_content;
use outflow_web::{Problem, ResponseBody};
use outflow_wire::upgrade::{Handoff, Upgraded};
use rustix::net::sockopt;
use serde::Serialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;

use crate::link::{Link, LinkError};
use crate::problem::ToProblem as _;
use crate::progress::broadcast::{Heard, Live, Topic, Word, event};

/// A comment is sent after so long without an event: less than what proxies wait for.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// A listener that takes nothing for so long is let go of.
const STALL: Duration = Duration::from_secs(30);
/// One that acknowledges nothing for so long as well.
const SILENCE: Duration = Duration::from_secs(60);
/// What the kernel keeps for one that does not read, in bytes; it doubles this.
const SEND_BUFFER: usize = 32 * 1024;
/// How often it is looked whether a link is still good.
const LOOK: Duration = Duration::from_secs(60);
/// Whoever has missed something is told the whole state no more often than this.
const PAUSE: Duration = Duration::from_secs(1);
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
    /// The transfer that it is in.
    pub(crate) transfer: Option<String>,
    /// The link by which one listens, and why it may begin nothing new, if it may not.
    pub(crate) link: Option<(Arc<Link>, Option<LinkError>)>,
}

/// Downloads of what.
#[derive(Clone, Debug)]
pub(crate) enum Of {
    /// Of everything below this address, which ends in a slash.
    Below(String),
    /// Of what is at this address.
    Exactly(String),
}

impl Scope {
    fn has(&self, progress: &Progress) -> bool {
        let is_here = match &self.of {
            Of::Below(folder) => progress.path.starts_with(folder.as_str()),
            Of::Exactly(address) => progress.path == *address,
        };
        is_here && self.topic.has(progress)
    }

    /// Whether it is about one download, with which the stream ends.
    fn is_single(&self) -> bool {
        matches!(self.of, Of::Exactly(_)) && self.topic != Topic::All
    }

    fn query(&self) -> DownloadQuery {
        let mut query =
            DownloadQuery { transfer: self.transfer.clone(), limit: STATE, ..DownloadQuery::default() };
        match &self.of {
            Of::Below(folder) => query.path = Some(folder.clone()),
            Of::Exactly(address) => query.address = Some(address.clone()),
        }
        if let Topic::Of { recipient, .. } = &self.topic {
            query.recipient = Some(recipient.clone());
        }
        query
    }
}

#[derive(Serialize)]
struct WholeState {
    /// Newest first.
    downloads: Vec<Progress>,
}

impl WholeState {
    /// How downloads stand, and whatever of it was told in the meantime, which is not told again.
    async fn ask(live: &Live, scope: &Scope, heard: &mut Heard) -> Result<WholeState, Problem> {
        let mut downloads = live.standing(&scope.query()).await.map_err(|error| {
            tracing::warn!(%error, "the ledger cannot tell how downloads stand");
            Problem::busy("The server cannot tell how downloads stand right now. Try again in a few seconds.")
        })?;
        downloads.retain(|progress| scope.has(progress));
        let mut state = WholeState { downloads };
        while let Some(told) = heard.already() {
            if scope.has(&told.progress) {
                state.put(&told.progress);
            }
        }
        Ok(state)
    }

    /// Takes note of a report that may be older or newer than what is known.
    fn put(&mut self, progress: &Progress) {
        // Ids are in the order of time.
        let at = self.downloads.partition_point(|download| download.download > progress.download);
        match self.downloads.get_mut(at).filter(|download| download.download == progress.download) {
            Some(known) if known.state == State::Completed => {}
            Some(known) if progress.state == State::Completed || progress.acked >= known.acked => {
                known.clone_from(progress);
            }
            Some(_) => {}
            None => {
                self.downloads.insert(at, progress.clone());
                self.downloads.truncate(STATE);
            }
        }
    }

    /// True when there is nothing more to be said of one download.
    fn is_over(&self, scope: &Scope) -> bool {
        let newest = self.downloads.first();
        scope.is_single() && newest.is_some_and(|newest| newest.state == State::Completed)
    }

    fn event(&self, live: &Live) -> Vec<u8> {
        event("state", live.number(), self).into()
    }
}

/// The answer to a request for the events of `scope`.
pub(crate) async fn answer(
    live: &Live,
    scope: Scope,
    query: Option<&str>,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Response<ResponseBody>, Problem> {
    // Before the state is asked for, so that nothing falls between the two.
    let mut heard = live.listen(scope.topic.clone());
    let state = WholeState::ask(live, &scope, &mut heard).await?;
    if let Some((link, Some(spent))) = &scope.link {
        // Good for what was begun by it, and no more.
        let began = |progress: &Progress| progress.link.as_ref() == Some(&link.id);
        if link.operator || !state.downloads.iter().any(began) {
            return Err(spent.to_problem());
        }
    }
    let over = state.is_over(&scope);
    if over && comes_back(query, headers) {
        // Whoever hears this does not come back (WHATWG HTML, 9.2.3).
        return Ok(no_content());
    }
    let mut response = Response::new(ResponseBody::empty());
    let fields = response.headers_mut();
    fields.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // nginx would collect what comes.
    fields.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    if *method == Method::GET {
        let retry = RETRY.start + random() % (RETRY.end - RETRY.start);
        let mut first = format!("retry: {retry}\n").into_bytes();
        first.append(&mut state.event(live));
        drop(state);
        let live = live.clone();
        let handoff = Handoff::new(move |connection| {
            prepare(&connection);
            let mut draining = connection.draining();
            let now = Instant::now();
            let listener =
                Listener { connection, scope, live, heard, beat: now + HEARTBEAT, look: now + LOOK };
            tokio::spawn(async move {
                // Ended by either side: whoever still wants to know connects again.
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

/// Whether the listener has heard of it before.
fn comes_back(query: Option<&str>, headers: &HeaderMap) -> bool {
    let named = |field: &str| field.strip_prefix("last_event_id=").is_some_and(|id| !id.is_empty());
    headers.get("last-event-id").is_some_and(|id| !id.is_empty())
        || query.is_some_and(|query| query.split('&').any(named))
}

fn random() -> u64 {
    let mut bytes = [0; 8];
    // Without random numbers all wait for the same time.
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    u64::from_le_bytes(bytes)
}

/// Sees to it that a listener who is gone, or does not read, costs little and is noticed. Where the kernel does not know
/// these options, it costs more.
fn prepare(connection: &Upgraded) {
    // A stream's socket is others', too.
    let Some(socket) = connection.socket() else { return };
    let _ = sockopt::set_socket_send_buffer_size(socket, SEND_BUFFER);
    let _ = sockopt::set_tcp_user_timeout(socket, u32::try_from(SILENCE.as_millis()).unwrap_or(0));
}

/// Somebody who listens.
struct Listener<S> {
    connection: S,
    scope: Scope,
    live: Live,
    heard: Heard,
    /// When a comment is due.
    beat: Instant,
    /// When the link is looked at.
    look: Instant,
}

impl<S> Listener<S>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    /// Tells the state, and passes on what is heard, until there is nothing more to be said. `None`: until the listener
    /// went away.
    async fn serve(mut self, first: Vec<u8>, over: bool) -> Option<()> {
        self.send(&first).await?;
        // It may be long, and listeners stay for hours.
        drop(first);
        if over { Some(()) } else { self.listen().await }
    }

    async fn listen(&mut self) -> Option<()> {
        let mut said = [0; 64];
        loop {
            let word = tokio::select! {
                word = self.heard.next() => word,
                () = tokio::time::sleep_until(self.beat.min(self.look)) => {
                    self.tick().await?;
                    continue;
                }
                // Nothing that it says matters but its end.
                read = self.connection.read(&mut said) => match read {
                    Ok(1..) => continue,
                    Ok(0) | Err(_) => return None,
                },
            };
            match word {
                Word::Told(told) if self.scope.has(&told.progress) => {
                    self.send(&told.event).await?;
                    if self.scope.is_single() && told.progress.state == State::Completed {
                        return Some(());
                    }
                }
                Word::Told(_) => {}
                Word::Missed => {
                    tokio::time::sleep(PAUSE).await;
                    self.heard.anew();
                    let state = WholeState::ask(&self.live, &self.scope, &mut self.heard).await.ok()?;
                    let (over, event) = (state.is_over(&self.scope), state.event(&self.live));
                    self.send(&event).await?;
                    if over {
                        return Some(());
                    }
                }
                Word::Over => return None,
            }
        }
    }

    /// Does what is due.
    async fn tick(&mut self) -> Option<()> {
        let now = Instant::now();
        if now >= self.beat {
            self.send(b":\n\n").await?;
        }
        if now >= self.look {
            self.look = now + LOOK;
            return self.is_welcome().await.then_some(());
        }
        Some(())
    }

    /// Whether its link is still good.
    async fn is_welcome(&self) -> bool {
        let Some((link, spent)) = &self.scope.link else { return true };
        if spent.is_none() && link.expiry(SystemTime::now()).is_some() {
            // Whether something goes on all the same is seen when it connects again.
            return false;
        }
        let ledger = self.live.ledger();
        let state = match ledger.link_now(&link.id) {
            Some(state) => Ok(state),
            None => ledger.link(&link.id).await,
        };
        // A ledger that cannot be asked shuts nobody out.
        state.map_or(true, |state| state.revoked.is_none())
    }

    async fn send(&mut self, bytes: &[u8]) -> Option<()> {
        self.beat = Instant::now() + HEARTBEAT;
        tokio::time::timeout(STALL, self.connection.write_all(bytes)).await.ok()?.ok()
    }
}

#[cfg(test)]
mod tests {
    use outflow_ledger::{Ledger, Options};
    use tokio::io::{AsyncReadExt as _, DuplexStream};

    use super::*;

    fn ledger(folder: &tempfile::TempDir) -> Ledger {
        Ledger::open(&format!("sqlite:{}", folder.path().join("ledger").display()), Options::default())
            .unwrap()
    }

    fn anna() -> Scope {
        let topic = Topic::Of { recipient: "anna".into(), weak: true };
        Scope { topic, of: Of::Exactly("/a".into()), transfer: None, link: None }
    }

    /// A listener whose kernel takes `room` bytes, and its other end.
    fn listener(live: &Live, room: usize) -> (Listener<DuplexStream>, DuplexStream) {
        let (connection, other) = tokio::io::duplex(room);
        let (scope, now) = (anna(), Instant::now());
        let heard = live.listen(scope.topic.clone());
        let live = live.clone();
        (Listener { connection, scope, live, heard, beat: now + HEARTBEAT, look: now + LOOK }, other)
    }

    fn progress(download: &str, acked: u64, state: State) -> Progress {
        Progress {
            download: download.into(),
            content: String::new(),
            path: "/a".into(),
            transfer: None,
            link: None,
            recipient: "anna".into(),
            state,
            acked,
            sent: 0,
            total: 10,
            rate: 0,
            eta: None,
            files_done: None,
            files: None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_comment_comes_when_nothing_else_has_come_for_15_seconds() {
        let folder = tempfile::TempDir::new().unwrap();
        let live = Live::new(ledger(&folder));
        let (listener, mut other) = listener(&live, 1024);
        let begun = Instant::now();
        let serving = tokio::spawn(listener.serve(b"first".to_vec(), false));
        let mut first = [0; 5];
        other.read_exact(&mut first).await.unwrap();
        for beat in 1..=10 {
            // What the listener says puts nothing off.
            tokio::time::sleep(Duration::from_secs(7)).await;
            other.write_all(b"?").await.unwrap();
            let mut comment = [0; 3];
            other.read_exact(&mut comment).await.unwrap();
            assert_eq!((&comment, begun.elapsed().as_secs()), (b":\n\n", beat * 15));
        }
        drop(other);
        assert_eq!(serving.await.unwrap(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn who_reads_nothing_is_let_go_of_and_leaves_nothing_behind() {
        let folder = tempfile::TempDir::new().unwrap();
        let live = Live::new(ledger(&folder));
        let (listener, _other) = listener(&live, 16);
        let begun = Instant::now();
        assert_eq!(listener.serve(vec![b'x'; 100], false).await, None);
        assert_eq!(begun.elapsed(), STALL);
        assert_eq!(live.topics(), 0);
    }

    #[test]
    fn what_was_told_while_the_state_was_asked_for_is_part_of_it() {
        let mut state = WholeState {
            downloads: vec![progress("dl_3", 5, State::Open), progress("dl_1", 10, State::Completed)],
        };
        for told in [
            progress("dl_3", 4, State::Open),
            progress("dl_1", 9, State::Open),
            progress("dl_4", 1, State::Open),
            progress("dl_2", 10, State::Completed),
            progress("dl_3", 7, State::Aborted),
        ] {
            state.put(&told);
        }
        let downloads = state.downloads.iter().map(|it| (&*it.download, it.acked, it.state));
        assert_eq!(
            downloads.collect::<Vec<_>>(),
            [
                ("dl_4", 1, State::Open),
                ("dl_3", 7, State::Aborted),
                ("dl_2", 10, State::Completed),
                ("dl_1", 10, State::Completed)
            ]
        );
        assert!(!state.is_over(&anna()));
        state.put(&progress("dl_4", 10, State::Completed));
        assert!(state.is_over(&anna()));
        // Others may still download it.
        assert!(!state.is_over(&Scope { topic: Topic::All, ..anna() }));
    }
}
