//! Tells endpoints of events: by POST as Standard Webhooks 1.0 has it, or by a program.
//!
//! At least once, with the same id in every attempt, and without a promise of order. Each endpoint has a task of its own,
//! so that nobody waits for somebody else's receiver. What is known between attempts lies in the outbox; a process that
//! dies loses a lease, which another one takes over.
//!
//! ```text
//! worker     one endpoint's task: claims, attempts, verdicts
//!   health     what follows from an attempt: again, postponed, given up
//!   schedule   when
//! teller     the trait of the two ways
//!   http_post  POST; sign: signatures; address: who may be called
//!   command    a program
//! ```

mod address;
mod command;
pub(crate) mod database_outbox;
mod health;
mod http_post;
pub(crate) mod outbox;
mod schedule;
mod sign;
mod teller;
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

pub use sign::{new_secret, new_signing_secret, public_key};

use crate::model::{Endpoint, Error, Target};
use crate::webhook::command::Program;
use crate::webhook::health::Health;
use crate::webhook::http_post::{Limits, Webhook};
use crate::webhook::outbox::{Change, Outbox};
use crate::webhook::teller::Teller;
use crate::webhook::worker::{Clock, Post, Worker};

/// After somebody was woken, nobody is woken again for so long: many events at once are one reason to look.
const QUIET: Duration = Duration::from_millis(10);

/// The tasks that tell. Dropped without [`Hooks::stop`], they end at once.
pub(crate) struct Hooks {
    stopping: watch::Sender<bool>,
    workers: JoinSet<()>,
    _waker: JoinSet<()>,
}

/// Checks endpoints before anything is started with them.
///
/// # Errors
/// What is wrong with the first one that is, and what to do.
pub fn check(endpoints: &[Endpoint]) -> Result<(), String> {
    let mut ids = HashSet::new();
    for endpoint in endpoints {
        let id = &endpoint.id;
        if id.is_empty() {
            return Err("an endpoint has no id; give it a name that stays the same".to_owned());
        }
        if !ids.insert(id) {
            return Err(format!(
                "two endpoints have the id {id:?}; what is known of one would be taken for the other's: \
                 give one of them another id"
            ));
        }
        teller(&endpoint.target).map_err(|error| format!("endpoint {id:?}: {error}"))?;
    }
    Ok(())
}

/// Begins to tell. An endpoint that [`check`] refuses is not told; its events wait.
pub(crate) fn start(outbox: Arc<dyn Outbox>, endpoints: Vec<Endpoint>, runtime: &Handle) -> Hooks {
    let mut tellers = Vec::new();
    for endpoint in endpoints {
        match teller(&endpoint.target) {
            Ok(teller) => tellers.push((endpoint.id, teller)),
            Err(error) => {
                tracing::error!(endpoint = endpoint.id, error, "an endpoint cannot be told of events");
            }
        }
    }
    start_with(outbox, tellers, Arc::new(Timestamp::now), runtime)
}

/// Lets an endpoint that was disabled be called again, from the next minute on at the latest.
pub(crate) async fn enable(outbox: &dyn Outbox, endpoint: &str) -> Result<(), Error> {
    outbox.change_endpoint(endpoint, &Change::Enable).await.map(|_| ())
}

impl Hooks {
    /// Claims nothing more, gives the attempts that are under way a few seconds, and leaves the rest to whoever claims it
    /// when its lease has lapsed.
    pub(crate) async fn stop(mut self) {
        let _ = self.stopping.send(true);
        while self.workers.join_next().await.is_some() {}
    }
}

fn start_with(
    outbox: Arc<dyn Outbox>,
    tellers: Vec<(String, Arc<dyn Teller>)>,
    clock: Clock,
    runtime: &Handle,
) -> Hooks {
    let (wake, woken) = watch::channel(());
    let (stopping, stops) = watch::channel(false);
    let mut workers = JoinSet::new();
    for (endpoint, teller) in tellers {
        let post = Post {
            endpoint,
            outbox: Arc::clone(&outbox),
            teller,
            clock: Arc::clone(&clock),
            health: Health::default(),
        };
        let worker = Worker { post: Arc::new(post), woken: woken.clone(), stopping: stops.clone() };
        workers.spawn_on(worker.run(), runtime);
    }
    // One waits for all: whoever was asleep is told, whoever was busy sees it later.
    let mut waker = JoinSet::new();
    waker.spawn_on(
        async move {
            loop {
                outbox.woken().await;
                wake.send_replace(());
                tokio::time::sleep(QUIET).await;
            }
        },
        runtime,
    );
    Hooks { stopping, workers, _waker: waker }
}

fn teller(target: &Target) -> Result<Arc<dyn Teller>, String> {
    Ok(match target {
        Target::Webhook { url, secrets, allow_private } => {
            Arc::new(Webhook::new(url, secrets, *allow_private, Limits::default())?)
        }
        Target::Command { program } => Arc::new(Program::new(program, Program::LIMIT)?),
    })
}
