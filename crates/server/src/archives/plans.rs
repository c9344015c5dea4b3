//! The plans of archives, kept for the next requests: `aria2c -x16` sends sixteen at once, a
//! browser that resumes sends one after the other, and the folder is walked once for all of them.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use http::HeaderMap;
use outflow_catalog::{Collection, CrcCache, RelPath, WalkLimits, WalkScope};
use outflow_web::Problem;
use parking_lot::Mutex;

use super::plan::ArchivePlan;
use super::selection::ResolvedSelection;
use super::spec::{ArchiveSelection, ArchiveSpec};
use crate::limits::WalkPermits;
use crate::metrics::DownloadMetrics;
use crate::problem::{ToProblem as _, gone_files, unreadable_files};

/// Maximum memory of plans that no delivery uses, in bytes. The last one used stays even if it is
/// larger.
///
/// Bound: archives.
const MAX_IDLE_MEMORY: usize = 32 << 20;

/// The plans of all collections, by [`ArchiveSpec::plan_key`].
pub(crate) struct ArchivePlans {
    crcs: Arc<CrcCache>,
    /// How long a plan is reused without walking the folder again.
    fresh: Duration,
    slots: Mutex<HashMap<[u8; 32], PlanSlot>>,
    walks: WalkPermits,
    metrics: Arc<DownloadMetrics>,
}

type PlanOutcome = Result<Arc<ArchivePlan>, Arc<Problem>>;

struct PlanSlot {
    /// Held by the request that plans; the others wait for it.
    gate: Arc<tokio::sync::Mutex<()>>,
    /// Kept for the next request.
    held: Option<Arc<ArchivePlan>>,
    /// Still in use by a delivery, even if it is no longer kept.
    in_use: Weak<ArchivePlan>,
    /// The outcome of the last attempt, if it failed.
    failed: Option<Arc<Problem>>,
    checked: Option<Instant>,
    used: Instant,
}

impl ArchivePlans {
    pub(crate) fn new(
        crcs: Arc<CrcCache>,
        walks: WalkPermits,
        fresh: Duration,
        metrics: Arc<DownloadMetrics>,
    ) -> ArchivePlans {
        ArchivePlans { crcs, fresh, slots: Mutex::default(), walks, metrics }
    }

    /// Number of folders that were walked for plans.
    pub(crate) fn walk_count(&self) -> u64 {
        self.metrics.walks.get()
    }

    /// The plan for the archive `spec` of a collection's `folder`: a fresh one, or one that the
    /// request's conditions name (every file of it is checked when its bytes are sent), or a new
    /// one.
    pub(crate) async fn get(
        self: &Arc<Self>,
        collection: &Arc<dyn Collection>,
        folder: &RelPath,
        spec: ArchiveSpec,
        headers: &HeaderMap,
    ) -> PlanOutcome {
        let key = spec.plan_key(&collection.identity(), folder);
        let fresh = if collection.is_immutable() { Duration::MAX } else { self.fresh };
        let gate = {
            let mut slots = self.slots.lock();
            if let Some(outcome) = slots.get_mut(&key).and_then(|slot| slot.usable(fresh, headers)) {
                self.metrics.plans_reused.inc();
                return outcome;
            }
            Arc::clone(&slots.entry(key).or_insert_with(PlanSlot::new).gate)
        };
        let began = Instant::now();
        let turn = gate.lock_owned().await;
        // A plan that was made while this request waited is good for it, too.
        if let Some(outcome) = self
            .slots
            .lock()
            .get_mut(&key)
            .and_then(|slot| slot.usable_since(began).or_else(|| slot.usable(fresh, headers)))
        {
            self.metrics.plans_reused.inc();
            return outcome;
        }
        let permit = self.walks.acquire().await.map_err(Arc::new)?;
        let (plans, collection, folder) = (Arc::clone(self), Arc::clone(collection), folder.clone());
        // The thread keeps the turn, so that the next client finds the plan if this one goes away.
        let planning = tokio::task::spawn_blocking(move || {
            let outcome = plans.plan(&collection, &folder, &spec).map_err(Arc::new);
            let outcome = plans.keep(key, outcome);
            drop((turn, permit));
            outcome
        });
        planning.await.unwrap_or_else(|_| Err(Arc::new(Problem::task_lost())))
    }

    /// Walks and plans. Blocks.
    fn plan(
        &self,
        collection: &Arc<dyn Collection>,
        folder: &RelPath,
        spec: &ArchiveSpec,
    ) -> Result<ArchivePlan, Problem> {
        self.metrics.walks.inc();
        let walk = |wanted: &WalkScope| {
            Arc::clone(collection)
                .walk(folder, wanted, WalkLimits::default())
                .map_err(|error| error.to_problem())
        };
        let wanted = match &spec.selection {
            ArchiveSelection::All => WalkScope::All,
            ArchiveSelection::Paths(paths) => WalkScope::Paths(paths.clone()),
            ArchiveSelection::Token(token, _) => {
                match token.resolve(&walk(&WalkScope::Levels(token.levels))?) {
                    ResolvedSelection::All(paths) => WalkScope::Paths(paths),
                    ResolvedSelection::Gone { gone, selected } => return Err(gone_files(gone, selected)),
                }
            }
        };
        let tree = walk(&wanted)?;
        if tree.unreadable().count > 0 {
            return Err(unreadable_files(tree.unreadable()));
        }
        Ok(ArchivePlan::new(tree, Arc::clone(&self.crcs), spec.layout))
    }

    /// Keeps the outcome. A plan that equals the one before is replaced by that, which has its
    /// layouts.
    fn keep(&self, key: [u8; 32], outcome: Result<ArchivePlan, Arc<Problem>>) -> PlanOutcome {
        let mut slots = self.slots.lock();
        let slot = slots.entry(key).or_insert_with(PlanSlot::new);
        let now = Instant::now();
        (slot.checked, slot.used) = (Some(now), now);
        let outcome = match outcome {
            Ok(plan) => {
                let plan = slot
                    .plan()
                    .filter(|before| before.inodes() == plan.inodes())
                    .unwrap_or_else(|| Arc::new(plan));
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

    /// Evicts the plans that were not used for the longest time, until the rest fits.
    fn trim(&self, slots: &mut HashMap<[u8; 32], PlanSlot>) {
        let mut held: Vec<_> = slots
            .iter()
            .filter_map(|(key, slot)| Some((slot.used, *key, slot.held.as_ref()?.memory())))
            .collect();
        held.sort_unstable_by_key(|(used, ..)| std::cmp::Reverse(*used));
        let mut sum = 0;
        for (at, (_, key, memory)) in held.into_iter().enumerate() {
            sum += memory;
            if at > 0
                && sum > MAX_IDLE_MEMORY
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
}

impl PlanSlot {
    fn new() -> PlanSlot {
        PlanSlot {
            gate: Arc::default(),
            held: None,
            in_use: Weak::new(),
            failed: None,
            checked: None,
            used: Instant::now(),
        }
    }

    fn plan(&self) -> Option<Arc<ArchivePlan>> {
        self.held.clone().or_else(|| self.in_use.upgrade()).filter(|plan| !plan.is_stale())
    }

    fn usable(&mut self, fresh: Duration, headers: &HeaderMap) -> Option<PlanOutcome> {
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

    /// The outcome of a plan that was made after `began`.
    fn usable_since(&mut self, began: Instant) -> Option<PlanOutcome> {
        if self.checked? < began {
            return None;
        }
        let plan = self.plan();
        self.outcome(plan)
    }

    fn outcome(&mut self, plan: Option<Arc<ArchivePlan>>) -> Option<PlanOutcome> {
        self.used = Instant::now();
        match &self.failed {
            Some(problem) => Some(Err(Arc::clone(problem))),
            None => plan.map(Ok),
        }
    }
}
