//! One endpoint's task: claims what is due, starts attempts, notes what became of them.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::model::Error;
use crate::webhook::health::{Health, Turn};
use crate::webhook::outbox::{Attempt, Change, Claimed, EndpointState, Outbox};
use crate::webhook::schedule;
use crate::webhook::teller::{Answer, Teller, Told};

/// The database is asked at least so often, whether or not anyone says that there is something: clocks are set, messages
/// between nodes get lost, and an endpoint may have been enabled elsewhere.
const POLL: Duration = Duration::from_secs(60);

/// Half of what is waited at first if something seems to be due, and cannot be claimed: another node was faster, or its
/// clock is not ours.
const SHORTEST: Duration = Duration::from_millis(100);

/// Attempts that are under way at the end get this long.
pub(super) const GRACE: Duration = Duration::from_secs(5);

/// A lease outlives its attempt by this, so that what became of it can be noted.
const MARGIN: Duration = Duration::from_secs(40);

/// What time it is.
pub(super) type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// One endpoint's task.
pub(super) struct Worker {
    pub(super) post: Arc<Post>,
    /// Changes when there may be something to send.
    pub(super) woken: watch::Receiver<()>,
    /// Becomes true at the end.
    pub(super) stopping: watch::Receiver<bool>,
}

/// What the worker and its attempts share.
pub(super) struct Post {
    pub(super) endpoint: String,
    pub(super) outbox: Arc<dyn Outbox>,
    pub(super) teller: Arc<dyn Teller>,
    pub(super) clock: Clock,
    pub(super) health: Health,
}

impl Worker {
    pub(super) async fn run(mut self) {
        let mut under_way = JoinSet::new();
        // Errors of the database, and claims that brought nothing, each in a row.
        let (mut troubles, mut vain) = (0_u32, 0_u32);
        loop {
            while under_way.try_join_next().is_some() {}
            let most = self.post.health.at_once(self.post.teller.at_once());
            let free = most.saturating_sub(under_way.len());
            let mut pause = None;
            if free > 0 && !*self.stopping.borrow() {
                // What happens from here on wakes us.
                self.woken.borrow_and_update();
                let next = self.post.claim(free).await;
                troubles = if next.is_ok() { 0 } else { troubles.saturating_add(1) };
                vain = if matches!(next, Ok(Next::Vain)) { vain.saturating_add(1) } else { 0 };
                pause = match next {
                    Ok(Next::Send(claims)) => {
                        for claimed in claims {
                            under_way.spawn(Arc::clone(&self.post).attempt(claimed));
                        }
                        continue;
                    }
                    Ok(Next::Wait(pause)) => Some(pause),
                    Ok(Next::Vain) => Some(SHORTEST * (1 << vain.min(6))),
                    Err(error) => {
                        if troubles == 1 {
                            let endpoint = &self.post.endpoint;
                            tracing::warn!(endpoint, %error, "an endpoint's events cannot be read; trying again");
                        }
                        Some(schedule::about(Duration::from_millis(500 << troubles.min(6))))
                    }
                };
            }
            tokio::select! {
                biased;
                _ = self.stopping.wait_for(|stopping| *stopping) => break,
                Some(_) = under_way.join_next() => {}
                changed = self.woken.changed(), if pause.is_some() && troubles == 0 => {
                    if changed.is_err() {
                        break;
                    }
                }
                () = sleep(pause.unwrap_or(POLL)), if pause.is_some() => {}
            }
        }
        // What is still under way then is aborted with the set, and its lease lapses.
        let _ = timeout(GRACE, async { while under_way.join_next().await.is_some() {} }).await;
    }
}

/// What a worker does next.
enum Next {
    /// Attempts with these.
    Send(Vec<Claimed>),
    /// Nothing for so long, unless something happens.
    Wait(Duration),
    /// What seemed to be due is not.
    Vain,
}

impl Post {
    async fn claim(&self, limit: usize) -> Result<Next, Error> {
        if let Some(left) = self.health.throttled() {
            return Ok(Next::Wait(left));
        }
        let Some(due) = self.outbox.next_due(&self.endpoint).await? else { return Ok(Next::Wait(POLL)) };
        let wait = schedule::between((self.clock)(), due);
        if !wait.is_zero() {
            return Ok(Next::Wait(wait.min(POLL)));
        }
        let state = self.outbox.endpoint(&self.endpoint).await?;
        let disabled = state.disabled.is_some();
        self.learn(state);
        if disabled {
            return Ok(Next::Wait(POLL));
        }
        let claims = self.outbox.claim(&self.endpoint, limit, self.lease()).await?;
        Ok(if claims.is_empty() { Next::Vain } else { Next::Send(claims) })
    }

    fn lease(&self) -> Duration {
        self.teller.limit() + MARGIN
    }

    async fn attempt(self: Arc<Post>, claimed: Claimed) {
        let lapses = Instant::now() + self.lease();
        let begun = Instant::now();
        let at = (self.clock)();
        let told = self.teller.tell(&claimed.event, at).await;
        let took = begun.elapsed();
        let now = (self.clock)();
        let (verdict, turn) = self.health.judge(&claimed, &told, now);
        self.log(&told, &turn);
        let attempt = Attempt { verdict, note: told.note.clone(), at, took };
        if told.answer == Answer::Delivered {
            // First of all: or it would be told again after a crash.
            self.insist(lapses, || self.outbox.settle(&claimed, &attempt)).await;
            if self.health.was_failing() {
                let change = Change::Succeeded;
                if let Some(state) = self.insist(lapses, || self.change(&change)).await {
                    self.learn(state);
                }
            }
        } else {
            // First of all: so that nobody claims it while the endpoint is about to be disabled.
            self.failed(&told, now, lapses).await;
            self.insist(lapses, || self.outbox.settle(&claimed, &attempt)).await;
        }
    }

    /// Notes a failure, and disables an endpoint that wants it or has failed for too long.
    async fn failed(&self, told: &Told, now: Timestamp, lapses: Instant) {
        let change = Change::Failed(now);
        let Some(mut state) = self.insist(lapses, || self.change(&change)).await else { return };
        let failing = state.failing_since.map(|since| schedule::between(since, now)).unwrap_or_default();
        let why = if told.answer == Answer::Gone {
            Some("it answered 410 Gone".to_owned())
        } else if failing >= schedule::DISABLED_AFTER {
            let days = failing.as_secs() / 86_400;
            Some(format!("every attempt has failed for {days} days, at last: {}", told.brief))
        } else {
            None
        };
        if let Some(why) = why.filter(|_| state.disabled.is_none()) {
            let (endpoint, target) = (&self.endpoint, self.teller.name());
            tracing::warn!(
                endpoint,
                target,
                why,
                "an endpoint is disabled; its events wait until it is enabled"
            );
            let change = Change::Disable(now, why);
            if let Some(disabled) = self.insist(lapses, || self.change(&change)).await {
                state = disabled;
            }
        }
        self.health.knows(state);
    }

    fn learn(&self, state: EndpointState) {
        if let Some(why) = self.health.knows(state) {
            let (endpoint, target) = (&self.endpoint, self.teller.name());
            tracing::warn!(
                endpoint,
                target,
                why,
                "an endpoint is disabled; its events wait until it is enabled"
            );
        }
    }

    async fn change(&self, change: &Change) -> Result<EndpointState, Error> {
        self.outbox.change_endpoint(&self.endpoint, change).await
    }

    /// Tries until it succeeds or the lease has lapsed, when it is somebody else's.
    async fn insist<T, F>(&self, lapses: Instant, mut what: impl FnMut() -> F) -> Option<T>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let mut wait = Duration::from_millis(100);
        loop {
            match what().await {
                Ok(done) => return Some(done),
                Err(error) => {
                    let endpoint = &self.endpoint;
                    tracing::debug!(endpoint, %error, "what became of an attempt cannot be noted yet");
                }
            }
            wait = schedule::about(wait * 2).min(Duration::from_secs(5));
            if Instant::now() + wait >= lapses {
                return None;
            }
            sleep(wait).await;
        }
    }

    fn log(&self, told: &Told, turn: &Turn) {
        let (endpoint, target) = (&self.endpoint, self.teller.name());
        match turn {
            // That it is disabled is said instead.
            Turn::Fails if told.answer == Answer::Gone => {}
            Turn::Fails => {
                tracing::warn!(
                    endpoint,
                    target,
                    note = told.brief,
                    "an endpoint cannot be told of events; trying again"
                );
            }
            Turn::Recovers => tracing::info!(endpoint, target, "an endpoint is told of events again"),
            Turn::None => {}
        }
    }
}
