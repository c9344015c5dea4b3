//! What a worker knows of its endpoint, and what follows from an attempt.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::webhook::outbox::{Claimed, EndpointState, Verdict};
use crate::webhook::schedule;
use crate::webhook::teller::{Answer, Told};

/// Shared by the worker and its attempts.
#[derive(Default)]
pub(super) struct Health(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    /// As the database last had it.
    state: EndpointState,
    /// Whether the last attempt from here failed.
    failing: bool,
    /// Nothing is sent until then.
    throttled_until: Option<Instant>,
    /// How many times it was overloaded without a success.
    overloads: u32,
    /// Whether the log has that it is disabled.
    said_disabled: bool,
}

/// Something to log, once.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// From now on it fails.
    Fails,
    /// It works again.
    Recovers,
    /// All is as it was.
    None,
}

impl Health {
    /// The database says this. If it is disabled, and that is new here: why.
    pub(super) fn knows(&self, state: EndpointState) -> Option<String> {
        let mut inner = self.inner();
        let why = state.disabled.as_ref().map(|(_, why)| why.clone());
        let was_known = std::mem::replace(&mut inner.said_disabled, why.is_some());
        inner.state = state;
        why.filter(|_| !was_known)
    }

    /// Whether another success has to be noted.
    pub(super) fn was_failing(&self) -> bool {
        self.inner().state.failing_since.is_some()
    }

    /// How long nothing may be sent.
    pub(super) fn throttled(&self) -> Option<Duration> {
        let until = self.inner().throttled_until?;
        let left = until.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    /// How many attempts may be under way. While an endpoint fails, it is one: whoever is down is not helped by eight,
    /// and events that are not tried keep their attempts.
    pub(super) fn at_once(&self, most: usize) -> usize {
        if self.inner().failing { 1 } else { most }
    }

    /// What follows from an attempt that has ended at `now`.
    pub(super) fn judge(&self, claimed: &Claimed, told: &Told, now: Timestamp) -> (Verdict, Turn) {
        let mut inner = self.inner();
        let again = |least: Duration| match schedule::after(claimed.attempts) {
            Some(wait) => {
                Verdict::Again(schedule::from_now(now, schedule::about(wait).max(schedule::at_least(least))))
            }
            None => Verdict::GivenUp,
        };
        let verdict = match told.answer {
            Answer::Delivered => Verdict::Delivered,
            Answer::Failed => again(Duration::ZERO),
            // It waits at the endpoint's door, which is closed.
            Answer::Gone => Verdict::Postponed(now),
            Answer::Overloaded { wait, counts } => {
                let wait = schedule::at_least(schedule::throttle(inner.overloads, wait));
                let until = Instant::now() + wait;
                if inner.throttled_until.is_none_or(|until| until <= Instant::now()) {
                    // The others that were under way with this one say the same, and it is the same overload.
                    inner.overloads = inner.overloads.saturating_add(1);
                }
                inner.throttled_until = Some(inner.throttled_until.map_or(until, |other| other.max(until)));
                // An event that meets nothing but overload for days counts its attempts in the end.
                let is_new = schedule::between(claimed.since, now) < schedule::DISABLED_AFTER;
                if is_new && !counts {
                    Verdict::Postponed(schedule::from_now(now, wait))
                } else {
                    again(wait)
                }
            }
        };
        let turn = match (told.answer == Answer::Delivered, inner.failing) {
            (true, true) => Turn::Recovers,
            (false, false) => Turn::Fails,
            _ => Turn::None,
        };
        inner.failing = told.answer != Answer::Delivered;
        if !inner.failing {
            inner.overloads = 0;
        }
        (verdict, turn)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Nothing is left half done where it could panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
