//! `outflow download`: the downloads that the ledger records.

use std::fmt::Write as _;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use indicatif::HumanBytes;
use outflow_ledger::{Assurance, CountQuery, DailyCount, Download, DownloadQuery, DownloadState, FileState};
use outflow_texts::{ConsoleText, console};
use serde::Serialize;

use crate::failure::{Failure, print};
use crate::labels::LabelTable;
use crate::ledger::access::{LedgerArgs, wait};
use crate::ledger::counts;

/// Maximum number of files shown of an archive; `--json` shows all.
const MAX_FILES: usize = 40;

#[derive(Debug, Subcommand)]
pub(crate) enum DownloadCommand {
    /// List recorded downloads, newest first, then delivery counts for the rest
    ///
    /// Small files that were fetched without a link are counted by day, not recorded: see
    /// --ledger-min-size of `outflow serve`.
    List(DownloadsListArgs),
    /// Show a download, and which files of an archive have arrived
    Show(DownloadsShowArgs),
}

#[derive(Args, Debug)]
pub(crate) struct DownloadsListArgs {
    #[command(flatten)]
    ledger: LedgerArgs,

    /// Only downloads of this recipient
    #[arg(long, value_name = "WHO")]
    recipient: Option<String>,

    /// Only downloads made with this link
    #[arg(long, value_name = "ID")]
    link: Option<String>,

    /// Only downloads of this transfer
    #[arg(long, value_name = "ID")]
    transfer: Option<String>,

    /// Only downloads below this address
    #[arg(long, value_name = "PATH")]
    path: Option<String>,

    /// Only downloads of exactly this path
    #[arg(long, value_name = "PATH")]
    address: Option<String>,

    /// Only downloads in this state: open, aborted, failed, completed
    #[arg(long, value_name = "STATE", value_parser = state)]
    state: Vec<DownloadState>,

    /// Only downloads that started before this one (for paging)
    #[arg(long, value_name = "ID")]
    before: Option<String>,

    /// Maximum number of downloads
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    limit: u16,

    /// Print JSON: {"downloads": […], "counts": […]}
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct PrintedDownloads {
    downloads: Vec<Download>,
    counts: Vec<DailyCount>,
}

#[derive(Args, Debug)]
pub(crate) struct DownloadsShowArgs {
    /// The download: dl_…
    id: String,

    #[command(flatten)]
    ledger: LedgerArgs,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct PrintedDownload {
    #[serde(flatten)]
    download: Download,
    #[serde(skip_serializing_if = "Option::is_none")]
    file_list: Option<Vec<FileState>>,
}

pub(crate) fn run(command: DownloadCommand) -> Result<(), Failure> {
    let text = match command {
        DownloadCommand::List(list) => list.text()?,
        DownloadCommand::Show(show) => show.text()?,
    };
    Ok(print(&text)?)
}

impl DownloadsListArgs {
    fn text(self) -> anyhow::Result<String> {
        let ledger = self.ledger.open()?;
        // What is counted has no recipient, link, transfer, state or id.
        let is_narrow = self.recipient.is_some()
            || self.link.is_some()
            || self.transfer.is_some()
            || self.before.is_some()
            || !self.state.is_empty();
        let counted =
            CountQuery { path: self.path.clone(), address: self.address.clone(), limit: self.limit.into() };
        let query = DownloadQuery {
            recipient: self.recipient,
            link: self.link,
            transfer: self.transfer,
            path: self.path,
            address: self.address,
            states: self.state,
            before: self.before,
            limit: self.limit.into(),
            ..DownloadQuery::default()
        };
        let (downloads, counts) = wait(async {
            let downloads = ledger.downloads(&query).await?;
            let counts = if is_narrow { Vec::new() } else { ledger.counts(&counted).await? };
            anyhow::Ok((downloads, counts))
        })??;
        if self.json {
            return Ok(serde_json::to_string_pretty(&PrintedDownloads { downloads, counts })? + "\n");
        }
        let counts = if counts.is_empty() { String::new() } else { counts::table(&counts) };
        if downloads.is_empty() {
            return Ok(format!("{}\n{counts}", console!(no_downloads)));
        }
        Ok(downloads.iter().fold(String::new(), |text, download| text + &line(download)) + &counts)
    }
}

impl DownloadsShowArgs {
    fn text(self) -> anyhow::Result<String> {
        let ledger = self.ledger.open()?;
        let (download, files) =
            wait(async { anyhow::Ok((ledger.download(&self.id).await?, ledger.files(&self.id).await?)) })??;
        let download = download.with_context(|| console!(no_such_download, id = &self.id))?;
        if self.json {
            return Ok(serde_json::to_string_pretty(&PrintedDownload { download, file_list: files })? + "\n");
        }
        Ok(details(&download, files.as_deref()))
    }
}

fn state(text: &str) -> Result<DownloadState, ConsoleText> {
    serde_json::from_value(text.into())
        .map_err(|_| console!(one_of, known = ["open", "aborted", "failed", "completed"].join(", ")))
}

fn line(download: &Download) -> String {
    format!(
        "{}  {}  {:<9}  {:>4}  {}  {}  {}\n",
        download.id,
        download.started.strftime("%Y-%m-%d %H:%M"),
        name_of(download.state).to_string(),
        percent(download),
        HumanBytes(download.total),
        download.name,
        download.recipient,
    )
}

/// Rounded down, so that 100% means complete.
fn percent(download: &Download) -> String {
    if download.total == 0 {
        return if download.completed.is_some() { "100%".to_owned() } else { "0%".to_owned() };
    }
    format!("{}%", u128::from(download.acked) * 100 / u128::from(download.total))
}

fn name_of(state: DownloadState) -> ConsoleText {
    match state {
        DownloadState::Open => console!(download_open),
        DownloadState::Aborted => console!(download_aborted),
        DownloadState::Failed => console!(download_failed),
        DownloadState::Completed => console!(download_completed),
    }
}

fn details(download: &Download, files: Option<&[FileState]>) -> String {
    let mut table = LabelTable::default();
    let mut row = |label: ConsoleText, value: &str| table.row_if_any(&label, value);
    let or_none = |value: &Option<String>| value.clone().unwrap_or_default();
    row(console!(label_download), &download.id);
    row(console!(label_state), &name_of(download.state).to_string());
    row(console!(label_name), &download.name);
    row(console!(label_address), &download.path);
    let recipient = &download.recipient;
    let weak = console!(recipient_by_address, recipient).to_string();
    row(console!(label_recipient), if download.weak { &weak } else { recipient });
    row(console!(label_link), &or_none(&download.link));
    row(console!(label_transfer), &or_none(&download.transfer));
    row(console!(label_client), &or_none(&download.client));
    row(console!(label_user_agent), &or_none(&download.user_agent));
    row(console!(label_generation), &download.generation.to_string());
    let (acked, total) = (download.acked, download.total);
    let acked = console!(bytes_of_total, bytes = acked, total, percent = percent(download));
    row(console!(label_acked), &acked.to_string());
    if download.inferred > 0 {
        row(console!(label_inferred), &console!(bytes_inferred, bytes = download.inferred).to_string());
    }
    if let (Some(done), Some(files)) = (download.files_done, download.files) {
        row(console!(label_files), &console!(files_of_total, done = %done, files = %files).to_string());
    }
    row(console!(label_deliveries), &download.deliveries.to_string());
    row(console!(label_started), &download.started.to_string());
    if let Some(time) = download.completed {
        let completed = match (download.confirmed, download.assurance) {
            (true, Assurance::Peer) => console!(confirmed_by_recipient, %time),
            (true, Assurance::Proxy) => console!(confirmed_by_proxy, %time),
            (false, Assurance::Peer) => console!(acknowledged_by_recipient, %time),
            (false, Assurance::Proxy) => console!(acknowledged_by_proxy, %time),
        };
        row(console!(label_completed), &completed.to_string());
    } else {
        row(console!(label_updated), &download.updated.to_string());
    }
    row(console!(label_etag), &download.etag);
    let mut text = table.to_string();
    for file in files.into_iter().flatten().take(MAX_FILES) {
        let mark = if file.done { "✓" } else { "·" };
        let _ = writeln!(text, "  {mark} {}  {}", file.name, HumanBytes(file.size));
    }
    if let Some(count) = files.map(|files| files.len().saturating_sub(MAX_FILES)).filter(|more| *more > 0) {
        let _ = writeln!(text, "  {}", console!(more_files_in_json, count));
    }
    text
}
