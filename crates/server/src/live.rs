//! Who listens to the progress of downloads, and what they hear.
//!
//! Each report of the ledger is written down once, as a server-sent event, for all who hear it; a listener has a place in
//! the list of its topic, and no more.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use outflow_ledger::{Ledger, Progress};
use tokio::sync::broadcast::{self, error::RecvError};

/// Events that a listener may be behind; who is further behind is told the whole state anew.
const BEHIND: usize = 256;
/// How often it is looked whether anybody still listens.
const LOOK: Duration = Duration::from_secs(30);

/// Whose downloads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Topic {
    /// Everybody's.
    All,
    /// Those by the link of this id.
    Link(String),
    /// Those of this recipient.
    Recipient(String),
}

/// A report, ready to be sent.
pub(crate) struct Told {
    pub(crate) progress: Arc<Progress>,
    pub(crate) event: Bytes,
}

/// Passes the ledger's reports on to listeners. Clones share everything.
#[derive(Clone)]
pub(crate) struct Live(Arc<Inner>);

struct Inner {
    ledger: Ledger,
    listeners: Mutex<Listeners>,
}

#[derive(Default)]
struct Listeners {
    topics: HashMap<Topic, broadcast::Sender<Arc<Told>>>,
    /// Somebody passes reports on.
    passing: bool,
    /// Number of the last event.
    number: u64,
}

impl Live {
    pub(crate) fn new(ledger: Ledger) -> Live {
        Live(Arc::new(Inner { ledger, listeners: Mutex::default() }))
    }

    pub(crate) fn ledger(&self) -> &Ledger {
        &self.0.ledger
    }

    /// Everything about `topic` from now on. Called on a runtime.
    pub(crate) fn listen(&self, topic: Topic) -> broadcast::Receiver<Arc<Told>> {
        let mut listeners = self.listeners();
        let sender = listeners.topics.entry(topic).or_insert_with(|| broadcast::channel(BEHIND).0);
        let receiver = sender.subscribe();
        if !listeners.passing {
            listeners.passing = true;
            // Subscribed to before anybody asks for the state: nothing falls between the two.
            let reports = self.0.ledger.listen();
            tokio::spawn(self.clone().pass(reports));
        }
        receiver
    }

    /// The number of the last event: what a listener that is told the whole state has heard.
    pub(crate) fn number(&self) -> u64 {
        self.listeners().number
    }

    fn listeners(&self) -> MutexGuard<'_, Listeners> {
        self.0.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes reports on for as long as anybody listens.
    async fn pass(self, mut reports: broadcast::Receiver<Arc<Progress>>) {
        let mut look = tokio::time::interval(LOOK);
        loop {
            tokio::select! {
                report = reports.recv() => match report {
                    Ok(progress) => self.tell(&progress),
                    // What was missed is told again by later reports.
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => {
                        self.listeners().topics.clear();
                        return;
                    }
                },
                _ = look.tick() => {
                    let mut listeners = self.listeners();
                    listeners.topics.retain(|_, sender| sender.receiver_count() > 0);
                    if listeners.topics.is_empty() {
                        listeners.passing = false;
                        return;
                    }
                }
            }
        }
    }

    fn tell(&self, progress: &Arc<Progress>) {
        let mut listeners = self.listeners();
        listeners.number += 1;
        let event = event("progress", listeners.number, &**progress);
        let told = Arc::new(Told { progress: Arc::clone(progress), event });
        let link = progress.link.clone().map(Topic::Link);
        let topics = [Some(Topic::All), link, Some(Topic::Recipient(progress.recipient.clone()))];
        for topic in topics.into_iter().flatten() {
            if let Some(sender) = listeners.topics.get(&topic) {
                // Nobody may listen at the moment.
                let _ = sender.send(Arc::clone(&told));
            }
        }
    }
}

/// A server-sent event (WHATWG HTML, 9.2): JSON has no line ends.
pub(crate) fn event(name: &str, number: u64, data: &impl serde::Serialize) -> Bytes {
    // Numbers and strings are always JSON.
    let data = serde_json::to_string(data).unwrap_or_default();
    format!("event: {name}\nid: {number}\ndata: {data}\n\n").into()
}
