//! An outbox in memory.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::Notify;

use super::{Watch, event};
use crate::model::{LedgerError, LedgerEvent};
use crate::webhook::outbox::{
    Attempt, AttemptVerdict, ClaimedSend, EndpointChange, EndpointState, MAX_DUE, Outbox,
};
use crate::webhook::schedule;

pub(super) struct Memory {
    watch: Watch,
    sends: Mutex<Vec<Send>>,
    states: Mutex<HashMap<String, EndpointState>>,
    /// `endpoint.disabled` events: endpoint and reason.
    pub(super) alarms: Mutex<Vec<(String, String)>>,
    news: Notify,
    tokens: AtomicU64,
    /// Everything fails while this is true.
    pub(super) away: AtomicBool,
}

struct Send {
    endpoint: String,
    event: LedgerEvent,
    attempts: u32,
    since: Timestamp,
    due: Option<Timestamp>,
    lease: Option<(Timestamp, String)>,
    log: Vec<Attempt>,
}

impl Memory {
    pub(super) fn new(watch: &Watch) -> Memory {
        // Before the first worker may log.
        super::log::install();
        Memory {
            watch: watch.clone(),
            sends: Mutex::default(),
            states: Mutex::default(),
            alarms: Mutex::default(),
            news: Notify::new(),
            tokens: AtomicU64::new(0),
            away: AtomicBool::new(false),
        }
    }

    pub(super) fn add(&self, endpoint: &str, id: &str) {
        let now = self.watch.now();
        self.sends.lock().unwrap().push(Send {
            endpoint: endpoint.to_owned(),
            event: event(id),
            attempts: 0,
            since: now,
            due: Some(now),
            lease: None,
            log: Vec::new(),
        });
        self.wake();
    }

    pub(super) fn wake(&self) {
        self.news.notify_one();
    }

    /// The results of an event's attempts.
    pub(super) fn log(&self, endpoint: &str, id: &str) -> Vec<Attempt> {
        let sends = self.sends.lock().unwrap();
        sends.iter().find(|send| send.endpoint == endpoint && send.event.id == id).unwrap().log.clone()
    }

    pub(super) fn last(&self, endpoint: &str, id: &str) -> Option<AttemptVerdict> {
        self.log(endpoint, id).last().map(|attempt| attempt.verdict)
    }

    pub(super) fn state(&self, endpoint: &str) -> EndpointState {
        self.states.lock().unwrap().get(endpoint).cloned().unwrap_or_default()
    }

    /// Sends that are neither delivered nor given up.
    pub(super) fn waiting(&self) -> usize {
        self.sends.lock().unwrap().iter().filter(|send| send.due.is_some()).count()
    }

    fn reach(&self) -> Result<(), LedgerError> {
        if self.away.load(Ordering::SeqCst) {
            Err(LedgerError::Database("it is away".to_owned()))
        } else {
            Ok(())
        }
    }
}

impl Send {
    /// When it can be claimed.
    fn ready(&self, now: Timestamp) -> Option<Timestamp> {
        let possible = |at: Timestamp| if schedule::time_between(now, at) > MAX_DUE { now } else { at };
        let due = possible(self.due?);
        Some(self.lease.as_ref().map_or(due, |(end, _)| possible(*end).max(due)))
    }
}

#[async_trait]
impl Outbox for Memory {
    async fn claim(
        &self,
        endpoint: &str,
        limit: usize,
        lease: Duration,
    ) -> Result<Vec<ClaimedSend>, LedgerError> {
        self.reach()?;
        let now = self.watch.now();
        let mut sends = self.sends.lock().unwrap();
        let mut due: Vec<&mut Send> = sends
            .iter_mut()
            .filter(|send| send.endpoint == endpoint && send.ready(now).is_some_and(|ready| ready <= now))
            .collect();
        due.sort_by_key(|send| send.due);
        let claim = |send: &mut Send| {
            let token = self.tokens.fetch_add(1, Ordering::SeqCst).to_string();
            send.lease = Some((schedule::add(now, lease), token.clone()));
            ClaimedSend {
                endpoint: endpoint.to_owned(),
                event: send.event.clone(),
                attempts: send.attempts,
                since: send.since,
                token,
            }
        };
        Ok(due.into_iter().take(limit).map(claim).collect())
    }

    async fn settle(&self, claimed: &ClaimedSend, attempt: &Attempt) -> Result<(), LedgerError> {
        self.reach()?;
        let mut sends = self.sends.lock().unwrap();
        let send = sends.iter_mut().find(|send| {
            send.endpoint == claimed.endpoint
                && send.event.id == claimed.event.id
                && send.lease.as_ref().is_some_and(|(_, token)| *token == claimed.token)
        });
        let Some(send) = send else { return Ok(()) };
        send.lease = None;
        send.log.push(attempt.clone());
        send.due = match attempt.verdict {
            AttemptVerdict::Delivered | AttemptVerdict::GivenUp => None,
            AttemptVerdict::Retry(due) | AttemptVerdict::Postponed(due) => Some(due),
        };
        if !matches!(attempt.verdict, AttemptVerdict::Postponed(_)) {
            send.attempts += 1;
        }
        Ok(())
    }

    async fn next_due(&self, endpoint: &str) -> Result<Option<Timestamp>, LedgerError> {
        self.reach()?;
        let now = self.watch.now();
        let sends = self.sends.lock().unwrap();
        Ok(sends.iter().filter(|send| send.endpoint == endpoint).filter_map(|send| send.ready(now)).min())
    }

    async fn endpoint(&self, endpoint: &str) -> Result<EndpointState, LedgerError> {
        self.reach()?;
        Ok(self.state(endpoint))
    }

    async fn change_endpoint(
        &self,
        endpoint: &str,
        change: &EndpointChange,
    ) -> Result<EndpointState, LedgerError> {
        self.reach()?;
        let mut states = self.states.lock().unwrap();
        let state = states.entry(endpoint.to_owned()).or_default();
        match change {
            EndpointChange::Failed(at) => {
                state.failing_since = Some(state.failing_since.map_or(*at, |since| since.min(*at)));
            }
            EndpointChange::Succeeded => state.failing_since = None,
            EndpointChange::Disable(at, why) => {
                if state.disabled.is_none() {
                    self.alarms.lock().unwrap().push((endpoint.to_owned(), why.clone()));
                    state.disabled = Some((*at, why.clone()));
                }
            }
            EndpointChange::Enable => *state = EndpointState::default(),
        }
        Ok(state.clone())
    }

    async fn woken(&self) {
        self.news.notified().await;
    }
}
