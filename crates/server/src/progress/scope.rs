//! Whose downloads of what a stream is about, and their whole state.

use std::sync::Arc;

use outflow_ledger::{DownloadProgress, DownloadQuery, DownloadState};
use outflow_texts::text;
use outflow_web::Problem;
use serde::Serialize;

use super::broadcast::{ProgressFeed, ProgressSubscription, ProgressTopic, event};
use outflow_links::{Link, LinkError};

/// Maximum number of downloads in the whole state, the newest ones.
///
/// Bound: progress.
const MAX_DOWNLOADS: usize = 100;

/// What a stream is about.
#[derive(Clone)]
pub(super) struct ProgressScope {
    pub(super) topic: ProgressTopic,
    pub(super) coverage: Coverage,
    /// The transfer that the address is in.
    pub(super) transfer: Option<String>,
    /// The link that admitted the client, and why it may begin nothing new, if it may not.
    pub(super) link: Option<(Arc<Link>, Option<LinkError>)>,
}

/// The addresses whose downloads a stream is about.
#[derive(Clone, Debug)]
pub(super) enum Coverage {
    /// Everything below this address, which ends in a slash.
    Below(String),
    /// This address.
    Exactly(String),
}

impl ProgressScope {
    pub(super) fn has(&self, progress: &DownloadProgress) -> bool {
        let is_covered = match &self.coverage {
            Coverage::Below(folder) => progress.path.starts_with(folder.as_str()),
            Coverage::Exactly(address) => progress.path == *address,
        };
        is_covered && self.topic.has(progress)
    }

    /// Whether the stream is about one download and ends with it.
    pub(super) fn is_single(&self) -> bool {
        matches!(self.coverage, Coverage::Exactly(_)) && self.topic != ProgressTopic::All
    }

    fn query(&self) -> DownloadQuery {
        let mut query = DownloadQuery {
            transfer: self.transfer.clone(),
            limit: MAX_DOWNLOADS,
            ..DownloadQuery::default()
        };
        match &self.coverage {
            Coverage::Below(folder) => query.path = Some(folder.clone()),
            Coverage::Exactly(address) => query.address = Some(address.clone()),
        }
        if let ProgressTopic::Of { recipient, .. } = &self.topic {
            query.recipient = Some(recipient.clone());
        }
        query
    }
}

/// The state of all downloads of a scope.
#[derive(Serialize)]
pub(super) struct DownloadsState {
    /// Newest first.
    pub(super) downloads: Vec<DownloadProgress>,
}

impl DownloadsState {
    /// Queries the state, and takes the reports that came meanwhile from `subscription` into it.
    pub(super) async fn query(
        feed: &ProgressFeed,
        scope: &ProgressScope,
        subscription: &mut ProgressSubscription,
    ) -> Result<DownloadsState, Problem> {
        let mut downloads = feed.query(&scope.query()).await.map_err(|error| {
            tracing::warn!(%error, "cannot query the state of downloads: the ledger does not answer");
            Problem::busy(text!(progress_unavailable))
        })?;
        downloads.retain(|progress| scope.has(progress));
        let mut state = DownloadsState { downloads };
        while let Some(report) = subscription.try_next() {
            if scope.has(&report.progress) {
                state.put(&report.progress);
            }
        }
        Ok(state)
    }

    /// Adds a report, which may be older or newer than the state.
    fn put(&mut self, progress: &DownloadProgress) {
        // Ids are in the order of time.
        let at = self.downloads.partition_point(|download| download.download > progress.download);
        match self.downloads.get_mut(at).filter(|download| download.download == progress.download) {
            Some(known) if known.state == DownloadState::Completed => {}
            Some(known) if progress.state == DownloadState::Completed || progress.acked >= known.acked => {
                known.clone_from(progress);
            }
            Some(_) => {}
            None => {
                self.downloads.insert(at, progress.clone());
                self.downloads.truncate(MAX_DOWNLOADS);
            }
        }
    }

    /// Whether the one download of the scope is completed, so that no event follows.
    pub(super) fn is_over(&self, scope: &ProgressScope) -> bool {
        let newest = self.downloads.first();
        scope.is_single() && newest.is_some_and(|newest| newest.state == DownloadState::Completed)
    }

    pub(super) fn event(&self, feed: &ProgressFeed) -> Vec<u8> {
        event("state", feed.last_number(), self).into()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The scope of the recipient `anna`, who downloads `/a`.
    pub(crate) fn anna() -> ProgressScope {
        let topic = ProgressTopic::Of { recipient: "anna".into(), weak: true };
        ProgressScope { topic, coverage: Coverage::Exactly("/a".into()), transfer: None, link: None }
    }

    fn progress(download: &str, acked: u64, state: DownloadState) -> DownloadProgress {
        DownloadProgress {
            download: download.into(),
            content: String::new(),
            path: "/a".into(),
            transfer: None,
            link: None,
            recipient: "anna".into(),
            state,
            acked,
            sent: 0,
            total: 10,
            rate: 0,
            eta: None,
            files_done: None,
            files: None,
        }
    }

    #[test]
    fn reports_that_came_while_the_state_was_queried_are_part_of_it() {
        let mut state = DownloadsState {
            downloads: vec![
                progress("dl_3", 5, DownloadState::Open),
                progress("dl_1", 10, DownloadState::Completed),
            ],
        };
        for report in [
            progress("dl_3", 4, DownloadState::Open),
            progress("dl_1", 9, DownloadState::Open),
            progress("dl_4", 1, DownloadState::Open),
            progress("dl_2", 10, DownloadState::Completed),
            progress("dl_3", 7, DownloadState::Aborted),
        ] {
            state.put(&report);
        }
        let downloads = state.downloads.iter().map(|it| (&*it.download, it.acked, it.state));
        assert_eq!(
            downloads.collect::<Vec<_>>(),
            [
                ("dl_4", 1, DownloadState::Open),
                ("dl_3", 7, DownloadState::Aborted),
                ("dl_2", 10, DownloadState::Completed),
                ("dl_1", 10, DownloadState::Completed)
            ]
        );
        assert!(!state.is_over(&anna()));
        state.put(&progress("dl_4", 10, DownloadState::Completed));
        assert!(state.is_over(&anna()));
        // Others may still download it.
        assert!(!state.is_over(&ProgressScope { topic: ProgressTopic::All, ..anna() }));
    }
}
