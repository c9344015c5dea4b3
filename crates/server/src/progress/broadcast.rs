//! Who listens to the progress of downloads, and what they hear.
//!
//! Each report of the ledger is written down once, as a server-sent event, for all who hear it; a listener has a place in
//! the list of its topic, and no more.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use outflow_ledger::{DownloadQuery, Error, Ledger, Progress, Report};
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{Semaphore, broadcast};

/// Events about one recipient that a listener may be behind; who is further behind is told the whole state anew.
const BEHIND: usize = 64;
/// The same for those who listen to everybody's, of whom there are few.
const ALL_BEHIND: usize = 4096;
/// How often it is looked whether anybody still listens.
const LOOK: Duration = Duration::from_secs(30);
/// Listeners who ask the ledger for the whole state at the same time.
const ASKING: usize = 8;

/// Whose downloads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Topic {
    /// Everybody's.
    All,
    /// Those of this recipient; `weak`: who came without a link, and is not whoever a link names alike.
    Of { recipient: String, weak: bool },
}

impl Topic {
    fn of(progress: &Progress) -> Topic {
        Topic::Of { recipient: progress.recipient.clone(), weak: progress.link.is_none() }
    }

    pub(crate) fn has(&self, progress: &Progress) -> bool {
        *self == Topic::All || *self == Topic::of(progress)
    }
}

/// A report, ready to be sent.
pub(crate) struct Told {
    pub(crate) progress: Arc<Progress>,
    pub(crate) event: Bytes,
}

/// What a listener hears.
#[derive(Clone)]
pub(crate) enum Word {
    Told(Arc<Told>),
    /// Something was missed: how downloads stand is to be asked anew.
    Missed,
    /// There will be nothing more.
    Over,
}

/// Passes the ledger's reports on to listeners. Clones share everything.
#[derive(Clone)]
pub(crate) struct Live(Arc<Inner>);

struct Inner {
    ledger: Ledger,
    asking: Semaphore,
    listeners: Mutex<Listeners>,
}

#[derive(Default)]
struct Listeners {
    topics: HashMap<Topic, broadcast::Sender<Word>>,
    /// Somebody passes reports on.
    passing: bool,
    /// Number of the last event.
    number: u64,
}

impl Live {
    pub(crate) fn new(ledger: Ledger) -> Live {
        let asking = Semaphore::new(ASKING);
        Live(Arc::new(Inner { ledger, asking, listeners: Mutex::default() }))
    }

    pub(crate) fn ledger(&self) -> &Ledger {
        &self.0.ledger
    }

    /// How downloads stand; not too many ask at once.
    pub(crate) async fn standing(&self, query: &DownloadQuery) -> Result<Vec<Progress>, Error> {
        let _permit = self.0.asking.acquire().await;
        self.0.ledger.standing(query).await
    }

    /// Everything about `topic` from now on. Called on a runtime.
    pub(crate) fn listen(&self, topic: Topic) -> Heard {
        let mut listeners = self.listeners();
        let room = if topic == Topic::All { ALL_BEHIND } else { BEHIND };
        let sender = listeners.topics.entry(topic.clone()).or_insert_with(|| broadcast::channel(room).0);
        let receiver = Some(sender.subscribe());
        if !listeners.passing {
            listeners.passing = true;
            // Subscribed to before anybody asks for the state: nothing falls between the two.
            let reports = self.0.ledger.listen();
            tokio::spawn(self.clone().pass(reports));
        }
        drop(listeners);
        Heard { receiver, topic, live: self.clone(), missed: false }
    }

    /// The number of the last event: what a listener that is told the whole state has heard.
    pub(crate) fn number(&self) -> u64 {
        self.listeners().number
    }

    /// How many topics somebody listens to.
    #[cfg(test)]
    pub(crate) fn topics(&self) -> usize {
        self.listeners().topics.len()
    }

    fn listeners(&self) -> MutexGuard<'_, Listeners> {
        self.0.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes reports on for as long as anybody listens.
    async fn pass(self, mut reports: broadcast::Receiver<Report>) {
        let mut look = tokio::time::interval(LOOK);
        loop {
            tokio::select! {
                report = reports.recv() => match report {
                    Ok(Report::Progress(progress)) => self.tell(&progress),
                    Ok(Report::Missed) | Err(RecvError::Lagged(_)) => {
                        self.listeners().tell_all(&Word::Missed);
                    }
                    Err(RecvError::Closed) => {
                        self.listeners().tell_all(&Word::Over);
                        return;
                    }
                },
                _ = look.tick() => {
                    let mut listeners = self.listeners();
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
        let topics = [Topic::All, Topic::of(progress)];
        if !topics.iter().any(|topic| listeners.topics.contains_key(topic)) {
            return;
        }
        listeners.number += 1;
        let event = event("progress", listeners.number, &**progress);
        let told = Arc::new(Told { progress: Arc::clone(progress), event });
        for topic in &topics {
            if let Some(sender) = listeners.topics.get(topic) {
                // Nobody may listen at the moment.
                let _ = sender.send(Word::Told(Arc::clone(&told)));
            }
        }
    }
}

impl Listeners {
    fn tell_all(&self, word: &Word) {
        for sender in self.topics.values() {
            let _ = sender.send(word.clone());
        }
    }
}

/// What one listener hears of its topic, which is gone with its last listener.
pub(crate) struct Heard {
    /// Always there until this is dropped.
    receiver: Option<broadcast::Receiver<Word>>,
    topic: Topic,
    live: Live,
    /// That something was missed is still to be said.
    missed: bool,
}

impl Heard {
    /// Waits for what is told next. Nothing is lost if nobody waits to the end.
    pub(crate) async fn next(&mut self) -> Word {
        if std::mem::take(&mut self.missed) {
            return Word::Missed;
        }
        let Some(receiver) = &mut self.receiver else { return Word::Over };
        match receiver.recv().await {
            Ok(word) => word,
            Err(RecvError::Lagged(_)) => Word::Missed,
            Err(RecvError::Closed) => Word::Over,
        }
    }

    /// What was told up to now.
    pub(crate) fn already(&mut self) -> Option<Arc<Told>> {
        loop {
            match self.receiver.as_mut()?.try_recv() {
                Ok(Word::Told(told)) => return Some(told),
                Ok(Word::Missed | Word::Over) | Err(TryRecvError::Lagged(_)) => self.missed = true,
                Err(TryRecvError::Empty | TryRecvError::Closed) => return None,
            }
        }
    }

    /// Forgets what was told up to now: the state will be asked for.
    pub(crate) fn anew(&mut self) {
        self.receiver = self.receiver.take().map(|receiver| receiver.resubscribe());
        self.missed = false;
    }
}

impl Drop for Heard {
    fn drop(&mut self) {
        let mut listeners = self.live.listeners();
        drop(self.receiver.take());
        if listeners.topics.get(&self.topic).is_some_and(|sender| sender.receiver_count() == 0) {
            listeners.topics.remove(&self.topic);
        }
    }
}

/// A server-sent event (WHATWG HTML, 9.2): JSON has no line ends.
pub(crate) fn event(name: &str, number: u64, data: &impl serde::Serialize) -> Bytes {
    // Numbers and strings are always JSON.
    let data = serde_json::to_string(data).unwrap_or_default();
    format!("event: {name}\nid: {number}\ndata: {data}\n\n").into()
}
