//! `outflow publish`: from files on this machine to a transfer in a store.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use clap::Args;
use outflow_catalog::{Manifest, Store, StoreError, StoreErrorKind, Uploads, new_transfer_id};
use outflow_content::UnixTime;
use outflow_texts::{ConsoleText, console};
use serde::Serialize;

use super::journal::UploadJournal;
use super::plan;
use super::progress::UploadProgress;
use super::send::{self, PriorUploads};
use super::store::{open_store, store_help, transfer_id};
use crate::args::expiry::ExpiryArg;
use crate::failure::{Failure, print};

#[derive(Args, Debug)]
pub(crate) struct PublishArgs {
    /// Folders and files to publish
    ///
    /// The contents of a single folder become the transfer; if several paths are given, each keeps
    /// its name.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,

    /// Store to publish to
    #[arg(id = "store", long = "to", value_name = "STORE", env, long_help = store_help("Store to publish to"))]
    to: String,

    /// Title of the transfer, one line
    #[arg(long, value_name = "TEXT")]
    title: Option<String>,

    /// Message to recipients
    #[arg(long, value_name = "TEXT")]
    message: Option<String>,

    /// When the transfer expires: 12h or 7d from now, or a time [default: never]
    ///
    /// 30m, 12h, 7d, 2w from now, or a time such as 2026-12-24T18:00:00Z. The objects stay in the
    /// store until `outflow transfer remove`.
    #[arg(long, value_name = "WHEN", value_parser = ExpiryArg::parse)]
    expires: Option<ExpiryArg>,

    /// ID of the transfer; reuse it to resume an interrupted upload [default: random]
    ///
    /// 1 to 64 letters, digits, hyphens and underscores. Anyone who knows it can download the
    /// transfer.
    #[arg(long, value_name = "ID", value_parser = transfer_id)]
    id: Option<String>,

    /// Publish names that begin with a dot
    #[arg(long)]
    hidden: bool,

    /// Number of files, or parts of large files, that are uploaded at the same time
    ///
    /// Each takes 16 MiB of memory.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u8).range(1..=64))]
    parallel: u8,

    /// Base URL of the server; prints a full URL instead of a path
    #[arg(long, value_name = "URL", env)]
    base_url: Option<String>,

    /// Print one JSON object instead of the address
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
struct PrintedTransfer<'a> {
    id: &'a str,
    address: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<&'a str>,
    files: usize,
    bytes: u64,
    uploaded: usize,
    skipped: usize,
    manifest: String,
}

pub(crate) fn publish(options: PublishArgs) -> Result<(), Failure> {
    let lanes = usize::from(options.parallel);
    let store = open_store(&options.to, lanes + 8)?;
    let files = plan::plan(&options.paths, options.hidden)?;
    // Manifests have whole seconds.
    let now = UnixTime::now().nanos() / 1_000_000_000 * 1_000_000_000;
    let id = match &options.id {
        Some(id) => id.clone(),
        None => new_transfer_id().context(console!(cannot_name_transfer))?,
    };
    let mut manifest = Manifest {
        id: id.clone(),
        title: options.title.clone(),
        message: options.message.clone(),
        created: now,
        expires: options.expires.map(|expiry| expiry.from(now)),
        files: files.iter().map(|planned| planned.listed(&id)).collect(),
    };
    // Checked before the upload: a manifest that servers refuse is not worth it.
    manifest.check().context(console!(cannot_publish_this))?;

    let total = manifest.bytes();
    let uploads = Arc::new(Uploads::new(lanes));
    let progress = UploadProgress::new(store.address(), &id, files.len(), total, options.json);
    let sent = store.wait(async {
        let prior = prior_uploads(&store, &id, options.id.is_some()).await?;
        let sent = send::send(&store, &uploads, &manifest, &files, prior, &progress).await?;
        manifest.files.clone_from(&sent.files);
        let json = Bytes::from(manifest.to_json());
        store.put(&Manifest::key_of(&id), json, "application/json").await?;
        // The journal has served its purpose; a leftover is harmless.
        let _ = store.delete(&UploadJournal::key_of(&id)).await;
        anyhow::Ok(sent)
    });
    progress.end();
    let sent = sent.map_err(|error| {
        let is_taken = error.downcast_ref::<NameTaken>().is_some();
        let error = error.context(console!(cannot_publish_transfer, id = &id));
        if is_taken {
            return error;
        }
        let (error, command) = (format!("{error:#}"), command_to_continue(&id));
        anyhow::anyhow!(console!(publish_to_continue, error, command))
    })?;

    let address = format!("/t/{id}/");
    let url = options.base_url.as_deref().map(|base| format!("{}{address}", base.trim_end_matches('/')));
    let printed = if options.json {
        let published = PrintedTransfer {
            id: &id,
            address: &address,
            url: url.as_deref(),
            files: files.len(),
            bytes: total,
            uploaded: sent.uploaded,
            skipped: sent.skipped,
            manifest: Manifest::key_of(&id),
        };
        serde_json::to_string(&published).context(console!(cannot_write_json))?
    } else {
        url.unwrap_or(address)
    };
    Ok(print(&format!("{printed}\n"))?)
}

/// The name is in use, so that continuing cannot help.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct NameTaken(ConsoleText);

/// The uploads of an earlier, broken run of the same name.
async fn prior_uploads(store: &Store, id: &str, is_named: bool) -> anyhow::Result<PriorUploads> {
    let mut prior = PriorUploads::default();
    if is_named {
        match store.head(&Manifest::key_of(id)).await {
            Ok(_) => {
                return Err(NameTaken(console!(transfer_exists, id)).into());
            }
            Err(StoreError { kind: StoreErrorKind::NotFound, .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let objects = store.list(id, Manifest::MAX_FILES + 16).await?;
        let journal = UploadJournal::read(store, id).await?;
        if journal.is_none() && !objects.is_empty() {
            return Err(NameTaken(console!(transfer_folder_taken, id)).into());
        }
        prior.journal = journal.unwrap_or_default();
        prior.objects = objects.into_iter().map(|object| (object.key.clone(), object)).collect();
    }
    // Marks the folder as a transfer in the making before the first upload.
    prior.journal.write(store, id).await?;
    Ok(prior)
}

/// The command line that continues this run.
fn command_to_continue(id: &str) -> String {
    let mut line = vec!["outflow".to_owned()];
    let mut arguments = std::env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned());
    while let Some(argument) = arguments.next() {
        if argument == "--id" {
            arguments.next();
        } else if !argument.starts_with("--id=") {
            line.push(quote(&argument));
        }
    }
    line.push(format!("--id={id}"));
    line.join(" ")
}

/// Quotes an argument for a shell.
fn quote(argument: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_./:=,@%+".contains(c);
    if !argument.is_empty() && argument.chars().all(is_plain) {
        return argument.to_owned();
    }
    format!("'{}'", argument.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_can_be_pasted() {
        assert_eq!(quote("s3://b/p"), "s3://b/p");
        assert_eq!(quote("it's a file"), r"'it'\''s a file'");
        assert_eq!(quote(""), "''");
        assert_eq!(quote("$(x)"), "'$(x)'");
    }
}
