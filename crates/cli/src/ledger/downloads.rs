//! `outflow download`: the downloads that the ledger records.

use std::fmt::Write as _;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use indicatif::HumanBytes;
use outflow_ledger::{Assurance, Download, DownloadQuery, DownloadState, FileState};
use outflow_texts::console;
use serde::Serialize;

use crate::failure::{Failure, print};
use crate::ledger::access::{LedgerArgs, wait};

/// Maximum number of files shown of an archive; `--json` shows all.
const MAX_FILES: usize = 40;

#[derive(Debug, Subcommand)]
pub(crate) enum DownloadCommand {
    /// List downloads, newest first
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

    /// Only downloads by this link
    #[arg(long, value_name = "ID")]
    link: Option<String>,

    /// Only downloads of this transfer
    #[arg(long, value_name = "ID")]
    transfer: Option<String>,

    /// Only downloads below this address
    #[arg(long, value_name = "PATH")]
    path: Option<String>,

    /// Only downloads of exactly this address
    #[arg(long, value_name = "PATH")]
    address: Option<String>,

    /// Only downloads in this state: open, aborted, failed, completed
    #[arg(long, value_name = "STATE", value_parser = state)]
    state: Vec<DownloadState>,

    /// Only downloads that started before this one, to continue a list
    #[arg(long, value_name = "ID")]
    before: Option<String>,

    /// Maximum number of downloads
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    limit: u16,

    /// Print a JSON array
    #[arg(long)]
    json: bool,
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
        let downloads = wait(ledger.downloads(&query))??;
        if self.json {
            return Ok(serde_json::to_string_pretty(&downloads)? + "\n");
        }
        if downloads.is_empty() {
            return Ok("no downloads\n".to_owned());
        }
        Ok(downloads.iter().fold(String::new(), |text, download| text + &line(download)))
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

fn state(text: &str) -> Result<DownloadState, String> {
    serde_json::from_value(text.into()).map_err(|_| "one of: open, aborted, failed, completed".to_owned())
}

fn line(download: &Download) -> String {
    format!(
        "{}  {}  {:<9}  {:>4}  {}  {}  {}\n",
        download.id,
        download.started.strftime("%Y-%m-%d %H:%M"),
        name_of(download.state),
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

fn name_of(state: DownloadState) -> &'static str {
    match state {
        DownloadState::Open => "open",
        DownloadState::Aborted => "aborted",
        DownloadState::Failed => "failed",
        DownloadState::Completed => "completed",
    }
}

fn details(download: &Download, files: Option<&[FileState]>) -> String {
    let mut text = String::new();
    let mut row = |name: &str, value: &str| {
        if !value.is_empty() {
            let _ = writeln!(text, "{name:<12}{value}");
        }
    };
    let or_none = |value: &Option<String>| value.clone().unwrap_or_default();
    row("download", &download.id);
    row("state", name_of(download.state));
    row("name", &download.name);
    row("address", &download.path);
    let who = if download.weak { "  (address and User-Agent only)" } else { "" };
    row("recipient", &format!("{}{who}", download.recipient));
    row("link", &or_none(&download.link));
    row("transfer", &or_none(&download.transfer));
    row("client", &or_none(&download.client));
    row("user agent", &or_none(&download.user_agent));
    row("generation", &download.generation.to_string());
    row("acked", &format!("{} of {} bytes ({})", download.acked, download.total, percent(download)));
    if download.inferred > 0 {
        let how = "bytes, inferred from where the recipient resumed after a crash";
        row("inferred", &format!("{} {how}", download.inferred));
    }
    if let (Some(done), Some(files)) = (download.files_done, download.files) {
        row("files", &format!("{done} of {files}"));
    }
    row("deliveries", &download.deliveries.to_string());
    row("started", &download.started.to_string());
    if let Some(completed) = download.completed {
        let evidence = if download.confirmed { "confirmed" } else { "acknowledged" };
        let by = match download.assurance {
            Assurance::Peer => "the recipient",
            Assurance::Proxy => "a proxy in front of the recipient",
        };
        row("completed", &format!("{completed}, {evidence} by {by}"));
    } else {
        row("updated", &download.updated.to_string());
    }
    row("etag", &download.etag);
    for file in files.into_iter().flatten().take(MAX_FILES) {
        let mark = if file.done { "✓" } else { "·" };
        let _ = writeln!(text, "  {mark} {}  {}", file.name, HumanBytes(file.size));
    }
    if let Some(more) = files.map(|files| files.len().saturating_sub(MAX_FILES)).filter(|more| *more > 0) {
        let _ = writeln!(text, "  … and {more} more: --json shows all");
    }
    text
}
