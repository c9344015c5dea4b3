//! The server's sessions: begun, resumed, expired.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::runtime::Handle;
use tokio::sync::{OwnedMutexGuard, watch};

use super::engine::{self, LegOutcome};
use super::field::{ResumeResponse, SessionId};
use super::state::{ResumableState, WINDOW_BYTES};
use crate::carry::{TunnelStream, TunnelTimeouts, TunnelTotals};
use crate::frame::LegRole;

/// How long the server keeps the session of a client that has lost its leg, by default.
///
/// Bound: tunnels.
const KEEP: Duration = Duration::from_secs(60);

/// Resumable tunnels of a server. Together they hold at most 256 MiB, even if no client
/// acknowledges anything.
///
/// Bound: tunnels.
const MAX_SESSIONS: usize = 256;

/// Resumable tunnels of one owner.
///
/// Bound: tunnels.
const MAX_SESSIONS_PER_OWNER: usize = 32;

/// How many sessions a server keeps, and for how long.
#[derive(Clone, Debug)]
pub struct SessionLimits {
    /// How long a session waits for its client. 60 seconds.
    pub keep: Duration,
    /// Unacknowledged bytes that a session keeps, at most [`WINDOW_BYTES`], which is the default.
    pub window: usize,
    /// Sessions in total. 256.
    pub sessions: usize,
    /// Sessions of one owner. 32.
    pub per_owner: usize,
}

impl Default for SessionLimits {
    fn default() -> SessionLimits {
        SessionLimits {
            keep: KEEP,
            window: WINDOW_BYTES,
            sessions: MAX_SESSIONS,
            per_owner: MAX_SESSIONS_PER_OWNER,
        }
    }
}

/// Why a session cannot be resumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttachError {
    /// The session has ended or expired, or never existed. For a 404.
    #[error("this session does not exist: it has ended or expired")]
    Unknown,
    /// It has another owner. For a 403.
    #[error("this session belongs to another user")]
    NotYours,
    /// The bytes that the client lacks are no longer kept, or were never sent. For a 409.
    #[error("this session cannot resume from this offset")]
    OutOfWindow,
}

/// All sessions of a server. Clones share them.
pub struct Sessions<F: TunnelStream>(Arc<SessionRegistry<F>>);

impl<F: TunnelStream> Clone for Sessions<F> {
    fn clone(&self) -> Sessions<F> {
        Sessions(Arc::clone(&self.0))
    }
}

struct SessionRegistry<F: TunnelStream> {
    limits: SessionLimits,
    table: Mutex<SessionTable<F>>,
}

struct SessionTable<F: TunnelStream> {
    entries: HashMap<SessionId, SessionEntry<F>>,
    /// How many entries each owner has; owners without one are not listed.
    owners: HashMap<Arc<str>, usize>,
}

struct SessionEntry<F: TunnelStream> {
    owner: Arc<str>,
    /// Locked by the running leg. `None` once the session is over.
    state: Arc<tokio::sync::Mutex<Option<ResumableState<F>>>>,
    /// The number of the newest leg; all others stop.
    newest: watch::Sender<u64>,
}

impl<F: TunnelStream> SessionRegistry<F> {
    /// Removes a session, unless it has a newer leg than this one.
    fn remove(&self, id: SessionId, leg: u64) -> Option<SessionEntry<F>> {
        let mut table = self.table.lock();
        if *table.entries.get(&id)?.newest.borrow() != leg {
            return None;
        }
        let entry = table.entries.remove(&id)?;
        if let Some(count) = table.owners.get_mut(&entry.owner) {
            *count -= 1;
            if *count == 0 {
                table.owners.remove(&entry.owner);
            }
        }
        Some(entry)
    }
}

impl<F: TunnelStream + Send + 'static> Sessions<F> {
    /// An empty registry.
    #[must_use]
    pub fn new(limits: SessionLimits) -> Sessions<F> {
        let table = Mutex::new(SessionTable { entries: HashMap::new(), owners: HashMap::new() });
        Sessions(Arc::new(SessionRegistry { limits, table }))
    }

    /// How many sessions there are, including those that wait for their clients.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.table.lock().entries.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Begins a session, which only `owner` can resume.
    ///
    /// # Errors
    /// Returns the far end if a limit is reached or the system has no random numbers: the tunnel
    /// cannot be resumable.
    pub fn begin(&self, owner: &str, far: F) -> Result<TunnelSession<F>, F> {
        let mut id = SessionId([0; 16]);
        if SystemRandom::new().fill(&mut id.0).is_err() {
            return Err(far);
        }
        let limits = &self.0.limits;
        let mut table = self.0.table.lock();
        let owned = table.owners.get(owner).copied().unwrap_or(0);
        if table.entries.len() >= limits.sessions || owned >= limits.per_owner {
            return Err(far);
        }
        let owner = Arc::<str>::from(owner);
        table.owners.insert(Arc::clone(&owner), owned + 1);
        let state = Arc::new(tokio::sync::Mutex::new(Some(ResumableState::new(far, limits.window))));
        // Not shared yet.
        let Ok(locked) = Arc::clone(&state).try_lock_owned() else { unreachable!("a new lock is free") };
        let (newest, watched) = watch::channel(0);
        table.entries.insert(id, SessionEntry { owner, state, newest });
        drop(table);
        let response =
            ResumeResponse::Granted { id, window: limits.window.min(WINDOW_BYTES), keep: limits.keep };
        Ok(TunnelSession {
            registry: Arc::clone(&self.0),
            id,
            leg: 0,
            newest: watched,
            state: locked,
            response,
            over: false,
        })
    }

    /// Resumes a session on a new leg, and closes the leg that it still has.
    ///
    /// # Errors
    /// See [`AttachError`]. The session stays as it is, but loses its leg.
    pub async fn attach(
        &self,
        id: SessionId,
        owner: &str,
        received: u64,
    ) -> Result<TunnelSession<F>, AttachError> {
        let (state, leg, newest) = {
            let table = self.0.table.lock();
            let entry = table.entries.get(&id).ok_or(AttachError::Unknown)?;
            if *entry.owner != *owner {
                return Err(AttachError::NotYours);
            }
            let leg = *entry.newest.borrow() + 1;
            entry.newest.send_replace(leg);
            (Arc::clone(&entry.state), leg, entry.newest.subscribe())
        };
        // Made before the first await, so that the session expires also if this future is dropped.
        let mut expiry = ExpireOnDrop { registry: Arc::clone(&self.0), id, leg, disarmed: false };
        let mut locked = state.lock_owned().await;
        let state = locked.as_mut().ok_or(AttachError::Unknown)?;
        if !state.replay.can_resume(received) {
            return Err(AttachError::OutOfWindow);
        }
        state.replay.acknowledge(received).map_err(|_| AttachError::OutOfWindow)?;
        let response = ResumeResponse::Again { id, received: state.offset() };
        expiry.disarmed = true;
        Ok(TunnelSession {
            registry: Arc::clone(&self.0),
            id,
            leg,
            newest,
            state: locked,
            response,
            over: false,
        })
    }
}

/// A session with a leg. If it is dropped before its end, it waits for its client.
pub struct TunnelSession<F: TunnelStream + Send + 'static> {
    registry: Arc<SessionRegistry<F>>,
    id: SessionId,
    leg: u64,
    newest: watch::Receiver<u64>,
    state: OwnedMutexGuard<Option<ResumableState<F>>>,
    response: ResumeResponse,
    over: bool,
}

impl<F: TunnelStream + Send + 'static> TunnelSession<F> {
    /// What the response to the request has to carry.
    #[must_use]
    pub fn response(&self) -> ResumeResponse {
        self.response
    }

    /// The far end; `None` once the session is over.
    #[must_use]
    pub fn far(&self) -> Option<&F> {
        self.state.as_ref().map(|state| &state.far)
    }

    /// Carries bytes until the session is over or the leg is lost, and returns the totals of all
    /// legs. `early` holds bytes that were read from the leg before. The idle timeout starts again
    /// with each leg.
    pub async fn run<L: TunnelStream>(
        mut self,
        mut leg: L,
        early: Bytes,
        timeouts: &TunnelTimeouts,
    ) -> (TunnelTotals, LegOutcome) {
        let mine = self.leg;
        let Some(state) = self.state.as_mut() else {
            return (TunnelTotals::default(), LegOutcome::Displaced);
        };
        let ran = tokio::select! {
            ran = engine::drive(state, &mut leg, early, LegRole::Server, timeouts) => ran,
            // The table holds the sender, so the channel cannot be closed before.
            _ = self.newest.wait_for(|newest| *newest > mine) => LegOutcome::Displaced,
        };
        let totals = state.totals();
        self.over = matches!(ran, LegOutcome::Over(_));
        (totals, ran)
    }
}

impl<F: TunnelStream + Send + 'static> Drop for TunnelSession<F> {
    fn drop(&mut self) {
        if self.over {
            // A newer leg finds no session.
            *self.state = None;
        }
        let keep = if self.over { Duration::ZERO } else { self.registry.limits.keep };
        expire(&self.registry, self.id, self.leg, keep);
    }
}

/// Lets a session expire that has no leg.
struct ExpireOnDrop<F: TunnelStream + Send + 'static> {
    registry: Arc<SessionRegistry<F>>,
    id: SessionId,
    leg: u64,
    /// There is a leg, which takes over.
    disarmed: bool,
}

impl<F: TunnelStream + Send + 'static> Drop for ExpireOnDrop<F> {
    fn drop(&mut self) {
        if !self.disarmed {
            expire(&self.registry, self.id, self.leg, self.registry.limits.keep);
        }
    }
}

/// Removes a session after a time, unless it has a newer leg by then.
fn expire<F: TunnelStream + Send + 'static>(
    registry: &Arc<SessionRegistry<F>>,
    id: SessionId,
    leg: u64,
    after: Duration,
) {
    match Handle::try_current() {
        Ok(runtime) if !after.is_zero() => {
            let registry = Arc::clone(registry);
            runtime.spawn(async move {
                tokio::time::sleep(after).await;
                // Dropping the last handle on the state resets the far end.
                drop(registry.remove(id, leg));
            });
        }
        // No client can reconnect to a server that shuts down.
        _ => drop(registry.remove(id, leg)),
    }
}
