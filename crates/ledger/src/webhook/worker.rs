//! The task of one endpoint: claims due sends, starts attempts, settles their results.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::endpoint_health::{EndpointHealth, HealthTransition};
use super::outbox::{Attempt, ClaimedSend, EndpointChange, EndpointState, Outbox};
use super::schedule;
use super::sender::{AttemptOutcome, AttemptResult, EventSender};
use crate::model::{LedgerError, LedgerMetrics};

/// The longest time between two queries of the database, whether or not a message comes: clocks are
/// set, messages between nodes get lost, and another node may have enabled the endpoint.
const POLL: Duration = Duration::from_secs(60);

/// Half of the first pause after sends seemed due and could not be claimed: another node was
/// faster, or its clock differs.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);

/// Time for attempts that are under way when the worker stops.
pub(super) const GRACE: Duration = Duration::from_secs(5);

/// A lease outlasts its attempt by this, so that the result can be recorded.
const LEASE_MARGIN: Duration = Duration::from_secs(40);

/// A source of the current time.
pub(super) type WallClock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The task of one endpoint.
pub(super) struct EndpointWorker {
    pub(super) context: Arc<EndpointContext>,
    /// Changes when there may be something to send.
    pub(super) woken: watch::Receiver<()>,
    /// Becomes true when the worker has to stop.
    pub(super) stopping: watch::Receiver<bool>,
}

/// What a worker and its attempts share.
pub(super) struct EndpointContext {
    pub(super) endpoint: String,
    pub(super) outbox: Arc<dyn Outbox>,
    pub(super) sender: Arc<dyn EventSender>,
    pub(super) clock: WallClock,
    pub(super) health: EndpointHealth,
    pub(super) metrics: Arc<LedgerMetrics>,
}

impl EndpointWorker {
    pub(super) async fn run(mut self) {
        let mut under_way = JoinSet::new();
        // Errors of the database, and claims that got nothing, each in a row.
        let (mut errors, mut empty_claims) = (0_u32, 0_u32);
        loop {
            while under_way.try_join_next().is_some() {}
            let max = self.context.health.max_concurrent(self.context.sender.max_concurrent());
            let free = max.saturating_sub(under_way.len());
            let mut pause = None;
            if free > 0 && !*self.stopping.borrow() {
                // From here on, new events wake the worker.
                self.woken.borrow_and_update();
                let next = self.context.claim(free).await;
                errors = if next.is_ok() { 0 } else { errors.saturating_add(1) };
                let is_empty = matches!(next, Ok(NextStep::NothingClaimed));
                empty_claims = if is_empty { empty_claims.saturating_add(1) } else { 0 };
                pause = match next {
                    Ok(NextStep::Send(claims)) => {
                        for claimed in claims {
                            under_way.spawn(Arc::clone(&self.context).attempt(claimed));
                        }
                        continue;
                    }
                    Ok(NextStep::Wait(pause)) => Some(pause),
                    Ok(NextStep::NothingClaimed) => Some(SHORTEST_PAUSE * (1 << empty_claims.min(6))),
                    Err(error) => {
                        if errors == 1 {
                            let endpoint = &self.context.endpoint;
                            tracing::warn!(endpoint, %error, "cannot read an endpoint's events; retrying");
                        }
                        Some(schedule::jitter(Duration::from_millis(500 << errors.min(6))))
                    }
                };
            }
            tokio::select! {
                biased;
                _ = self.stopping.wait_for(|stopping| *stopping) => break,
                Some(_) = under_way.join_next() => {}
                changed = self.woken.changed(), if pause.is_some() && errors == 0 => {
                    if changed.is_err() {
                        break;
                    }
                }
                () = sleep(pause.unwrap_or(POLL)), if pause.is_some() => {}
            }
        }
        // Attempts that are under way after that are aborted with the set, and their leases expire.
        let _ = timeout(GRACE, async { while under_way.join_next().await.is_some() {} }).await;
    }
}

/// What a worker does next.
enum NextStep {
    /// Starts an attempt for each of these.
    Send(Vec<ClaimedSend>),
    /// Waits, unless it is woken.
    Wait(Duration),
    /// Sends seemed to be due, but could not be claimed.
    NothingClaimed,
}

impl EndpointContext {
    async fn claim(&self, limit: usize) -> Result<NextStep, LedgerError> {
        if let Some(left) = self.health.throttled() {
            return Ok(NextStep::Wait(left));
        }
        let Some(due) = self.outbox.next_due(&self.endpoint).await? else { return Ok(NextStep::Wait(POLL)) };
        let wait = schedule::time_between((self.clock)(), due);
        if !wait.is_zero() {
            return Ok(NextStep::Wait(wait.min(POLL)));
        }
        let state = self.outbox.endpoint(&self.endpoint).await?;
        let disabled = state.disabled.is_some();
        self.update_health(state);
        if disabled {
            return Ok(NextStep::Wait(POLL));
        }
        let claims = self.outbox.claim(&self.endpoint, limit, self.lease()).await?;
        Ok(if claims.is_empty() { NextStep::NothingClaimed } else { NextStep::Send(claims) })
    }

    fn lease(&self) -> Duration {
        self.sender.timeout() + LEASE_MARGIN
    }

    async fn attempt(self: Arc<EndpointContext>, claimed: ClaimedSend) {
        let expires = Instant::now() + self.lease();
        let begun = Instant::now();
        let at = (self.clock)();
        let under_way = self.metrics.webhook_under_way.hold();
        let result = self.sender.send(&claimed.event, at).await;
        drop(under_way);
        let took = begun.elapsed();
        self.metrics.webhook_attempts.of((&result.outcome).into()).inc();
        self.metrics.webhook_time.add(took);
        let now = (self.clock)();
        let (verdict, transition) = self.health.judge(&claimed, &result, now);
        self.log(&result, &transition);
        let attempt = Attempt { verdict, note: result.note.clone(), at, took };
        if result.outcome == AttemptOutcome::Delivered {
            // Settle first: a crash before that sends the event again.
            self.retry_until(expires, || self.outbox.settle(&claimed, &attempt)).await;
            if self.health.was_failing() {
                let change = EndpointChange::Succeeded;
                if let Some(state) = self.retry_until(expires, || self.change(&change)).await {
                    self.update_health(state);
                }
            }
        } else {
            // Disable first: no worker may claim the send in between.
            self.record_failure(&result, now, expires).await;
            self.retry_until(expires, || self.outbox.settle(&claimed, &attempt)).await;
        }
    }

    /// Records a failure. Disables an endpoint that answers 410 Gone or has failed for too long.
    async fn record_failure(&self, result: &AttemptResult, now: Timestamp, expires: Instant) {
        let change = EndpointChange::Failed(now);
        let Some(mut state) = self.retry_until(expires, || self.change(&change)).await else { return };
        let failing = state.failing_since.map(|since| schedule::time_between(since, now)).unwrap_or_default();
        let reason = if result.outcome == AttemptOutcome::Gone {
            Some("it answered 410 Gone".to_owned())
        } else if failing >= schedule::DISABLED_AFTER {
            let days = failing.as_secs() / 86_400;
            Some(format!("every attempt has failed for {days} days, the last one with: {}", result.brief))
        } else {
            None
        };
        if let Some(reason) = reason.filter(|_| state.disabled.is_none()) {
            self.log_disabled(&reason);
            let change = EndpointChange::Disable(now, reason);
            if let Some(disabled) = self.retry_until(expires, || self.change(&change)).await {
                state = disabled;
            }
        }
        self.health.update(state);
    }

    fn update_health(&self, state: EndpointState) {
        if let Some(reason) = self.health.update(state) {
            self.log_disabled(&reason);
        }
    }

    async fn change(&self, change: &EndpointChange) -> Result<EndpointState, LedgerError> {
        self.outbox.change_endpoint(&self.endpoint, change).await
    }

    /// Retries until `action` succeeds, or until the lease expires and another worker may take
    /// over.
    async fn retry_until<T, F>(&self, expires: Instant, mut action: impl FnMut() -> F) -> Option<T>
    where
        F: Future<Output = Result<T, LedgerError>>,
    {
        let mut wait = Duration::from_millis(100);
        loop {
            match action().await {
                Ok(value) => return Some(value),
                Err(error) => {
                    let endpoint = &self.endpoint;
                    tracing::debug!(endpoint, %error, "the result of an attempt cannot be recorded yet");
                }
            }
            wait = schedule::jitter(wait * 2).min(Duration::from_secs(5));
            if Instant::now() + wait >= expires {
                return None;
            }
            sleep(wait).await;
        }
    }

    fn log_disabled(&self, reason: &str) {
        let (endpoint, target) = (&self.endpoint, self.sender.name());
        tracing::warn!(
            endpoint,
            target,
            reason,
            "an endpoint is disabled; its events wait until it is enabled"
        );
    }

    fn log(&self, result: &AttemptResult, transition: &HealthTransition) {
        let (endpoint, target) = (&self.endpoint, self.sender.name());
        match transition {
            // The log has that it is disabled instead.
            HealthTransition::Fails if result.outcome == AttemptOutcome::Gone => {}
            HealthTransition::Fails => {
                let note = &result.brief;
                tracing::warn!(endpoint, target, note, "an endpoint does not accept events; retrying");
            }
            HealthTransition::Recovers => {
                tracing::info!(endpoint, target, "an endpoint accepts events again")
            }
            HealthTransition::None => {}
        }
    }
}
