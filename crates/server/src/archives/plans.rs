//! Which archives are planned already: `aria2c -x16` asks sixteen times at once, a browser that resumes asks
//! again and again, and the folder is walked once for all of them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use http::HeaderMap;
use outflow_catalog::{Collection, CrcCache, RelPath, WalkLimits, WalkScope};
use outflow_web::Problem;
use tokio::sync::Semaphore;

use crate::archives::plan::Plan;
use crate::archives::selection::{Pick, Picked};
use crate::problem::{ToProblem as _, gone_files, unreadable_files};

/// How much memory plans may hold that nobody uses at the moment, in bytes. The last one used stays
/// even if it is larger.
const MEMORY: usize = 32 << 20;
/// Folders that are walked at the same time.
const WALKS: usize = 4;

/// What an archive is asked of a folder.
#[derive(Clone, Debug)]
pub(crate) enum Ask {
    /// All of it.
    All,
    /// These paths below it, sorted.
    These(Vec<RelPath>),
    /// What the token stands for.
    Pick(Box<Pick>, String),
}

/// The plans of all collections, by what was asked.
pub(crate) struct Plans {
    crcs: Arc<CrcCache>,
    /// For how long a plan is used again without looking at the folder.
    fresh: Duration,
    slots: Mutex<HashMap<[u8; 32], Slot>>,
    walks: Arc<Semaphore>,
    walked: AtomicUsize,
}

type Outcome = Result<Arc<Plan>, Arc<Problem>>;

struct Slot {
    /// Whoever holds it plans; the others wait for it.
    gate: Arc<tokio::sync::Mutex<()>>,
    /// Kept for the next request.
    held: Option<Arc<Plan>>,
    /// Still in use by a delivery, even if it is not kept any more.
    in_use: Weak<Plan>,
    /// The answer to the last attempt, if it failed.
    failed: Option<Arc<Problem>>,
    checked: Option<Instant>,
    used: Instant,
}

impl Plans {
    pub(crate) fn new(crcs: Arc<CrcCache>, fresh: Duration) -> Plans {
        Plans {
            crcs,
            fresh,
            slots: Mutex::default(),
            walks: Arc::new(Semaphore::new(WALKS)),
            walked: AtomicUsize::new(0),
        }
    }

    /// How many folders were walked for plans.
    pub(crate) fn walked(&self) -> usize {
        self.walked.load(Ordering::Relaxed)
    }

    /// A place among those who may walk.
    pub(crate) async fn permit(&self) -> Result<tokio::sync::OwnedSemaphorePermit, Problem> {
        // The semaphore is never closed.
        Arc::clone(&self.walks).acquire_owned().await.map_err(|closed| Problem::internal(closed.to_string()))
    }

    /// The plan for what is asked of a collection's `folder`: one that is fresh, or one that the request's
    /// conditions name (every file of it is checked when its bytes leave), or a new one.
    pub(crate) async fn get(
        self: &Arc<Self>,
        collection: &Arc<dyn Collection>,
        folder: &RelPath,
        ask: Ask,
        headers: &HeaderMap,
    ) -> Outcome {
        let key = key(&collection.identity(), folder, &ask);
        let fresh = if collection.is_immutable() { Duration::MAX } else { self.fresh };
        let gate = {
            let mut slots = self.lock();
            if let Some(outcome) = slots.get_mut(&key).and_then(|slot| slot.usable(fresh, headers)) {
                return outcome;
            }
            Arc::clone(&slots.entry(key).or_insert_with(Slot::new).gate)
        };
        let began = Instant::now();
        let turn = gate.lock_owned().await;
        // Whoever planned while this request waited has planned for it, too.
        if let Some(outcome) = self
            .lock()
            .get_mut(&key)
            .and_then(|slot| slot.usable_since(began).or_else(|| slot.usable(fresh, headers)))
        {
            return outcome;
        }
        let permit = self.permit().await.map_err(Arc::new)?;
        let (plans, collection, folder) = (Arc::clone(self), Arc::clone(collection), folder.clone());
        // The thread keeps the turn: if this client goes away, the next one finds the plan that was begun.
        let planning = tokio::task::spawn_blocking(move || {
            let outcome = plans.plan(&collection, &folder, &ask).map_err(Arc::new);
            let outcome = plans.keep(key, outcome);
            drop((turn, permit));
            outcome
        });
        planning.await.unwrap_or_else(|gone| Err(Arc::new(Problem::internal(gone.to_string()))))
    }

    /// Walks and plans. Blocks.
    fn plan(&self, collection: &Arc<dyn Collection>, folder: &RelPath, ask: &Ask) -> Result<Plan, Problem> {
        self.walked.fetch_add(1, Ordering::Relaxed);
        let walk = |wanted: &WalkScope| {
            Arc::clone(collection)
                .walk(folder, wanted, WalkLimits::default())
                .map_err(|error| error.to_problem())
        };
        let wanted = match ask {
            Ask::All => WalkScope::All,
            Ask::These(paths) => WalkScope::Paths(paths.clone()),
            Ask::Pick(pick, _) => match pick.find(&walk(&WalkScope::Levels(pick.levels))?) {
                Picked::All(paths) => WalkScope::Paths(paths),
                Picked::Gone { gone, selected } => return Err(gone_files(gone, selected)),
            },
        };
        let tree = walk(&wanted)?;
        if tree.unreadable().count > 0 {
            return Err(unreadable_files(tree.unreadable()));
        }
        Ok(Plan::new(tree, Arc::clone(&self.crcs)))
    }

    /// Keeps what was planned; a plan that turned out the same as the one before is replaced by that.
    fn keep(&self, key: [u8; 32], outcome: Result<Plan, Arc<Problem>>) -> Outcome {
        let mut slots = self.lock();
        let slot = slots.entry(key).or_insert_with(Slot::new);
        let now = Instant::now();
        (slot.checked, slot.used) = (Some(now), now);
        let outcome = match outcome {
            Ok(plan) => {
                let plan =
                    slot.plan().filter(|before| before.exact == plan.exact).unwrap_or_else(|| Arc::new(plan));
                slot.failed = None;
                slot.held = Some(Arc::clone(&plan));
                slot.in_use = Arc::downgrade(&plan);
                Ok(plan)
            }
            Err(problem) => {
                slot.held = None;
                slot.failed = Some(Arc::clone(&problem));
                Err(problem)
            }
        };
        self.trim(&mut slots);
        outcome
    }

    /// Lets go of the plans that were not used for the longest time, until the rest fits.
    fn trim(&self, slots: &mut HashMap<[u8; 32], Slot>) {
        let mut held: Vec<_> = slots
            .iter()
            .filter_map(|(key, slot)| Some((slot.used, *key, slot.held.as_ref()?.memory())))
            .collect();
        held.sort_unstable_by_key(|(used, ..)| std::cmp::Reverse(*used));
        let mut sum = 0;
        for (at, (_, key, memory)) in held.into_iter().enumerate() {
            sum += memory;
            if at > 0
                && sum > MEMORY
                && let Some(slot) = slots.get_mut(&key)
            {
                slot.held = None;
            }
        }
        slots.retain(|_, slot| {
            slot.held.is_some()
                || slot.in_use.strong_count() > 0
                || Arc::strong_count(&slot.gate) > 1
                || slot.checked.is_some_and(|checked| checked.elapsed() < self.fresh)
        });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<[u8; 32], Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    fn new() -> Slot {
        Slot {
            gate: Arc::default(),
            held: None,
            in_use: Weak::new(),
            failed: None,
            checked: None,
            used: Instant::now(),
        }
    }

    fn plan(&self) -> Option<Arc<Plan>> {
        self.held.clone().or_else(|| self.in_use.upgrade()).filter(|plan| !plan.is_stale())
    }

    fn usable(&mut self, fresh: Duration, headers: &HeaderMap) -> Option<Outcome> {
        let plan = self.plan();
        if let Some(plan) = &plan
            && plan.named(headers).is_some()
        {
            self.used = Instant::now();
            return Some(Ok(Arc::clone(plan)));
        }
        if self.checked?.elapsed() >= fresh {
            return None;
        }
        self.outcome(plan)
    }

    /// What was found out after `began`, if anything was.
    fn usable_since(&mut self, began: Instant) -> Option<Outcome> {
        if self.checked? < began {
            return None;
        }
        let plan = self.plan();
        self.outcome(plan)
    }

    fn outcome(&mut self, plan: Option<Arc<Plan>>) -> Option<Outcome> {
        self.used = Instant::now();
        match &self.failed {
            Some(problem) => Some(Err(Arc::clone(problem))),
            None => plan.map(Ok),
        }
    }
}

/// By what a plan is kept: a hash, so that it does not matter how long a selection is.
fn key(collection: &[u8; 32], folder: &RelPath, ask: &Ask) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    let mut part = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    part(collection);
    part(folder.as_bytes());
    match ask {
        Ask::All => part(b"all"),
        Ask::These(paths) => {
            part(b"these");
            paths.iter().for_each(|path| part(path.as_bytes()));
        }
        Ask::Pick(_, token) => {
            part(b"pick");
            part(token.as_bytes());
        }
    }
    hasher.finalize().into()
}
