//! How many tunnels there may be, and how many that wait for their targets.

use outflow_texts::text;
use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::metrics::TunnelMetrics;
use super::rejection::Rejection;

/// Tunnels of all clients at the same time, by default.
///
/// Bound: tunnels.
const MAX_TUNNELS: usize = 4_096;

/// Tunnels of one user, or of one client address if clients need no token, by default. A quarter of
/// them may wait for their targets.
///
/// Bound: tunnels.
const MAX_TUNNELS_PER_OWNER: usize = 64;

/// Tunnels of all clients that wait for their targets, by default.
///
/// Bound: tunnels.
const MAX_CONNECTING: usize = 1_024;

/// How many tunnels there may be at the same time.
#[derive(Clone, Copy, Debug)]
pub struct TunnelLimits {
    /// Tunnels of all clients. 4,096.
    pub tunnels: usize,
    /// Tunnels of one user, or of one client address if clients need no token. 64.
    pub per_owner: usize,
    /// Tunnels of all clients whose targets have not accepted yet. 1,024. For one owner it is a
    /// quarter of `per_owner`.
    pub connecting: usize,
}

impl Default for TunnelLimits {
    fn default() -> TunnelLimits {
        TunnelLimits { tunnels: MAX_TUNNELS, per_owner: MAX_TUNNELS_PER_OWNER, connecting: MAX_CONNECTING }
    }
}

/// Counts tunnels, and enforces the limits.
pub(super) struct TunnelQuota {
    counts: Mutex<QuotaCounts>,
    limits: TunnelLimits,
    metrics: Arc<TunnelMetrics>,
}

#[derive(Default)]
struct QuotaCounts {
    all: OwnerCounts,
    by_owner: HashMap<Arc<str>, OwnerCounts>,
}

#[derive(Clone, Copy, Default)]
struct OwnerCounts {
    tunnels: usize,
    connecting: usize,
}

/// The right to one tunnel, given back on drop.
pub(super) struct TunnelPermit {
    quota: Arc<TunnelQuota>,
    owner: Arc<str>,
    connecting: bool,
}

impl TunnelQuota {
    pub(super) fn new(limits: TunnelLimits, metrics: Arc<TunnelMetrics>) -> TunnelQuota {
        TunnelQuota { counts: Mutex::default(), limits, metrics }
    }

    /// A permit for a tunnel that waits for its target. `own_limit` is the limit of its owner, if
    /// there is one.
    pub(super) fn acquire(
        self: &Arc<TunnelQuota>,
        owner: &Arc<str>,
        own_limit: Option<usize>,
    ) -> Result<TunnelPermit, Rejection> {
        let limits = self.limits;
        let per_owner = own_limit.unwrap_or(limits.per_owner);
        let mut counts = self.counts.lock();
        let (all, owned) = (counts.all, counts.by_owner.get(owner).copied().unwrap_or_default());
        if owned.tunnels >= per_owner {
            return Err(Rejection::busy(text!(tunnel_limit_of_owner, limit = per_owner)));
        }
        if owned.connecting > per_owner / 4 {
            return Err(Rejection::busy(text!(tunnel_limit_connecting)));
        }
        if all.tunnels >= limits.tunnels || all.connecting >= limits.connecting {
            return Err(Rejection::busy(text!(tunnel_limit_of_server)));
        }
        let owned = counts.by_owner.entry(Arc::clone(owner)).or_default();
        owned.tunnels += 1;
        owned.connecting += 1;
        counts.all.tunnels += 1;
        counts.all.connecting += 1;
        self.metrics.open.inc();
        Ok(TunnelPermit { quota: Arc::clone(self), owner: Arc::clone(owner), connecting: true })
    }
}

impl TunnelPermit {
    /// Notes that the target has accepted.
    pub(super) fn set_connected(&mut self) {
        if std::mem::take(&mut self.connecting) {
            let mut counts = self.quota.counts.lock();
            counts.all.connecting -= 1;
            if let Some(owned) = counts.by_owner.get_mut(&self.owner) {
                owned.connecting -= 1;
            }
        }
    }
}

impl Drop for TunnelPermit {
    fn drop(&mut self) {
        self.set_connected();
        self.quota.metrics.open.dec();
        let mut counts = self.quota.counts.lock();
        counts.all.tunnels -= 1;
        if let Some(owned) = counts.by_owner.get_mut(&self.owner) {
            owned.tunnels -= 1;
            if owned.tunnels == 0 {
                counts.by_owner.remove(&self.owner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_by_owner_and_given_back() {
        let quota = Arc::new(TunnelQuota::new(
            TunnelLimits { tunnels: 5, per_owner: 4, connecting: 3 },
            Arc::default(),
        ));
        let (anna, ben): (Arc<str>, Arc<str>) = ("anna".into(), "ben".into());
        let why = |permit: Result<TunnelPermit, Rejection>| permit.err().map(|rejection| rejection.say());
        let mut first = quota.acquire(&anna, None).unwrap();
        let second = quota.acquire(&anna, None).unwrap();
        assert!(why(quota.acquire(&anna, None)).unwrap().contains("wait for their targets"));
        first.set_connected();
        first.set_connected();
        let mut more: Vec<TunnelPermit> = Vec::new();
        for owner in [&anna, &ben] {
            more.push(quota.acquire(owner, None).unwrap());
        }
        assert!(why(quota.acquire(&ben, None)).unwrap().contains("the server"));
        assert!(why(quota.acquire(&anna, Some(3))).unwrap().contains("3 tunnels"));
        more.iter_mut().for_each(TunnelPermit::set_connected);
        more.push(quota.acquire(&ben, None).unwrap());
        assert_eq!(quota.metrics.open.get(), 5);
        drop((first, second, more));
        assert_eq!(quota.metrics.open.get(), 0);
        assert!(quota.counts.lock().by_owner.is_empty() && quota.counts.lock().all.connecting == 0);
    }
}
