//! The door: deliveries in, questions answered. Callers come from many runtimes; all calls of the database are made on a
//! thread of the ledger's own.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::broadcast;

use super::start::{Ended, Inner, run};
use crate::db::sql::Address;
use crate::db::store::Store;
use crate::model::{
    ContentKey, Download, DownloadQuery, Error, Event, EventDetail, EventQuery, FileState, Full, LinkState,
    Opening, Options, Progress, Replay, Report, Status,
};
use crate::read::{downloads, events, links};
use crate::webhook;
use crate::webhook::database_outbox::Sends;
use crate::write::handle::Tracked;
use crate::write::single;

/// Downloads, receipts and events, in a database. Clones are the same ledger.
#[derive(Clone)]
pub struct Ledger {
    inner: Arc<Inner>,
}

impl Ledger {
    /// Opens the ledger at `address`: `sqlite:PATH`, a path, or `postgres://USER@HOST/NAME`; makes it if it is not there.
    /// Blocks until it can be used.
    ///
    /// # Errors
    ///
    /// The database cannot be used; the text says why and what to do.
    pub fn open(address: &str, options: Options) -> Result<Ledger, Error> {
        let address = Address::parse(address)?;
        let (opened, wait) = std::sync::mpsc::sync_channel(1);
        let ended = Arc::new(Ended::default());
        let thread = std::thread::Builder::new().name("ledger".into());
        let thread_ended = Arc::clone(&ended);
        let thread = thread.spawn(move || {
            run(address, options, &opened, &thread_ended);
            *thread_ended.ended.lock().expect("nothing panics while it is held") = true;
            thread_ended.told.notify_all();
        });
        thread.map_err(|error| Error::Database(format!("the ledger's thread cannot be started: {error}")))?;
        match wait.recv() {
            Ok(Ok(inner)) => Ok(Ledger { inner: Arc::new(inner) }),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(Error::Database("the ledger's thread has ended while it was being opened".into())),
        }
    }

    /// Reserves room for what will be told of a delivery. Never blocks.
    ///
    /// # Errors
    ///
    /// As many changes wait for the database as may ([`Options::backlog`]).
    pub fn track(&self, mut opening: Opening) -> Result<Tracked, Full> {
        self.inner.queue.reserve()?;
        if let std::borrow::Cow::Owned(clean) = crate::db::download_row::clean(&opening.recipient.id, 1024) {
            opening.recipient.id = clean;
        }
        Ok(Tracked::new(Arc::clone(&self.inner.queue), opening))
    }

    /// The download of that id.
    ///
    /// # Errors
    ///
    /// The database could not be asked.
    pub async fn download(&self, id: &str) -> Result<Option<Download>, Error> {
        let id = id.to_owned();
        self.run(|store| async move { downloads::download(&store, &id).await }).await
    }

    /// Downloads, newest first.
    ///
    /// # Errors
    ///
    /// The database could not be asked.
    pub async fn downloads(&self, query: &DownloadQuery) -> Result<Vec<Download>, Error> {
        let query = query.clone();
        self.run(|store| async move { downloads::downloads(&store, &query).await }).await
    }

    /// The files that a download consists of, in their order, and which have arrived. `None`: there is no such download,
    /// or its archive's files are not kept, because it has more than 10,000 or none of its deliveries has ended.
    ///
    /// # Errors
    ///
    /// The database could not be asked.
    pub async fn files(&self, id: &str) -> Result<Option<Vec<FileState>>, Error> {
        let id = id.to_owned();
        self.run(|store| async move { downloads::files(&store, &id).await }).await
    }

    /// Events in the order of their commitment.
    ///
    /// # Errors
    ///
    /// The database could not be asked.
    pub async fn events(&self, query: &EventQuery) -> Result<Vec<Event>, Error> {
        let query = query.clone();
        self.run(|store| async move { events::events(&store, &query).await }).await
    }

    /// The event of that id, and to whom it was told.
    ///
    /// # Errors
    ///
    /// The database could not be asked.
    pub async fn event(&self, id: &str) -> Result<Option<EventDetail>, Error> {
        let id = id.to_owned();
        self.run(|store| async move { events::event(&store, &id).await }).await
    }

    /// Has events told once more, under the ids that they have. Returns how many sends that makes. They are made by
    /// whichever process runs the ledger with [`Options::tell`].
    ///
    /// # Errors
    ///
    /// The database could not be written.
    pub async fn replay(&self, what: &Replay) -> Result<u64, Error> {
        let (what, context, sends) =
            (what.clone(), Arc::clone(&self.inner.context), Arc::clone(&self.inner.sends));
        let count = self
            .run(|store| async move { single::replay(&store, &context.options.endpoints, &what).await })
            .await?;
        sends.notify_one();
        Ok(count)
    }

    /// How a link has been used, if that is known: at most a second old, but for what happened here. Does not block.
    #[must_use]
    pub fn link_now(&self, id: &str) -> Option<LinkState> {
        self.inner.links.get(id)
    }

    /// How a link has been used.
    ///
    /// # Errors
    ///
    /// The database could not be asked.
    pub async fn link(&self, id: &str) -> Result<LinkState, Error> {
        let (id, links) = (id.to_owned(), Arc::clone(&self.inner.links));
        self.run(|store| async move {
            let (since, at) = (links.asking(), Instant::now());
            let state = links::link(&store, &id).await?;
            links.put(&id, state.clone(), since, at);
            Ok(state)
        })
        .await
    }

    /// Whether a download of that content by that link has begun and is not complete.
    ///
    /// # Errors
    ///
    /// The database could not be asked.
    pub async fn has_open(&self, link: &str, content: &ContentKey) -> Result<bool, Error> {
        let (link, content) = (link.to_owned(), *content);
        self.run(|store| async move { links::has_open(&store, &link, &content).await }).await
    }

    /// Makes a link void, from now on and for ever. Other processes know within a second.
    ///
    /// # Errors
    ///
    /// The database could not be written.
    pub async fn revoke(&self, link: &str) -> Result<(), Error> {
        let (link, links) = (link.to_owned(), Arc::clone(&self.inner.links));
        self.run(|store| async move {
            single::revoke(&store, &link).await?;
            links.forget(&link);
            Ok(())
        })
        .await
    }

    /// A transfer is not served any more: makes its event, once for ever, however often it is called.
    ///
    /// # Errors
    ///
    /// The database could not be written.
    pub async fn transfer_expired(&self, transfer: &str) -> Result<(), Error> {
        let (transfer, context) = (transfer.to_owned(), Arc::clone(&self.inner.context));
        let sends = Arc::clone(&self.inner.sends);
        self.run(|store| async move {
            single::transfer_expired(&store, &context.options.endpoints, &transfer).await
        })
        .await?;
        sends.notify_one();
        Ok(())
    }

    /// Has an endpoint called again that was disabled, at once here, within a minute on other nodes.
    ///
    /// # Errors
    ///
    /// The database could not be written.
    pub async fn enable(&self, endpoint: &str) -> Result<(), Error> {
        let (endpoint, context) = (endpoint.to_owned(), Arc::clone(&self.inner.context));
        let wake = Arc::clone(&self.inner.sends);
        self.run(|store| async move { webhook::enable(&Sends { store, context, wake }, &endpoint).await })
            .await
    }

    /// Progress of downloads, of all nodes on PostgreSQL, from now on: for each at most four times a second, and its
    /// completion. Whoever is too slow misses the older ones.
    #[must_use]
    pub fn listen(&self) -> broadcast::Receiver<Report> {
        self.inner.live.listen()
    }

    /// How downloads stand right now, deliveries under way on this node included; newest first.
    ///
    /// # Errors
    ///
    /// The database could not be read.
    pub async fn standing(&self, query: &DownloadQuery) -> Result<Vec<Progress>, Error> {
        let downloads = self.downloads(query).await?;
        Ok(self.inner.live.standing(downloads))
    }

    /// How the ledger is.
    #[must_use]
    pub fn status(&self) -> Status {
        let queue = &self.inner.queue;
        Status { waiting: queue.taken(), bound: queue.bound(), trouble: self.inner.health.trouble() }
    }

    /// Writes what waits, ends the hooks, and closes the database. Blocks until that is done, `limit` at most; what was
    /// not written by then is lost, and said so in the log. Deliveries that end later are not written.
    pub fn shut_down(&self, limit: Duration) {
        self.inner.shut_down();
        let ended = self.inner.ended.ended.lock().expect("nothing panics while it is held");
        let waited = self.inner.ended.told.wait_timeout_while(ended, limit, |ended| !*ended);
        let (ended, _) = waited.expect("nothing panics while it is held");
        if !*ended {
            let waiting = self.inner.queue.taken();
            tracing::error!("the ledger could not be written in time: up to {waiting} changes are lost");
        }
    }

    /// Does `work` on the ledger's runtime.
    async fn run<T, F>(&self, work: impl FnOnce(Arc<Store>) -> F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let task = self.inner.runtime.spawn(work(Arc::clone(&self.inner.store)));
        match task.await {
            Ok(done) => done,
            Err(_) => Err(Error::Database("the ledger has been shut down".into())),
        }
    }
}
