//! What a worker knows about its endpoint, and what follows from an attempt.

use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::outbox::{AttemptVerdict, ClaimedSend, EndpointState};
use super::schedule;
use super::sender::{AttemptOutcome, AttemptResult};

/// Shared by a worker and its attempts.
#[derive(Default)]
pub(super) struct EndpointHealth(Mutex<EndpointHealthState>);

#[derive(Default)]
struct EndpointHealthState {
    /// The state in the database, when it was last read.
    state: EndpointState,
    /// Whether the last attempt of this process failed.
    failing: bool,
    /// Nothing is sent until then.
    throttled_until: Option<Instant>,
    /// Number of overloads since the last success.
    overloads: u32,
    /// Whether this process has logged that the endpoint is disabled.
    disabled_logged: bool,
}

/// A change that is worth a line in the log.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum HealthTransition {
    /// The endpoint has begun to fail.
    Fails,
    /// The endpoint works again.
    Recovers,
    None,
}

impl EndpointHealth {
    /// Takes over the state in the database. Returns why the endpoint is disabled, if that is new.
    pub(super) fn update(&self, state: EndpointState) -> Option<String> {
        let mut inner = self.0.lock();
        let reason = state.disabled.as_ref().map(|(_, reason)| reason.clone());
        let was_logged = std::mem::replace(&mut inner.disabled_logged, reason.is_some());
        inner.state = state;
        reason.filter(|_| !was_logged)
    }

    /// Whether the database has it as failing, so that a success has to be recorded.
    pub(super) fn was_failing(&self) -> bool {
        self.0.lock().state.failing_since.is_some()
    }

    /// How long nothing may be sent.
    pub(super) fn throttled(&self) -> Option<Duration> {
        let until = self.0.lock().throttled_until?;
        let left = until.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    /// The number of attempts that may be under way. While an endpoint fails it is one: more do not
    /// help it, and events that are not tried keep their attempts.
    pub(super) fn max_concurrent(&self, max: usize) -> usize {
        if self.0.lock().failing { 1 } else { max }
    }

    /// What follows from an attempt that has ended at `now`.
    pub(super) fn judge(
        &self,
        claimed: &ClaimedSend,
        result: &AttemptResult,
        now: Timestamp,
    ) -> (AttemptVerdict, HealthTransition) {
        let mut inner = self.0.lock();
        let retry = |least: Duration| match schedule::delay_after(claimed.attempts) {
            Some(delay) => {
                let delay = schedule::jitter(delay).max(schedule::jitter_up(least));
                AttemptVerdict::Retry(schedule::add(now, delay))
            }
            None => AttemptVerdict::GivenUp,
        };
        let verdict = match result.outcome {
            AttemptOutcome::Delivered => AttemptVerdict::Delivered,
            AttemptOutcome::Failed => retry(Duration::ZERO),
            // It waits until the endpoint is enabled again.
            AttemptOutcome::Gone => AttemptVerdict::Postponed(now),
            AttemptOutcome::Overloaded { wait, counts } => {
                let wait = schedule::jitter_up(schedule::throttle(inner.overloads, wait));
                let until = Instant::now() + wait;
                if inner.throttled_until.is_none_or(|until| until <= Instant::now()) {
                    // Other attempts that were under way with this one report the same overload.
                    inner.overloads = inner.overloads.saturating_add(1);
                }
                inner.throttled_until = Some(inner.throttled_until.map_or(until, |other| other.max(until)));
                // An event that meets nothing but overload for days counts its attempts in the end.
                let is_new = schedule::time_between(claimed.since, now) < schedule::DISABLED_AFTER;
                if is_new && !counts {
                    AttemptVerdict::Postponed(schedule::add(now, wait))
                } else {
                    retry(wait)
                }
            }
        };
        let delivered = result.outcome == AttemptOutcome::Delivered;
        let transition = match (delivered, inner.failing) {
            (true, true) => HealthTransition::Recovers,
            (false, false) => HealthTransition::Fails,
            _ => HealthTransition::None,
        };
        inner.failing = !delivered;
        if delivered {
            inner.overloads = 0;
        }
        (verdict, transition)
    }
}
