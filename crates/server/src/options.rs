//! How a [`DownloadService`](crate::DownloadService) serves.

use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use outflow_ledger::Ledger;

use outflow_channels::Channels;
use outflow_links::LinkChecker;
use outflow_metrics::MetricRegistry;
use outflow_texts::Language;

/// How collections are served.
#[derive(Clone)]
pub struct DownloadOptions {
    /// The folder that keeps CRC-32s and begun layouts over restarts; `None`: memory only. A folder
    /// that cannot be used is a warning in the log, not an error.
    pub cache: Option<PathBuf>,
    /// Maximum number of files whose CRC-32s are remembered. An archive of more than half as many
    /// is always streamed.
    ///
    /// Bound: archives. 1,000,000
    pub crc_capacity: usize,
    /// Whether a thread reads the files of requested archives while the server is idle, to learn
    /// their CRC-32s.
    pub crc_background: bool,
    /// How long an archive's plan is reused without walking its folder again.
    pub plan_fresh: Duration,
    /// How long a transfer's manifest is reused without a request to the store.
    pub manifest_fresh: Duration,
    /// How long after the store last confirmed it a manifest is used while the store does not
    /// answer.
    pub manifest_stale: Duration,
    /// Records downloads. `None`: downloads are not recorded.
    pub ledger: Option<Ledger>,
    /// Checks links. `None`: an address with a link in it is an address like any other.
    pub links: Option<LinkChecker>,
    /// Whether every request needs a link.
    pub require_links: bool,
    /// Proxies that are trusted to name their clients.
    pub trusted_proxies: Vec<IpNet>,
    /// Channels. `None`: their addresses are addresses like any other.
    pub channels: Option<Channels>,
    /// Where the service counts. Several with the same registry are counted together.
    pub metrics: MetricRegistry,
    /// The language of pages and problems.
    pub language: Language,
}

impl Default for DownloadOptions {
    fn default() -> DownloadOptions {
        DownloadOptions {
            cache: None,
            crc_capacity: 1_000_000,
            crc_background: true,
            plan_fresh: Duration::from_secs(2),
            manifest_fresh: Duration::from_secs(2),
            manifest_stale: Duration::from_secs(300),
            ledger: None,
            links: None,
            require_links: false,
            trusted_proxies: Vec::new(),
            channels: None,
            metrics: MetricRegistry::default(),
            language: Language::default(),
        }
    }
}
