//! Which target is next, which is full, which has failed recently; and the health checks that find
//! out in advance.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::address::{RelayAddress, TargetConnectError};
use crate::options::BalancePolicy;

/// How long a target rests after its first failure. Each further failure in a row doubles it, up to
/// [`MAX_REST`].
const MIN_REST: Duration = Duration::from_secs(1);
/// Maximum time for which a target that keeps failing rests.
///
/// Bound: relay.
const MAX_REST: Duration = Duration::from_secs(60);

/// All targets and their states.
pub(crate) struct Targets {
    addresses: Vec<RelayAddress>,
    policy: BalancePolicy,
    max_per_target: usize,
    table: Mutex<TargetTable>,
}

struct TargetTable {
    /// Index of the target that the next search begins with.
    next: usize,
    states: Vec<TargetState>,
}

#[derive(Clone, Copy, Default)]
struct TargetState {
    clients: usize,
    /// Failures in a row.
    failures: u32,
    /// The end of its rest, if its last connection failed.
    rests_until: Option<Instant>,
}

impl TargetState {
    fn is_resting(&self, now: Instant) -> bool {
        self.rests_until.is_some_and(|until| now < until)
    }
}

impl Targets {
    pub(crate) fn new(addresses: Vec<RelayAddress>, policy: BalancePolicy, max_per_target: usize) -> Targets {
        let states = vec![TargetState::default(); addresses.len()];
        let table = Mutex::new(TargetTable { next: 0, states });
        Targets { addresses, policy, max_per_target: max_per_target.max(1), table }
    }

    /// Chooses a target for a client that has failed to connect to those in `tried`. If all others
    /// are resting, the one whose rest ends first is tried all the same: otherwise the client would
    /// certainly be refused. `None`: every target is full, or tried.
    pub(crate) fn choose(self: &Arc<Targets>, tried: &[usize]) -> Option<TargetLease> {
        let now = Instant::now();
        let mut table = self.table.lock();
        let count = table.states.len();
        let in_turn = (0..count).map(|step| (table.next + step) % count);
        let free =
            in_turn.filter(|&at| table.states[at].clients < self.max_per_target && !tried.contains(&at));
        let chosen = free.min_by_key(|&at| {
            let state = &table.states[at];
            let rest = state.rests_until.filter(|_| state.is_resting(now));
            // `None` comes before any rest. Among equals the first is taken.
            (rest, if self.policy == BalancePolicy::LeastConnections { state.clients } else { 0 })
        })?;
        table.next = (chosen + 1) % count;
        table.states[chosen].clients += 1;
        Some(TargetLease { targets: Arc::clone(self), index: chosen })
    }

    /// Records that a target accepted a connection.
    pub(crate) fn succeeded(&self, index: usize) {
        let before = {
            let state = &mut self.table.lock().states[index];
            state.failures = 0;
            state.rests_until.take()
        };
        if before.is_some() {
            tracing::info!(to = %self.addresses[index], "a target accepts connections again");
        }
    }

    /// Records that a target did not accept, and lets it rest for `min_rest` or longer.
    pub(crate) fn failed(&self, index: usize, min_rest: Duration, why: &str) {
        let now = Instant::now();
        let (rest, was_resting) = {
            let state = &mut self.table.lock().states[index];
            let was_resting = state.is_resting(now);
            // Clients that were connecting when the rest began report the same failure.
            if !was_resting {
                state.failures = state.failures.saturating_add(1);
            }
            let doubled = MIN_REST.saturating_mul(1 << (state.failures - 1).min(16)).min(MAX_REST);
            let rest = doubled.max(min_rest);
            if !was_resting || min_rest > Duration::ZERO {
                state.rests_until = Some(now + rest);
            }
            (rest, was_resting)
        };
        let address = &self.addresses[index];
        if was_resting {
            tracing::debug!(to = %address, why, "a target failed again");
        } else {
            tracing::warn!(to = %address, why, seconds = rest.as_secs(), "a target failed and gets no clients for a while");
        }
    }
}

/// Connects to every target again and again, if there is an interval, until the result is dropped.
pub(crate) fn spawn_health_checks(
    targets: &Arc<Targets>,
    interval: Option<Duration>,
    connect_timeout: Duration,
) -> JoinSet<()> {
    let mut checks = JoinSet::new();
    if let Some(interval) = interval {
        for index in 0..targets.addresses.len() {
            checks.spawn(check_health(Arc::clone(targets), index, interval, connect_timeout));
        }
    }
    checks
}

async fn check_health(targets: Arc<Targets>, index: usize, interval: Duration, connect_timeout: Duration) {
    loop {
        match targets.addresses[index].connect_within(connect_timeout).await {
            Ok(_) => targets.succeeded(index),
            // Rests until the next check is over, so that no client has to find out.
            Err(TargetConnectError::Target(why)) => targets.failed(index, interval + connect_timeout, &why),
            Err(TargetConnectError::Local(error)) => tracing::debug!(%error, "a target could not be checked"),
        }
        tokio::time::sleep(interval).await;
    }
}

/// One client's share of a target, given back on drop.
pub(crate) struct TargetLease {
    targets: Arc<Targets>,
    index: usize,
}

impl TargetLease {
    pub(crate) fn index(&self) -> usize {
        self.index
    }

    pub(crate) fn address(&self) -> &RelayAddress {
        &self.targets.addresses[self.index]
    }
}

impl Drop for TargetLease {
    fn drop(&mut self) {
        self.targets.table.lock().states[self.index].clients -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(count: u16, policy: BalancePolicy, max: usize) -> Arc<Targets> {
        let addresses = (1..=count).map(|port| RelayAddress::Tcp(format!("127.0.0.1:{port}"))).collect();
        Arc::new(Targets::new(addresses, policy, max))
    }

    fn choose(targets: &Arc<Targets>) -> TargetLease {
        targets.choose(&[]).expect("a target")
    }

    #[tokio::test(start_paused = true)]
    async fn one_after_the_other() {
        let targets = targets(3, BalancePolicy::RoundRobin, usize::MAX);
        let order: Vec<usize> = (0..7).map(|_| choose(&targets).index()).collect();
        assert_eq!(order, [0, 1, 2, 0, 1, 2, 0]);
        targets.failed(2, Duration::ZERO, "a test");
        let order: Vec<usize> = (0..4).map(|_| choose(&targets).index()).collect();
        assert_eq!(order, [1, 0, 1, 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_one_with_the_fewest_clients() {
        let targets = targets(3, BalancePolicy::LeastConnections, usize::MAX);
        let mut leases: Vec<TargetLease> = (0..6).map(|_| choose(&targets)).collect();
        let before: Vec<usize> = leases.iter().map(TargetLease::index).collect();
        assert_eq!(before, [0, 1, 2, 0, 1, 2]);
        leases.retain(|lease| lease.index() != 1);
        assert_eq!([choose(&targets).index(), choose(&targets).index()], [1, 1]);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_is_full_or_tried_is_not_chosen() {
        let targets = targets(2, BalancePolicy::RoundRobin, 1);
        let first = choose(&targets);
        assert!(targets.choose(&[1]).is_none());
        let second = choose(&targets);
        assert_eq!((first.index(), second.index()), (0, 1));
        assert!(targets.choose(&[]).is_none());
        drop(first);
        assert_eq!(choose(&targets).index(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn failures_in_a_row_leave_a_target_out_for_longer_and_longer() {
        let targets = targets(2, BalancePolicy::RoundRobin, usize::MAX);
        let is_out = || [choose(&targets).index(), choose(&targets).index()] == [1, 1];
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            targets.failed(0, Duration::ZERO, "a test");
            // A hundred clients that fail at the same time are one failure.
            (0..100).for_each(|_| targets.failed(0, Duration::ZERO, "a test"));
            tokio::time::advance(Duration::from_millis(seconds * 1000 - 1)).await;
            assert!(is_out(), "{seconds}");
            tokio::time::advance(Duration::from_millis(1)).await;
            assert!(!is_out(), "{seconds}");
        }
        targets.succeeded(0);
        targets.failed(0, Duration::ZERO, "a test");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!is_out());
    }

    #[tokio::test(start_paused = true)]
    async fn when_all_are_left_out_the_first_to_come_back_is_tried() {
        let targets = targets(3, BalancePolicy::RoundRobin, usize::MAX);
        for (at, seconds) in [(0, 30), (1, 10), (2, 20)] {
            targets.failed(at, Duration::from_secs(seconds), "a test");
        }
        let mut tried = Vec::new();
        while let Some(lease) = targets.choose(&tried) {
            tried.push(lease.index());
        }
        assert_eq!(tried, [1, 2, 0]);
    }
}
