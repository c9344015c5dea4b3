//! The transfers of a store: manifests are read when they are asked for, kept for a while, and looked at again.
//!
//! ```text
//! fresh    the store was asked a moment ago: what it said is used again, be it that there is nothing
//! older    one request asks it again (If-None-Match); others use what is there, or wait if there is nothing
//! no answer    a manifest that was confirmed not long ago goes on being used
//! ```
//!
//! A transfer never changes: a download goes on with the one that it began with, whatever is found later.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::StatusCode;
use outflow_catalog::{Manifest, SmallRead, Store, StoreError, StoreErrorKind, Transfer};
use outflow_web::Problem;
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};
use tokio::sync::{OwnedMutexGuard, Semaphore};

use crate::app::Settings;
use crate::problem::ToProblem as _;

/// How much memory manifests may hold that nobody uses at the moment, in bytes; one alone may hold more.
const MEMORY: u64 = 64 << 20;
/// The weight of one that is larger than all of that. The cache takes nothing that is nearer to its bound.
const LARGEST: u64 = MEMORY / 10 * 9;
/// What is remembered of an id takes about this much besides the manifest, in bytes.
const SLOT: u64 = 512;
/// Manifests that the store is asked for at the same time: whoever tries out ids keeps it no busier than that.
const ASKED: usize = 32;
/// Up to this size, in bytes, manifests are read side by side. Larger ones are read one after the other: reading takes
/// several times their size.
const SMALL: usize = 1 << 20;
/// How often it is read before what came counts as all that there is.
const READS: u32 = 3;
/// For how long a request waits for the store that could be answered by what is known.
const PATIENCE: Duration = Duration::from_secs(5);

/// The transfers of a store.
pub(crate) struct Transfers(Arc<Inner>);

struct Inner {
    store: Store,
    fresh: Duration,
    stale: Duration,
    slots: Cache<Arc<str>, Slot, Weigh>,
    asked: Semaphore,
    large: Semaphore,
}

pub(crate) type Outcome = Result<Arc<Transfer>, Arc<Problem>>;

/// What is known of one id, and how much memory that takes.
#[derive(Clone)]
struct Slot {
    weight: u64,
    known: Arc<Known>,
}

#[derive(Clone)]
struct Weigh;

impl Weighter<Arc<str>, Slot> for Weigh {
    fn weight(&self, _: &Arc<str>, slot: &Slot) -> u64 {
        slot.weight
    }
}

/// What a store sent for an id.
struct Found {
    outcome: Result<Arc<Transfer>, Problem>,
    etag: Option<String>,
    hash: Option<[u8; 32]>,
}

#[derive(Default)]
struct Known {
    state: Mutex<State>,
    /// Whoever holds it asks the store.
    gate: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Default)]
struct State {
    outcome: Option<Outcome>,
    /// The manifest's tag in the store, and a hash of its bytes.
    etag: Option<String>,
    hash: Option<[u8; 32]>,
    /// When the store was asked last.
    checked: Option<Instant>,
    /// When it last confirmed what is known.
    seen: Option<Instant>,
}

impl Transfers {
    pub(crate) fn new(store: Store, settings: &Settings) -> Transfers {
        // One shard: a large manifest has to find all of the memory in one place.
        let options =
            OptionsBuilder::new().estimated_items_capacity(1_000).weight_capacity(MEMORY).shards(1).build();
        let slots = match options {
            Ok(options) => Cache::with_options(
                options,
                Weigh,
                DefaultHashBuilder::default(),
                DefaultLifecycle::default(),
            ),
            // Both capacities are given.
            Err(_) => Cache::with_weighter(1_000, MEMORY, Weigh),
        };
        Transfers(Arc::new(Inner {
            store,
            fresh: settings.manifest_fresh,
            stale: settings.manifest_stale,
            slots,
            asked: Semaphore::new(ASKED),
            large: Semaphore::new(1),
        }))
    }

    /// The transfer `id`, if that is known without asking the store.
    pub(crate) fn at_hand(&self, id: &str) -> Option<Outcome> {
        self.0.slots.get(id)?.known.lock().fresh(self.0.fresh)
    }

    /// The transfer `id`.
    pub(crate) async fn get(&self, id: &str) -> Outcome {
        let inner = &self.0;
        let id: Arc<str> = Arc::from(id);
        let slot = inner.slots.get_or_insert_with(&id, || {
            Ok::<_, std::convert::Infallible>(Slot { weight: SLOT, known: Arc::default() })
        });
        let Ok(Slot { known, .. }) = slot;
        if let Some(outcome) = known.lock().fresh(inner.fresh) {
            return outcome;
        }
        let began = Instant::now();
        let turn = match Arc::clone(&known.gate).try_lock_owned() {
            Ok(turn) => turn,
            Err(_) => {
                if let Some(transfer) = known.lock().usable(inner.stale) {
                    return Ok(transfer);
                }
                Arc::clone(&known.gate).lock_owned().await
            }
        };
        let usable = {
            let state = known.lock();
            if let Some(outcome) = state.since(began) {
                return outcome;
            }
            state.usable(inner.stale)
        };
        // In a task of its own: if this client goes away, the next one finds the answer.
        let asking = tokio::spawn(Arc::clone(inner).ask(id, known, turn));
        let answer = match usable {
            Some(usable) => match tokio::time::timeout(PATIENCE, asking).await {
                Ok(answer) => answer,
                Err(_) => return Ok(usable),
            },
            None => asking.await,
        };
        answer.unwrap_or_else(|gone| Err(Arc::new(Problem::internal(gone.to_string()))))
    }
}

impl Inner {
    /// Asks the store, and keeps what it says.
    async fn ask(self: Arc<Self>, id: Arc<str>, known: Arc<Known>, turn: OwnedMutexGuard<()>) -> Outcome {
        // The semaphores are never closed.
        let _asked = self.asked.acquire().await;
        let (etag, hash) = {
            let state = known.lock();
            (state.etag.clone(), state.hash)
        };
        let next = match self.read(&id, etag.as_deref(), hash).await {
            Ok(next) => next,
            Err(error) => {
                if let Some(transfer) = self.in_spite_of(&id, &error, &known) {
                    return Ok(transfer);
                }
                Some(Found { outcome: Err(refusal(&id, &error)), etag: None, hash: None })
            }
        };
        let mut state = known.lock();
        let now = Instant::now();
        (state.checked, state.seen) = (Some(now), Some(now));
        if let Some(Found { outcome, etag, hash }) = next {
            // A store that says "still the same" of bytes that cannot be used may not have sent what it has.
            state.etag = etag.filter(|_| outcome.is_ok());
            state.hash = hash;
            state.outcome = Some(outcome.map_err(Arc::new));
        }
        let outcome = state.outcome.clone();
        drop(state);
        let manifest = outcome.as_ref().and_then(|outcome| outcome.as_ref().ok());
        let weight = SLOT + manifest.map_or(0, |transfer| transfer.memory() as u64);
        // A larger one would not be kept at all, and read for each request: it is kept alone.
        self.slots.insert(id, Slot { weight: weight.min(LARGEST), known: Arc::clone(&known) });
        drop(turn);
        outcome.unwrap_or_else(|| Err(Arc::new(Problem::not_found().without_link_back())))
    }

    /// Reads the manifest from the store; nothing if it still has the bytes of `hash`, which it says `etag` for.
    ///
    /// What cannot be used is read again: a store that fails may refuse once, or send other bytes than it has. Bytes
    /// that come twice are the manifest.
    async fn read(
        &self,
        id: &Arc<str>,
        etag: Option<&str>,
        hash: Option<[u8; 32]>,
    ) -> Result<Option<Found>, StoreError> {
        let key = Manifest::key_of(id);
        let mut broken: Option<Found> = None;
        for tried in 1.. {
            // Kept until it has been parsed.
            let mut _alone = None;
            let mut answer = self.store.read_small(&key, SMALL, etag).await;
            if let Err(StoreError { kind: StoreErrorKind::TooBig { .. }, .. }) = answer {
                // The semaphores are never closed.
                _alone = Some(self.large.acquire().await);
                answer = self.store.read_small(&key, Manifest::MAX_BYTES, etag).await;
            }
            let (bytes, etag) = match answer {
                Ok(SmallRead::NotModified) => return Ok(None),
                Ok(SmallRead::Read { bytes, object }) => (bytes, object.etag),
                Err(StoreError { kind: StoreErrorKind::Denied(_), .. }) if tried < READS => continue,
                Err(error) => return Err(error),
            };
            let next = Some(*blake3::hash(&bytes).as_bytes());
            if next == hash {
                return Ok(None);
            }
            if broken.as_ref().is_some_and(|broken| broken.hash == next) {
                break;
            }
            let (store, name) = (self.store.clone(), Arc::clone(id));
            let parsing = tokio::task::spawn_blocking(move || parse(&store, &name, &bytes));
            let outcome = parsing.await.unwrap_or_else(|gone| Err(Problem::internal(gone.to_string())));
            let found = Found { outcome, etag, hash: next };
            if found.outcome.is_ok() || tried >= READS {
                return Ok(Some(found));
            }
            broken = Some(found);
        }
        Ok(broken)
    }

    /// The manifest that was confirmed not long ago, if the store cannot be asked now.
    fn in_spite_of(&self, id: &str, error: &StoreError, known: &Known) -> Option<Arc<Transfer>> {
        if matches!(error.kind, StoreErrorKind::NotFound | StoreErrorKind::TooBig { .. }) {
            return None;
        }
        let mut state = known.lock();
        let transfer = state.usable(self.stale)?;
        state.checked = Some(Instant::now());
        let age = state.seen.map_or(0, |seen| seen.elapsed().as_secs());
        tracing::warn!(id, %error, age, "the store cannot be asked for a manifest: the one from before is used");
        Some(transfer)
    }
}

/// Reads a manifest. Blocks. Clients are told that it is broken, the log how.
fn parse(store: &Store, id: &str, bytes: &[u8]) -> Result<Arc<Transfer>, Problem> {
    let manifest = Manifest::parse(bytes, id).map_err(|error| broken(id, &error))?;
    Transfer::new(store, manifest, blake3::hash(bytes).as_bytes())
        .map(Arc::new)
        .map_err(|error| broken(id, &error))
}

fn broken(id: &str, error: &dyn std::fmt::Display) -> Problem {
    tracing::warn!(id, %error, "the manifest of a transfer cannot be used");
    let detail = "This transfer's manifest cannot be read. Tell whoever sent you its address.";
    Problem::new(StatusCode::BAD_GATEWAY, detail).without_link_back()
}

/// Why there is no transfer `id`.
fn refusal(id: &str, error: &StoreError) -> Problem {
    match error.kind {
        StoreErrorKind::TooBig { .. } => broken(id, error),
        StoreErrorKind::NotFound => {
            let detail = "There is no such transfer. It may have been removed; check the address.";
            Problem::new(StatusCode::NOT_FOUND, detail).without_link_back()
        }
        _ => error.to_problem().without_link_back(),
    }
}

impl Known {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// What the store said less than `fresh` ago.
    fn fresh(&self, fresh: Duration) -> Option<Outcome> {
        if self.checked?.elapsed() < fresh { self.outcome.clone() } else { None }
    }

    /// What the store said after `began`.
    fn since(&self, began: Instant) -> Option<Outcome> {
        if self.checked? >= began { self.outcome.clone() } else { None }
    }

    /// The transfer, if the store confirmed it less than `stale` ago.
    fn usable(&self, stale: Duration) -> Option<Arc<Transfer>> {
        let transfer = self.outcome.as_ref()?.as_ref().ok()?;
        if self.seen?.elapsed() < stale { Some(Arc::clone(transfer)) } else { None }
    }
}
