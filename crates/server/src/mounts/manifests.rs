//! The manifests of a store's transfers: read on the first request, kept, and revalidated.
//!
//! ```text
//! fresh      the store answered a moment ago: reused, even that there is no such transfer
//! stale      one request revalidates it (If-None-Match); others use it, or wait if there is none
//! no answer  a manifest that was confirmed recently stays in use
//! ```
//!
//! A transfer never changes: a download continues with the manifest that it began with.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::StatusCode;
use outflow_catalog::{Manifest, SmallRead, Store, StoreError, StoreErrorKind, Transfer};
use outflow_texts::text;
use outflow_web::Problem;
use parking_lot::Mutex;
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};
use tokio::sync::{OwnedMutexGuard, Semaphore};

use crate::options::DownloadOptions;
use crate::problem::ToProblem as _;

/// Maximum memory of manifests that no download uses, in bytes; one alone may take more.
///
/// Bound: object stores.
const MAX_IDLE_MEMORY: u64 = 64 << 20;
/// Weight of a manifest that is larger than all of that. The cache takes nothing that is closer to
/// its limit.
const MAX_WEIGHT: u64 = MAX_IDLE_MEMORY / 10 * 9;
/// About what an id takes besides its manifest, in bytes.
const ENTRY: u64 = 512;
/// Maximum number of manifests that are requested from the store at the same time, even by a client
/// that guesses ids.
///
/// Bound: object stores.
const MAX_REQUESTS: usize = 32;
/// Maximum size of manifests that are read in parallel, in bytes. Larger ones are read one at a
/// time: parsing takes several times their size.
///
/// Bound: object stores.
const MAX_PARALLEL_SIZE: usize = 1 << 20;
/// Attempts to read a manifest that is invalid or denied.
const READS: u32 = 3;
/// How long a request waits for the store if it could be answered from a stale manifest.
const REVALIDATION_TIMEOUT: Duration = Duration::from_secs(5);

/// The transfers of a store, by id.
pub(super) struct ManifestCache(Arc<Manifests>);

struct Manifests {
    store: Store,
    fresh: Duration,
    stale: Duration,
    slots: Cache<Arc<str>, CachedTransfer, TransferWeight>,
    requests: Semaphore,
    large: Semaphore,
}

pub(super) type TransferOutcome = Result<Arc<Transfer>, Arc<Problem>>;

/// The manifest of an id, or why there is none, and the memory that it takes.
#[derive(Clone)]
struct CachedTransfer {
    weight: u64,
    known: Arc<KnownTransfer>,
}

#[derive(Clone)]
struct TransferWeight;

impl Weighter<Arc<str>, CachedTransfer> for TransferWeight {
    fn weight(&self, _: &Arc<str>, slot: &CachedTransfer) -> u64 {
        slot.weight
    }
}

/// What a store has for an id.
struct ReadManifest {
    outcome: Result<Arc<Transfer>, Problem>,
    etag: Option<String>,
    hash: Option<[u8; 32]>,
}

#[derive(Default)]
struct KnownTransfer {
    state: Mutex<ManifestState>,
    /// Held by the request that reads from the store.
    gate: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Default)]
struct ManifestState {
    outcome: Option<TransferOutcome>,
    /// The manifest's ETag in the store, and a hash of its bytes.
    etag: Option<String>,
    hash: Option<[u8; 32]>,
    /// When the store last answered.
    checked: Option<Instant>,
    /// When the store last confirmed the outcome.
    confirmed: Option<Instant>,
}

impl ManifestCache {
    pub(super) fn new(store: Store, options: &DownloadOptions) -> ManifestCache {
        // One shard: a large manifest has to find all of the memory in one place.
        let capacity = OptionsBuilder::new()
            .estimated_items_capacity(1_000)
            .weight_capacity(MAX_IDLE_MEMORY)
            .shards(1)
            .build();
        let slots = match capacity {
            Ok(capacity) => Cache::with_options(
                capacity,
                TransferWeight,
                DefaultHashBuilder::default(),
                DefaultLifecycle::default(),
            ),
            // Both capacities are given.
            Err(_) => Cache::with_weighter(1_000, MAX_IDLE_MEMORY, TransferWeight),
        };
        ManifestCache(Arc::new(Manifests {
            store,
            fresh: options.manifest_fresh,
            stale: options.manifest_stale,
            slots,
            requests: Semaphore::new(MAX_REQUESTS),
            large: Semaphore::new(1),
        }))
    }

    /// The transfer `id`, if it is fresh.
    pub(super) fn cached(&self, id: &str) -> Option<TransferOutcome> {
        self.0.slots.get(id)?.known.state.lock().fresh(self.0.fresh)
    }

    /// The transfer `id`.
    pub(super) async fn get(&self, id: &str) -> TransferOutcome {
        let inner = &self.0;
        let id: Arc<str> = Arc::from(id);
        let slot = inner.slots.get_or_insert_with(&id, || {
            Ok::<_, std::convert::Infallible>(CachedTransfer { weight: ENTRY, known: Arc::default() })
        });
        let Ok(CachedTransfer { known, .. }) = slot;
        if let Some(outcome) = known.state.lock().fresh(inner.fresh) {
            return outcome;
        }
        let began = Instant::now();
        let turn = match Arc::clone(&known.gate).try_lock_owned() {
            Ok(turn) => turn,
            Err(_) => {
                if let Some(transfer) = known.state.lock().usable(inner.stale) {
                    return Ok(transfer);
                }
                Arc::clone(&known.gate).lock_owned().await
            }
        };
        let usable = {
            let state = known.state.lock();
            if let Some(outcome) = state.since(began) {
                return outcome;
            }
            state.usable(inner.stale)
        };
        // In its own task, so that the next client finds the answer if this one goes away.
        let asking = tokio::spawn(Arc::clone(inner).refresh(id, known, turn));
        let answer = match usable {
            Some(usable) => match tokio::time::timeout(REVALIDATION_TIMEOUT, asking).await {
                Ok(answer) => answer,
                Err(_) => return Ok(usable),
            },
            None => asking.await,
        };
        answer.unwrap_or_else(|_| Err(Arc::new(Problem::task_lost())))
    }
}

impl Manifests {
    /// Reads from the store, and keeps the result.
    async fn refresh(
        self: Arc<Self>,
        id: Arc<str>,
        known: Arc<KnownTransfer>,
        turn: OwnedMutexGuard<()>,
    ) -> TransferOutcome {
        // The semaphores are never closed.
        let _permit = self.requests.acquire().await;
        let (etag, hash) = {
            let state = known.state.lock();
            (state.etag.clone(), state.hash)
        };
        let next = match self.read(&id, etag.as_deref(), hash).await {
            Ok(next) => next,
            Err(error) => {
                if let Some(transfer) = self.stale_on_error(&id, &error, &known) {
                    return Ok(transfer);
                }
                Some(ReadManifest { outcome: Err(refusal(&id, &error)), etag: None, hash: None })
            }
        };
        let mut state = known.state.lock();
        let now = Instant::now();
        (state.checked, state.confirmed) = (Some(now), Some(now));
        if let Some(ReadManifest { outcome, etag, hash }) = next {
            // A store that answers 304 for an invalid manifest may have sent other bytes than it
            // has.
            state.etag = etag.filter(|_| outcome.is_ok());
            state.hash = hash;
            state.outcome = Some(outcome.map_err(Arc::new));
        }
        let outcome = state.outcome.clone();
        drop(state);
        let manifest = outcome.as_ref().and_then(|outcome| outcome.as_ref().ok());
        let weight = ENTRY + manifest.map_or(0, |transfer| transfer.memory() as u64);
        // The cache would not keep a larger one, and each request would read it again.
        self.slots.insert(id, CachedTransfer { weight: weight.min(MAX_WEIGHT), known: Arc::clone(&known) });
        drop(turn);
        outcome.unwrap_or_else(|| Err(Arc::new(Problem::not_found().without_link_back())))
    }

    /// Reads the manifest from the store; `None` if it still has the bytes with `hash` and `etag`.
    ///
    /// An invalid manifest is read again: a failing store may deny once, or send other bytes than
    /// it has. Bytes that come twice are the manifest.
    async fn read(
        &self,
        id: &Arc<str>,
        etag: Option<&str>,
        hash: Option<[u8; 32]>,
    ) -> Result<Option<ReadManifest>, StoreError> {
        let key = Manifest::key_of(id);
        let mut broken: Option<ReadManifest> = None;
        for tried in 1.. {
            // Kept until it has been parsed.
            let mut _alone = None;
            let mut answer = self.store.read_small(&key, MAX_PARALLEL_SIZE, etag).await;
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
            let outcome = parsing.await.unwrap_or_else(|_| Err(Problem::task_lost()));
            let found = ReadManifest { outcome, etag, hash: next };
            if found.outcome.is_ok() || tried >= READS {
                return Ok(Some(found));
            }
            broken = Some(found);
        }
        Ok(broken)
    }

    /// The stale manifest, if the store failed with an `error` that does not say that the transfer
    /// is gone.
    fn stale_on_error(&self, id: &str, error: &StoreError, known: &KnownTransfer) -> Option<Arc<Transfer>> {
        if matches!(error.kind, StoreErrorKind::NotFound | StoreErrorKind::TooBig { .. }) {
            return None;
        }
        let mut state = known.state.lock();
        let transfer = state.usable(self.stale)?;
        state.checked = Some(Instant::now());
        let age = state.confirmed.map_or(0, |seen| seen.elapsed().as_secs());
        tracing::warn!(id, %error, age, "cannot revalidate a manifest: the previous one stays in use");
        Some(transfer)
    }
}

/// Parses a manifest. Blocks. The log says what is wrong with an invalid one, the client that it is
/// invalid.
fn parse(store: &Store, id: &str, bytes: &[u8]) -> Result<Arc<Transfer>, Problem> {
    let manifest = Manifest::parse(bytes, id).map_err(|error| broken(id, &error))?;
    Transfer::new(store, manifest, blake3::hash(bytes).as_bytes())
        .map(Arc::new)
        .map_err(|error| broken(id, &error))
}

fn broken(id: &str, error: &dyn std::fmt::Display) -> Problem {
    tracing::warn!(id, %error, "the manifest of a transfer is invalid");
    Problem::new(StatusCode::BAD_GATEWAY, text!(transfer_damaged)).without_link_back()
}

/// Why there is no transfer `id`.
fn refusal(id: &str, error: &StoreError) -> Problem {
    match error.kind {
        StoreErrorKind::TooBig { .. } => broken(id, error),
        StoreErrorKind::NotFound => {
            Problem::new(StatusCode::NOT_FOUND, text!(transfer_missing)).without_link_back()
        }
        _ => error.to_problem().without_link_back(),
    }
}

impl ManifestState {
    /// The outcome, if the store answered less than `fresh` ago.
    fn fresh(&self, fresh: Duration) -> Option<TransferOutcome> {
        if self.checked?.elapsed() < fresh { self.outcome.clone() } else { None }
    }

    /// The outcome, if the store answered after `began`.
    fn since(&self, began: Instant) -> Option<TransferOutcome> {
        if self.checked? >= began { self.outcome.clone() } else { None }
    }

    /// The transfer, if the store confirmed it less than `stale` ago.
    fn usable(&self, stale: Duration) -> Option<Arc<Transfer>> {
        let transfer = self.outcome.as_ref()?.as_ref().ok()?;
        if self.confirmed?.elapsed() < stale { Some(Arc::clone(transfer)) } else { None }
    }
}
