//! The calls of a ledger: report deliveries, query, write.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::broadcast;

use super::thread::{LedgerParts, start};
use crate::db::address::DatabaseAddress;
use crate::db::database::Database;
use crate::db::download_row::clean;
use crate::model::{
    BacklogFull, ContentInfo, ContentKey, CountQuery, DailyCount, Download, DownloadProgress, DownloadQuery,
    EventDetail, EventQuery, FileState, LedgerError, LedgerEvent, LedgerOptions, LedgerStatus, LinkState,
    NewDelivery, ProgressReport, Replay,
};
use crate::read::{counts, downloads, events, links};
use crate::webhook;
use crate::write::direct;
use crate::write::handle::DeliveryHandle;

/// Downloads, receipts and events, in a database. Clones are the same ledger.
#[derive(Clone)]
pub struct Ledger {
    parts: Arc<LedgerParts>,
}

impl Ledger {
    /// Opens the ledger at `address`, which is `sqlite:PATH`, a path, or
    /// `postgres://USER@HOST/NAME`, and creates its tables if they do not exist. Blocks until the
    /// ledger is open.
    ///
    /// # Errors
    ///
    /// The database cannot be used. The text says why, and what to do.
    pub fn open(address: &str, options: LedgerOptions) -> Result<Ledger, LedgerError> {
        let parts = start(DatabaseAddress::parse(address)?, options)?;
        Ok(Ledger { parts: Arc::new(parts) })
    }

    /// Reserves capacity for the changes of a delivery. Never blocks.
    ///
    /// # Errors
    ///
    /// The maximum number of changes waits for the database ([`LedgerOptions::backlog`]).
    pub fn track(&self, mut delivery: NewDelivery) -> Result<DeliveryHandle, BacklogFull> {
        self.parts.queue.reserve()?;
        if let Cow::Owned(clean) = clean(&delivery.recipient.id, 1024) {
            delivery.recipient.id = clean;
        }
        Ok(DeliveryHandle::new(Arc::clone(&self.parts.queue), delivery))
    }

    /// Whether a delivery of this content is worth a record although no link says who receives it:
    /// it is part of a transfer, an archive or at least [`LedgerOptions::min_size`] bytes long, or
    /// an endpoint may be notified of it. Others are only counted.
    #[must_use]
    pub fn is_worth_recording(&self, content: &ContentInfo) -> bool {
        let options = &self.parts.context.options;
        content.parts.is_some() || content.length >= options.min_size || self.must_record(content)
    }

    /// Whether a delivery of this content has to be recorded although no link says who receives it:
    /// it is part of a transfer, or an endpoint may be notified of it.
    #[must_use]
    pub fn must_record(&self, content: &ContentInfo) -> bool {
        let endpoints = &self.parts.context.options.endpoints;
        content.transfer.is_some() || endpoints.iter().any(|endpoint| endpoint.filter.may_match(content))
    }

    /// Counts a delivery without recording it. Needs no capacity, and never blocks.
    #[must_use]
    pub fn count(&self, content: Arc<ContentInfo>) -> DeliveryHandle {
        DeliveryHandle::counted(Arc::clone(&self.parts.queue), content)
    }

    /// How often files were delivered without a record of each delivery. Up to ten seconds old.
    ///
    /// # Errors
    ///
    /// The database could not be read.
    pub async fn counts(&self, query: &CountQuery) -> Result<Vec<DailyCount>, LedgerError> {
        let query = query.clone();
        self.parts.run(|database| async move { counts::counts(&database, &query).await }).await
    }

    /// The download with this id.
    ///
    /// # Errors
    ///
    /// The database could not be read.
    pub async fn download(&self, id: &str) -> Result<Option<Download>, LedgerError> {
        let id = id.to_owned();
        self.parts.run(|database| async move { downloads::download(&database, &id).await }).await
    }

    /// Downloads, newest first.
    ///
    /// # Errors
    ///
    /// The database could not be read.
    pub async fn downloads(&self, query: &DownloadQuery) -> Result<Vec<Download>, LedgerError> {
        let query = query.clone();
        self.parts.run(|database| async move { downloads::downloads(&database, &query).await }).await
    }

    /// The files of a download, in their order, and which of them have arrived. `None` if there is
    /// no such download, or if its files are not kept: its archive has more than 10,000, or no
    /// delivery has ended yet.
    ///
    /// # Errors
    ///
    /// The database could not be read.
    pub async fn files(&self, id: &str) -> Result<Option<Vec<FileState>>, LedgerError> {
        let id = id.to_owned();
        self.parts.run(|database| async move { downloads::files(&database, &id).await }).await
    }

    /// Events in the order of their commitment.
    ///
    /// # Errors
    ///
    /// The database could not be read.
    pub async fn events(&self, query: &EventQuery) -> Result<Vec<LedgerEvent>, LedgerError> {
        let query = query.clone();
        self.parts.run(|database| async move { events::events(&database, &query).await }).await
    }

    /// The event with this id, and its delivery to endpoints.
    ///
    /// # Errors
    ///
    /// The database could not be read.
    pub async fn event(&self, id: &str) -> Result<Option<EventDetail>, LedgerError> {
        let id = id.to_owned();
        self.parts.run(|database| async move { events::event(&database, &id).await }).await
    }

    /// Sends events again, with the same ids. Returns the number of sends. A process that runs the
    /// ledger with [`LedgerOptions::server`] makes them.
    ///
    /// # Errors
    ///
    /// The database could not be written.
    pub async fn replay(&self, replay: &Replay) -> Result<u64, LedgerError> {
        let (replay, context) = (replay.clone(), Arc::clone(&self.parts.context));
        let work = |database: Arc<Database>| async move {
            direct::replay(&database, &context.options.endpoints, &replay).await
        };
        let count = self.parts.run(work).await?;
        self.parts.new_sends.notify_one();
        Ok(count)
    }

    /// The cached state of a link: at most a second old, but up to date for receipts of this
    /// process. `None` if it is not in the cache. Does not block.
    #[must_use]
    pub fn cached_link(&self, id: &str) -> Option<LinkState> {
        self.parts.links.get(id)
    }

    /// The state of a link.
    ///
    /// # Errors
    ///
    /// The database could not be read.
    pub async fn link(&self, id: &str) -> Result<LinkState, LedgerError> {
        let (id, cache) = (id.to_owned(), Arc::clone(&self.parts.links));
        let work = |database: Arc<Database>| async move {
            let (version, at) = (cache.version(), Instant::now());
            let state = links::link(&database, &id).await?;
            cache.put(&id, state.clone(), version, at);
            Ok(state)
        };
        self.parts.run(work).await
    }

    /// The links that were used or revoked, by id, and how.
    ///
    /// # Errors
    ///
    /// The database could not be read.
    pub async fn links(&self, limit: u32) -> Result<Vec<(String, LinkState)>, LedgerError> {
        self.parts.run(async move |database: Arc<Database>| links::links(&database, limit).await).await
    }

    /// Whether a download of this content with this link has begun and is not complete.
    ///
    /// # Errors
    ///
    /// The database could not be read.
    pub async fn has_incomplete_download(
        &self,
        link: &str,
        content: &ContentKey,
    ) -> Result<bool, LedgerError> {
        let (link, content) = (link.to_owned(), *content);
        let work = |database: Arc<Database>| async move {
            links::has_incomplete_download(&database, &link, &content).await
        };
        self.parts.run(work).await
    }

    /// Revokes a link, for ever. Other processes notice within a second.
    ///
    /// # Errors
    ///
    /// The database could not be written.
    pub async fn revoke(&self, link: &str) -> Result<(), LedgerError> {
        let (link, cache) = (link.to_owned(), Arc::clone(&self.parts.links));
        let work = |database: Arc<Database>| async move {
            direct::revoke(&database, &link).await?;
            cache.invalidate(&link);
            Ok(())
        };
        self.parts.run(work).await
    }

    /// Records that a transfer is no longer served. The first call emits an event, further ones
    /// have no effect.
    ///
    /// # Errors
    ///
    /// The database could not be written.
    pub async fn transfer_expired(&self, transfer: &str) -> Result<(), LedgerError> {
        let (transfer, context) = (transfer.to_owned(), Arc::clone(&self.parts.context));
        let work = |database: Arc<Database>| async move {
            direct::expire_transfer(&database, &context.options.endpoints, &transfer).await
        };
        self.parts.run(work).await?;
        self.parts.new_sends.notify_one();
        Ok(())
    }

    /// Enables an endpoint that was disabled: at once on this node, within a minute on others.
    /// Returns false if no event was ever for an endpoint with this id.
    ///
    /// # Errors
    ///
    /// The database could not be written.
    pub async fn enable_endpoint(&self, endpoint: &str) -> Result<bool, LedgerError> {
        let (endpoint, outbox) = (endpoint.to_owned(), self.parts.outbox());
        let work = |database: Arc<Database>| async move {
            let is_known = events::has_endpoint(&database, &endpoint).await?;
            if is_known {
                webhook::enable(&outbox, &endpoint).await?;
            }
            Ok(is_known)
        };
        self.parts.run(work).await
    }

    /// Subscribes to the progress of downloads, on PostgreSQL of those of all nodes: at most four
    /// reports a second of each, and one when it completes. A slow subscriber misses the oldest.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<ProgressReport> {
        let subscription = self.parts.progress.subscribe();
        self.parts.queue.release_held();
        subscription
    }

    /// The current progress of downloads, including deliveries under way on this node; newest
    /// first.
    ///
    /// # Errors
    ///
    /// The database could not be read.
    pub async fn progress(&self, query: &DownloadQuery) -> Result<Vec<DownloadProgress>, LedgerError> {
        let downloads = self.downloads(query).await?;
        Ok(self.parts.progress.progress_of(downloads))
    }

    /// Whether the ledger works.
    #[must_use]
    pub fn status(&self) -> LedgerStatus {
        let queue = &self.parts.queue;
        LedgerStatus { waiting: queue.taken(), backlog: queue.backlog(), outage: self.parts.health.outage() }
    }

    /// Writes the changes that wait, stops the endpoints' workers, and closes the database. Blocks
    /// until that is done, at most for `limit`; changes that are not written by then are lost,
    /// which is logged. Deliveries that end later are not written.
    pub fn shut_down(&self, limit: Duration) {
        self.parts.stop();
        if !self.parts.wait(limit) {
            let waiting = self.parts.queue.taken();
            tracing::error!("the ledger could not be written in time: up to {waiting} changes are lost");
        }
    }
}
