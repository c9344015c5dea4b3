//! Who is next, who is full, who has failed lately.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::address::Address;

/// How long a target is left out after its first failure. Each further one in a row doubles it, up to [`LAST_REST`].
const FIRST_REST: Duration = Duration::from_secs(1);
const LAST_REST: Duration = Duration::from_secs(60);

/// How a target is chosen among those that are neither full nor left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// One after the other.
    RoundRobin,
    /// The one with the fewest clients; among several, one after the other.
    LeastConnections,
}

/// All targets, and what is known of them.
pub(crate) struct Targets {
    addresses: Vec<Address>,
    policy: Policy,
    max_per_target: usize,
    known: Mutex<Known>,
}

struct Known {
    /// Who is looked at first the next time.
    next: usize,
    targets: Vec<Target>,
}

#[derive(Clone, Copy, Default)]
struct Target {
    clients: usize,
    /// In a row.
    failures: u32,
    /// Left out until then, if it has failed the last time.
    out_until: Option<Instant>,
}

impl Target {
    fn is_out(&self, now: Instant) -> bool {
        self.out_until.is_some_and(|until| now < until)
    }
}

impl Targets {
    pub(crate) fn new(addresses: Vec<Address>, policy: Policy, max_per_target: usize) -> Targets {
        let targets = vec![Target::default(); addresses.len()];
        let known = Mutex::new(Known { next: 0, targets });
        Targets { addresses, policy, max_per_target: max_per_target.max(1), known }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// The target for the next client, who has tried those in `tried` in vain. When all that are left are left out,
    /// the one whose time is up first is tried all the same: a refusal would be certain. `None`: all are full, or tried.
    pub(crate) fn choose(self: &Arc<Targets>, tried: &[usize]) -> Option<Lease> {
        let now = Instant::now();
        let mut known = self.known();
        let count = known.targets.len();
        let in_turn = (0..count).map(|step| (known.next + step) % count);
        let free =
            in_turn.filter(|&at| known.targets[at].clients < self.max_per_target && !tried.contains(&at));
        let chosen = free.min_by_key(|&at| {
            let target = &known.targets[at];
            let out = target.out_until.filter(|_| target.is_out(now));
            // Nobody is left out before anybody who is. The first of equals is taken.
            (out, if self.policy == Policy::LeastConnections { target.clients } else { 0 })
        })?;
        known.next = (chosen + 1) % count;
        known.targets[chosen].clients += 1;
        Some(Lease { targets: Arc::clone(self), at: chosen })
    }

    /// A target has accepted.
    pub(crate) fn succeeded(&self, at: usize) {
        let before = {
            let target = &mut self.known().targets[at];
            target.failures = 0;
            target.out_until.take()
        };
        if before.is_some() {
            tracing::info!(to = %self.addresses[at], "a target is back");
        }
    }

    /// A target has not; it is left out for a while, which is `at_least` so long.
    pub(crate) fn failed(&self, at: usize, at_least: Duration, why: &str) {
        let now = Instant::now();
        let (rest, again) = {
            let target = &mut self.known().targets[at];
            let again = target.is_out(now);
            // Whoever was on the way already when it was left out says nothing new.
            if !again {
                target.failures = target.failures.saturating_add(1);
            }
            let doubled = FIRST_REST.saturating_mul(1 << (target.failures - 1).min(16)).min(LAST_REST);
            let rest = doubled.max(at_least);
            if !again || at_least > Duration::ZERO {
                target.out_until = Some(now + rest);
            }
            (rest, again)
        };
        let address = &self.addresses[at];
        if again {
            tracing::debug!(to = %address, why, "a target has failed again");
        } else {
            tracing::warn!(to = %address, why, seconds = rest.as_secs(), "a target has failed, and is left out");
        }
    }
}

/// One client's place at a target. Free again when it is dropped.
pub(crate) struct Lease {
    targets: Arc<Targets>,
    at: usize,
}

impl Lease {
    pub(crate) fn index(&self) -> usize {
        self.at
    }

    pub(crate) fn address(&self) -> &Address {
        &self.targets.addresses[self.at]
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.targets.known().targets[self.at].clients -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(count: u16, policy: Policy, most: usize) -> Arc<Targets> {
        let addresses = (1..=count).map(|port| Address::Tcp(format!("127.0.0.1:{port}"))).collect();
        Arc::new(Targets::new(addresses, policy, most))
    }

    fn choose(targets: &Arc<Targets>) -> Lease {
        targets.choose(&[]).expect("a target")
    }

    #[tokio::test(start_paused = true)]
    async fn one_after_the_other() {
        let targets = targets(3, Policy::RoundRobin, usize::MAX);
        let order: Vec<usize> = (0..7).map(|_| choose(&targets).index()).collect();
        assert_eq!(order, [0, 1, 2, 0, 1, 2, 0]);
        targets.failed(2, Duration::ZERO, "a test");
        let order: Vec<usize> = (0..4).map(|_| choose(&targets).index()).collect();
        assert_eq!(order, [1, 0, 1, 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_one_with_the_fewest_clients() {
        let targets = targets(3, Policy::LeastConnections, usize::MAX);
        let mut leases: Vec<Lease> = (0..6).map(|_| choose(&targets)).collect();
        let before: Vec<usize> = leases.iter().map(Lease::index).collect();
        assert_eq!(before, [0, 1, 2, 0, 1, 2]);
        leases.retain(|lease| lease.index() != 1);
        assert_eq!([choose(&targets).index(), choose(&targets).index()], [1, 1]);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_is_full_or_tried_is_not_chosen() {
        let targets = targets(2, Policy::RoundRobin, 1);
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
        let targets = targets(2, Policy::RoundRobin, usize::MAX);
        let is_out = || [choose(&targets).index(), choose(&targets).index()] == [1, 1];
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            targets.failed(0, Duration::ZERO, "a test");
            // A hundred clients who failed at the same time are one failure.
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
        let targets = targets(3, Policy::RoundRobin, usize::MAX);
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
