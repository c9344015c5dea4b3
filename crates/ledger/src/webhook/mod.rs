//! Notifies endpoints of events: by POST as Standard Webhooks 1.0 specifies, or by a program.
//!
//! Each event is sent at least once, with the same id in every attempt, and in no guaranteed order.
//! Each endpoint has its own task, so that a slow receiver delays nobody else. Between attempts,
//! the outbox has the state; a process that dies loses its lease, and another one takes over.
//!
//! ```text
//! worker            the task of an endpoint: claims, attempts, settles
//!   endpoint_health   what follows from an attempt: delivered, retry, postponed, given up
//!   schedule          when
//! outbox            the trait of the sends that wait
//!   database_outbox   in the ledger's database
//! sender            the trait of the two ways to send
//!   http_post         POST
//!     resolver          which addresses may be called
//!     signature         how requests are signed
//!   command           a program
//! ```

mod command;
mod database_outbox;
mod endpoint_health;
mod http_post;
mod outbox;
mod resolver;
mod schedule;
mod sender;
mod signature;
#[cfg(test)]
mod tests;
mod worker;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinSet;

pub(crate) use database_outbox::DatabaseOutbox;
#[cfg(test)]
pub(crate) use database_outbox::STATEMENTS as OUTBOX_STATEMENTS;
pub use signature::{new_signing_secret, new_webhook_secret, webhook_public_key};

use self::command::CommandSender;
use self::endpoint_health::EndpointHealth;
use self::http_post::{WebhookLimits, WebhookSender};
use self::outbox::{EndpointChange, Outbox};
use self::sender::EventSender;
use self::worker::{EndpointContext, EndpointWorker, WallClock};
use crate::model::{Endpoint, EndpointTarget, LedgerError, LedgerMetrics};

/// Pause after the workers were woken: many events at once wake them once.
const WAKE_PAUSE: Duration = Duration::from_millis(10);

/// The workers of all endpoints. Dropped without [`EndpointWorkers::stop`], they end at once.
pub(crate) struct EndpointWorkers {
    stopping: watch::Sender<bool>,
    workers: JoinSet<()>,
    _waker: JoinSet<()>,
}

/// Validates endpoints before a ledger is opened with them.
///
/// # Errors
///
/// Why the first invalid endpoint is invalid, and what to do.
pub fn validate_endpoints(endpoints: &[Endpoint]) -> Result<(), String> {
    let mut ids = HashSet::new();
    for endpoint in endpoints {
        let id = &endpoint.id;
        if id.is_empty() {
            return Err("an endpoint has no id; give it a name that stays the same".to_owned());
        }
        if !ids.insert(id) {
            return Err(format!(
                "two endpoints have the id {id:?}, so the ledger cannot tell them apart; \
                 give one of them another id"
            ));
        }
        sender(&endpoint.target).map_err(|error| format!("endpoint {id:?}: {error}"))?;
    }
    Ok(())
}

/// Starts a worker for each endpoint. One that [`validate_endpoints`] rejects gets none; its events
/// wait.
pub(crate) fn start(
    outbox: Arc<dyn Outbox>,
    endpoints: Vec<Endpoint>,
    metrics: &Arc<LedgerMetrics>,
    runtime: &Handle,
) -> EndpointWorkers {
    let mut senders = Vec::new();
    for endpoint in endpoints {
        match sender(&endpoint.target) {
            Ok(sender) => senders.push((endpoint.id, sender)),
            Err(error) => {
                tracing::error!(endpoint = endpoint.id, error, "an endpoint cannot be notified of events");
            }
        }
    }
    start_with(outbox, senders, Arc::new(Timestamp::now), metrics, runtime)
}

/// Enables an endpoint that was disabled. Other nodes notice within a minute.
pub(crate) async fn enable(outbox: &dyn Outbox, endpoint: &str) -> Result<(), LedgerError> {
    outbox.change_endpoint(endpoint, &EndpointChange::Enable).await.map(drop)
}

impl EndpointWorkers {
    /// Claims nothing more and gives the attempts under way a few seconds. Other processes take
    /// over the rest when the leases have expired.
    pub(crate) async fn stop(mut self) {
        let _ = self.stopping.send(true);
        while self.workers.join_next().await.is_some() {}
    }
}

fn start_with(
    outbox: Arc<dyn Outbox>,
    senders: Vec<(String, Arc<dyn EventSender>)>,
    clock: WallClock,
    metrics: &Arc<LedgerMetrics>,
    runtime: &Handle,
) -> EndpointWorkers {
    let (wake, woken) = watch::channel(());
    let (stopping, stops) = watch::channel(false);
    let mut workers = JoinSet::new();
    for (endpoint, sender) in senders {
        let context = EndpointContext {
            endpoint,
            outbox: Arc::clone(&outbox),
            sender,
            clock: Arc::clone(&clock),
            health: EndpointHealth::default(),
            metrics: Arc::clone(metrics),
        };
        let worker =
            EndpointWorker { context: Arc::new(context), woken: woken.clone(), stopping: stops.clone() };
        workers.spawn_on(worker.run(), runtime);
    }
    // One task waits for the outbox: idle workers wake at once, busy ones see the change later.
    let mut waker = JoinSet::new();
    waker.spawn_on(
        async move {
            loop {
                outbox.woken().await;
                wake.send_replace(());
                tokio::time::sleep(WAKE_PAUSE).await;
            }
        },
        runtime,
    );
    EndpointWorkers { stopping, workers, _waker: waker }
}

fn sender(target: &EndpointTarget) -> Result<Arc<dyn EventSender>, String> {
    Ok(match target {
        EndpointTarget::Webhook { url, secrets, allow_private } => {
            Arc::new(WebhookSender::new(url, secrets, *allow_private, WebhookLimits::default())?)
        }
        EndpointTarget::Command { program } => Arc::new(CommandSender::new(program, CommandSender::TIMEOUT)?),
    })
}
