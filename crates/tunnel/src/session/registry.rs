//! The server's sessions: begun, attached to again, expired.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::runtime::Handle;
use tokio::sync::{OwnedMutexGuard, watch};

use super::engine::{self, Ran};
use super::field::{Answer, Id};
use super::state::{State, WINDOW};
use crate::carry::{self, Side, Totals};
use crate::frame::Role;

/// How many sessions there may be, and how long.
#[derive(Clone, Debug)]
pub struct Limits {
    /// How long a session waits for its client. 60 seconds.
    pub keep: Duration,
    /// What is kept for a client, in bytes, at most [`WINDOW`], which it is.
    pub window: usize,
    /// Sessions in all. 256, so that they hold no more than 256 MiB even if no client acknowledges anything.
    pub sessions: usize,
    /// Those of one owner. 32.
    pub per_owner: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { keep: Duration::from_secs(60), window: WINDOW, sessions: 256, per_owner: 32 }
    }
}

/// Why a client cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttachError {
    /// There is no such session, or no longer. For a 404.
    #[error("there is no such session: it has ended or expired")]
    Unknown,
    /// Somebody else began it. For a 403.
    #[error("this session is somebody else's")]
    NotYours,
    /// What the client lacks is not there any more, or never was. For a 409.
    #[error("this session cannot go on from there")]
    OutOfWindow,
}

/// All sessions of a server, shared by its clones.
pub struct Sessions<F: Side>(Arc<Shared<F>>);

impl<F: Side> Clone for Sessions<F> {
    fn clone(&self) -> Sessions<F> {
        Sessions(Arc::clone(&self.0))
    }
}

struct Shared<F: Side> {
    limits: Limits,
    table: Mutex<Table<F>>,
}

struct Table<F: Side> {
    entries: HashMap<Id, Entry<F>>,
    /// How many entries each owner has; none is not listed.
    owners: HashMap<Arc<str>, usize>,
}

struct Entry<F: Side> {
    owner: Arc<str>,
    /// Locked by the leg that runs. `None` once the session is over.
    state: Arc<tokio::sync::Mutex<Option<State<F>>>>,
    /// How many legs there were: whoever is not the newest leaves.
    newest: watch::Sender<u64>,
}

impl<F: Side> Shared<F> {
    fn table(&self) -> MutexGuard<'_, Table<F>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a session out, unless there is a newer leg than this one.
    fn remove(&self, id: Id, leg: u64) -> Option<Entry<F>> {
        let mut table = self.table();
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

impl<F: Side + Send + 'static> Sessions<F> {
    /// None yet.
    #[must_use]
    pub fn new(limits: Limits) -> Sessions<F> {
        let table = Mutex::new(Table { entries: HashMap::new(), owners: HashMap::new() });
        Sessions(Arc::new(Shared { limits, table }))
    }

    /// How many there are, those that wait for their clients included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.table().entries.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Begins one. `owner` is whoever may come back to it: a user, a capability, the empty name of those without.
    ///
    /// # Errors
    /// The far end, if there are as many as there may be, or no random numbers: the tunnel has to be a plain one.
    pub fn begin(&self, owner: &str, far: F) -> Result<Session<F>, F> {
        let mut id = Id([0; 16]);
        if SystemRandom::new().fill(&mut id.0).is_err() {
            return Err(far);
        }
        let limits = &self.0.limits;
        let mut table = self.0.table();
        let owned = table.owners.get(owner).copied().unwrap_or(0);
        if table.entries.len() >= limits.sessions || owned >= limits.per_owner {
            return Err(far);
        }
        let owner = Arc::<str>::from(owner);
        table.owners.insert(Arc::clone(&owner), owned + 1);
        let state = Arc::new(tokio::sync::Mutex::new(Some(State::new(far, limits.window))));
        // Nobody else has it yet.
        let Ok(locked) = Arc::clone(&state).try_lock_owned() else { unreachable!("a new lock is free") };
        let (newest, watched) = watch::channel(0);
        table.entries.insert(id, Entry { owner, state, newest });
        drop(table);
        let answer = Answer::Granted { id, window: limits.window.min(WINDOW), keep: limits.keep };
        Ok(Session {
            shared: Arc::clone(&self.0),
            id,
            leg: 0,
            newest: watched,
            state: locked,
            answer,
            over: false,
        })
    }

    /// Goes on with one. A leg that it still has is closed.
    ///
    /// # Errors
    /// See [`AttachError`]. The session stays as it is, but for its leg.
    pub async fn attach(&self, id: Id, owner: &str, received: u64) -> Result<Session<F>, AttachError> {
        let (state, leg, newest) = {
            let table = self.0.table();
            let entry = table.entries.get(&id).ok_or(AttachError::Unknown)?;
            if *entry.owner != *owner {
                return Err(AttachError::NotYours);
            }
            let leg = *entry.newest.borrow() + 1;
            entry.newest.send_replace(leg);
            (Arc::clone(&entry.state), leg, entry.newest.subscribe())
        };
        // Made at once, so that the session waits for its client also if this is not waited for.
        let mut waiting = Waiting { shared: Arc::clone(&self.0), id, leg, relieved: false };
        let mut locked = state.lock_owned().await;
        let state = locked.as_mut().ok_or(AttachError::Unknown)?;
        if !state.ring.can_resume(received) {
            return Err(AttachError::OutOfWindow);
        }
        state.ring.acknowledge(received).map_err(|_| AttachError::OutOfWindow)?;
        let answer = Answer::Again { id, received: state.offset() };
        waiting.relieved = true;
        Ok(Session { shared: Arc::clone(&self.0), id, leg, newest, state: locked, answer, over: false })
    }
}

/// A session that has a leg, or is about to. When it is dropped before its end, it waits for its client.
pub struct Session<F: Side + Send + 'static> {
    shared: Arc<Shared<F>>,
    id: Id,
    leg: u64,
    newest: watch::Receiver<u64>,
    state: OwnedMutexGuard<Option<State<F>>>,
    answer: Answer,
    over: bool,
}

impl<F: Side + Send + 'static> Session<F> {
    /// What the answer to the request has to say.
    #[must_use]
    pub fn answer(&self) -> Answer {
        self.answer
    }

    /// What it is about; `None` once it is over.
    #[must_use]
    pub fn far(&self) -> Option<&F> {
        self.state.as_ref().map(|state| &state.far)
    }

    /// Carries bytes until the session is over or the leg is lost, and says how many it was in all. `early` is what came
    /// over the leg already. Of the limits, `idle` holds for each leg.
    pub async fn run<L: Side>(mut self, mut leg: L, early: Bytes, limits: &carry::Limits) -> (Totals, Ran) {
        let mine = self.leg;
        let Some(state) = self.state.as_mut() else { return (Totals::default(), Ran::Displaced) };
        let ran = tokio::select! {
            ran = engine::drive(state, &mut leg, early, Role::Server, limits) => ran,
            // The table has the other half of this channel, so it cannot be closed before.
            _ = self.newest.wait_for(|newest| *newest > mine) => Ran::Displaced,
        };
        let totals = state.totals();
        self.over = matches!(ran, Ran::Over(_));
        (totals, ran)
    }
}

impl<F: Side + Send + 'static> Drop for Session<F> {
    fn drop(&mut self) {
        if self.over {
            // A newer leg finds nothing.
            *self.state = None;
        }
        let keep = if self.over { Duration::ZERO } else { self.shared.limits.keep };
        expire(&self.shared, self.id, self.leg, keep);
    }
}

/// Sees to it that a session expires that nobody comes back to.
struct Waiting<F: Side + Send + 'static> {
    shared: Arc<Shared<F>>,
    id: Id,
    leg: u64,
    /// Not any more: there is a leg.
    relieved: bool,
}

impl<F: Side + Send + 'static> Drop for Waiting<F> {
    fn drop(&mut self) {
        if !self.relieved {
            expire(&self.shared, self.id, self.leg, self.shared.limits.keep);
        }
    }
}

/// Removes a session after a time, unless it has got a newer leg until then.
fn expire<F: Side + Send + 'static>(shared: &Arc<Shared<F>>, id: Id, leg: u64, after: Duration) {
    match Handle::try_current() {
        Ok(runtime) if !after.is_zero() => {
            let shared = Arc::clone(shared);
            runtime.spawn(async move {
                tokio::time::sleep(after).await;
                // With the last handle on the state the far end is reset.
                drop(shared.remove(id, leg));
            });
        }
        // Nobody can come back to a server that is going.
        _ => drop(shared.remove(id, leg)),
    }
}
