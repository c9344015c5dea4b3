//! `outflow transfer`: list and remove.

use std::time::SystemTime;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use futures_util::StreamExt as _;
use indicatif::HumanBytes;
use outflow_catalog::{Manifest, SmallRead, Store, StoreError, StoreErrorKind, is_transfer_id};
use outflow_content::UnixTime;
use outflow_texts::console;
use serde::Serialize;

use super::journal::UploadJournal;
use super::store::{open_store, store_help, transfer_id};
use crate::failure::{Failure, print};

/// Manifests that are read, or objects that are deleted, at the same time.
const PARALLEL: usize = 16;
/// Maximum number of transfers in a store that can be listed.
///
/// Bound: transfers.
const MAX_TRANSFERS: usize = 1_000_000;

#[derive(Debug, Subcommand)]
pub(crate) enum TransferCommand {
    /// List the transfers of a store
    List(TransferListArgs),
    /// Remove a transfer from a store, with its files
    Remove(TransferRemoveArgs),
}

pub(crate) fn run(command: TransferCommand) -> Result<(), Failure> {
    match command {
        TransferCommand::List(options) => list(options),
        TransferCommand::Remove(options) => remove_transfer(options),
    }
}

#[derive(Args, Debug)]
pub(crate) struct TransferListArgs {
    /// The store
    #[arg(long, value_name = "STORE", env, long_help = store_help("The store"))]
    store: String,

    /// Print a JSON array
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct TransferRemoveArgs {
    /// The transfer
    #[arg(value_name = "ID", value_parser = transfer_id)]
    id: String,

    /// The store
    #[arg(long, value_name = "STORE", env, long_help = store_help("The store"))]
    store: String,
}

#[derive(Serialize)]
struct TransferRow {
    id: String,
    address: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<String>,
    expired: bool,
    files: usize,
    bytes: u64,
    /// Why its manifest cannot be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

fn list(options: TransferListArgs) -> Result<(), Failure> {
    let store = open_store(&options.store, PARALLEL)?;
    let mut lines = store.wait(lines(&store)).context(console!(cannot_list_transfers))?;
    lines.sort_by(|one, other| (&one.created, &one.id).cmp(&(&other.created, &other.id)));
    let mut text = String::new();
    if options.json {
        text = serde_json::to_string_pretty(&lines).context(console!(cannot_write_json))?;
        text.push('\n');
    } else {
        for line in &lines {
            if let Some(error) = &line.error {
                eprintln!("{}", console!(cannot_use_manifest, id = &line.id, error));
                continue;
            }
            let created = line.created.as_deref().unwrap_or_default();
            let ends = match &line.expires {
                Some(expires) if line.expired => console!(transfer_ended, time = expires),
                Some(expires) => console!(transfer_until, time = expires),
                None => console!(transfer_for_ever),
            };
            let (files, bytes) = (console!(transfer_files, count = line.files), HumanBytes(line.bytes));
            let title = line.title.as_deref().unwrap_or_default();
            text.push_str(format!("{}  {created}  {ends}  {files}  {bytes}  {title}", line.id).trim_end());
            text.push('\n');
        }
    }
    Ok(print(&text)?)
}

async fn lines(store: &Store) -> anyhow::Result<Vec<TransferRow>> {
    let (folders, _) = store.list_folder("", MAX_TRANSFERS).await?;
    let ids = folders.into_iter().filter(|name| is_transfer_id(name));
    let mut read = futures_util::stream::iter(ids).map(|id| line(store, id)).buffer_unordered(PARALLEL);
    let mut lines = Vec::new();
    while let Some(line) = read.next().await {
        lines.extend(line?);
    }
    Ok(lines)
}

/// Returns `None` for a folder without a manifest: it is not a transfer, or not yet.
async fn line(store: &Store, id: String) -> anyhow::Result<Option<TransferRow>> {
    let mut line = TransferRow {
        address: format!("/t/{id}/"),
        title: None,
        created: None,
        expires: None,
        expired: false,
        files: 0,
        bytes: 0,
        error: None,
        id,
    };
    let bytes = match store.read_small(&Manifest::key_of(&line.id), Manifest::MAX_BYTES, None).await {
        Ok(SmallRead::Read { bytes, .. }) => bytes,
        Ok(SmallRead::NotModified) => return Ok(None),
        Err(StoreError { kind: StoreErrorKind::NotFound, .. }) => return Ok(None),
        Err(error @ StoreError { kind: StoreErrorKind::TooBig { .. }, .. }) => {
            line.error = Some(error.to_string());
            return Ok(Some(line));
        }
        Err(error) => return Err(error.into()),
    };
    match Manifest::parse(&bytes, &line.id) {
        Ok(manifest) => {
            line.expired = manifest.is_expired(UnixTime::now().nanos());
            line.files = manifest.files.len();
            line.bytes = manifest.bytes();
            line.created = Some(time(manifest.created));
            line.expires = manifest.expires.map(time);
            line.title = manifest.title;
        }
        Err(error) => line.error = Some(error.to_string()),
    }
    Ok(Some(line))
}

/// Nanoseconds since 1970 in the form of RFC 3339, in whole seconds.
fn time(nanos: i64) -> String {
    let time = jiff::Timestamp::try_from(SystemTime::from(UnixTime::from_nanos(nanos))).unwrap_or_default();
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn remove_transfer(options: TransferRemoveArgs) -> Result<(), Failure> {
    let store = open_store(&options.store, PARALLEL)?;
    let id = &options.id;
    let deleted = store.wait(remove(&store, id)).with_context(|| console!(cannot_remove_transfer, id))?;
    eprintln!("{}", console!(transfer_removed, id, objects = deleted));
    Ok(())
}

async fn remove(store: &Store, id: &str) -> anyhow::Result<usize> {
    let is_there = |found: Result<_, StoreError>| match found {
        Ok(_) => Ok(true),
        Err(StoreError { kind: StoreErrorKind::NotFound, .. }) => Ok(false),
        Err(error) => Err(error),
    };
    let manifest = Manifest::key_of(id);
    let published = is_there(store.head(&manifest).await)?;
    let journal = UploadJournal::key_of(id);
    if !published && !is_there(store.head(&journal).await)? {
        bail!(console!(no_such_transfer, id, store = %store.address()));
    }
    // If the deletion breaks off, the journal marks the remaining objects as deletable.
    if published {
        UploadJournal::default().write(store, id).await?;
    }
    store.delete(&manifest).await?;
    let objects = store.list(id, Manifest::MAX_FILES + 16).await?;
    let rest = objects.iter().map(|object| object.key.as_str()).filter(|key| *key != journal);
    let mut deletions =
        futures_util::stream::iter(rest).map(|key| store.delete(key)).buffer_unordered(PARALLEL);
    let mut deleted = usize::from(published);
    while let Some(done) = deletions.next().await {
        done?;
        deleted += 1;
    }
    store.delete(&journal).await?;
    Ok(deleted)
}
