//! `outflow transfers` and `outflow unpublish`: what is in a store, and taking it away.

use std::io::Write as _;
use std::time::SystemTime;

use anyhow::{Context as _, bail};
use clap::Args;
use futures_util::StreamExt as _;
use indicatif::{HumanBytes, HumanCount};
use outflow_catalog::{
    Manifest, Small, Store, StoreError, StoreErrorKind, is_transfer_id, nanos_of, time_of,
};
use serde::Serialize;

use crate::Failure;
use crate::publish::note::Note;
use crate::publish::{open_store, transfer_id};

/// Manifests that are read, and objects that are deleted, at the same time.
const PARALLEL: usize = 16;
/// A store with more is not listed.
const MOST: usize = 1_000_000;

#[derive(Args, Debug)]
pub(crate) struct ListOptions {
    /// The store
    #[arg(long, value_name = "STORE", env = "OUTFLOW_STORE")]
    store: String,

    /// Print a JSON array
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct UnpublishOptions {
    /// The transfer
    #[arg(value_name = "ID", value_parser = transfer_id)]
    id: String,

    /// The store
    #[arg(long, value_name = "STORE", env = "OUTFLOW_STORE")]
    store: String,
}

#[derive(Serialize)]
struct Line {
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
    /// What is wrong with its manifest.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

pub(crate) fn list(options: ListOptions) -> Result<(), Failure> {
    let store = open_store(&options.store, PARALLEL)?;
    let mut lines = store.wait(lines(&store)).context("cannot list the transfers")?;
    lines.sort_by(|one, other| (&one.created, &one.id).cmp(&(&other.created, &other.id)));
    let mut text = String::new();
    if options.json {
        text = serde_json::to_string_pretty(&lines).context("cannot write JSON")?;
        text.push('\n');
    } else {
        for line in &lines {
            if let Some(error) = &line.error {
                eprintln!("outflow: the transfer {} has no good manifest: {error}", line.id);
                continue;
            }
            let created = line.created.as_deref().unwrap_or_default();
            let ends = match &line.expires {
                Some(expires) if line.expired => format!("ended {expires}"),
                Some(expires) => format!("until {expires}"),
                None => "for ever".to_owned(),
            };
            let (files, bytes) = (HumanCount(line.files as u64), HumanBytes(line.bytes));
            let title = line.title.as_deref().unwrap_or_default();
            text.push_str(
                format!("{}  {created}  {ends}  {files} files  {bytes}  {title}", line.id).trim_end(),
            );
            text.push('\n');
        }
    }
    let mut stdout = std::io::stdout();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).context("cannot print the list")?;
    Ok(())
}

async fn lines(store: &Store) -> anyhow::Result<Vec<Line>> {
    let (folders, _) = store.list_folder("", MOST).await?;
    let ids = folders.into_iter().filter(|name| is_transfer_id(name));
    let mut read = futures_util::stream::iter(ids).map(|id| line(store, id)).buffer_unordered(PARALLEL);
    let mut lines = Vec::new();
    while let Some(line) = read.next().await {
        lines.extend(line?);
    }
    Ok(lines)
}

/// None for a folder without a manifest: it is no transfer, or none yet.
async fn line(store: &Store, id: String) -> anyhow::Result<Option<Line>> {
    let mut line = Line {
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
        Ok(Small::Read { bytes, .. }) => bytes,
        Ok(Small::NotModified) => return Ok(None),
        Err(StoreError { kind: StoreErrorKind::NotFound, .. }) => return Ok(None),
        Err(error @ StoreError { kind: StoreErrorKind::TooBig { .. }, .. }) => {
            line.error = Some(error.to_string());
            return Ok(Some(line));
        }
        Err(error) => return Err(error.into()),
    };
    match Manifest::parse(&bytes, &line.id) {
        Ok(manifest) => {
            line.expired = manifest.is_expired(nanos_of(SystemTime::now()));
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

/// To the second.
fn time(nanos: i64) -> String {
    let time = jiff::Timestamp::try_from(time_of(nanos)).unwrap_or_default();
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

pub(crate) fn unpublish(options: UnpublishOptions) -> Result<(), Failure> {
    let store = open_store(&options.store, PARALLEL)?;
    let id = &options.id;
    let deleted = store.wait(remove(&store, id)).with_context(|| format!("cannot unpublish {id}"))?;
    eprintln!("unpublished {id}: {} objects deleted", HumanCount(deleted as u64));
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
    let note = Note::key_of(id);
    if !published && !is_there(store.head(&note).await)? {
        bail!(
            "there is no transfer {id} in {}, nor a part of one; outflow transfers shows what there is",
            store.address()
        );
    }
    // If this breaks, the note still says that the rest may be deleted.
    if published {
        Note::default().write(store, id).await?;
    }
    store.delete(&manifest).await?;
    let objects = store.list(id, Manifest::MAX_FILES + 16).await?;
    let rest = objects.iter().map(|object| object.key.as_str()).filter(|key| *key != note);
    let mut deletions =
        futures_util::stream::iter(rest).map(|key| store.delete(key)).buffer_unordered(PARALLEL);
    let mut deleted = usize::from(published);
    while let Some(done) = deletions.next().await {
        done?;
        deleted += 1;
    }
    store.delete(&note).await?;
    Ok(deleted)
}
