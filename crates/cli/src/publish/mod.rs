//! `outflow publish`: from files on this machine to a transfer in a store.
//!
//! ```text
//! plan   which files, and under which names
//! send   what is there already, and uploading the rest
//! note   what a broken run leaves for the next one
//! show   progress, for people and for logs
//! ```

pub(crate) mod note;
mod plan;
mod send;
mod show;
pub(crate) mod transfers;

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::Context as _;
use bytes::Bytes;
use clap::Args;
use outflow_catalog::{
    Manifest, Store, StoreError, StoreErrorKind, StoreOptions, Uploads, is_transfer_id, nanos_of,
    new_transfer_id,
};
use serde::Serialize;

use crate::Failure;
use crate::args::expiry::Expiry;
use note::Note;

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Folders and files to publish. A single folder's contents are the transfer; of several paths, each keeps its name
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,

    /// Store to publish to: s3://bucket/prefix, gs://…, az://…, http(s)://… or file:///folder
    #[arg(long, value_name = "STORE", env = "OUTFLOW_STORE")]
    to: String,

    /// A line about the transfer
    #[arg(long, value_name = "TEXT")]
    title: Option<String>,

    /// Some words about the transfer
    #[arg(long, value_name = "TEXT")]
    message: Option<String>,

    /// When the transfer ends: 30m, 12h, 7d, 2w from now, or a time such as 2026-12-24T18:00:00Z
    #[arg(long, value_name = "WHEN", value_parser = Expiry::parse)]
    expires: Option<Expiry>,

    /// The transfer's name, to continue a run that broke, or to choose one [default: a random one]
    #[arg(long, value_name = "ID", value_parser = transfer_id)]
    id: Option<String>,

    /// Publish names that begin with a dot, too
    #[arg(long)]
    hidden: bool,

    /// Files, and parts of large ones, under way at the same time; each takes 16 MiB of memory
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u8).range(1..=64))]
    parallel: u8,

    /// Where `outflow serve` can be reached, to print the whole URL
    #[arg(long, value_name = "URL", env = "OUTFLOW_BASE_URL")]
    base_url: Option<String>,

    /// Print one JSON object instead of the address
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Published<'a> {
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

pub(crate) fn run(options: Options) -> Result<(), Failure> {
    let lanes = usize::from(options.parallel);
    let store = open_store(&options.to, lanes + 8)?;
    let files = plan::plan(&options.paths, options.hidden)?;
    // To the second: nobody needs more.
    let now = nanos_of(SystemTime::now()) / 1_000_000_000 * 1_000_000_000;
    let id = match &options.id {
        Some(id) => id.clone(),
        None => new_transfer_id().context("cannot make a name for the transfer")?,
    };
    let mut manifest = Manifest {
        id: id.clone(),
        title: options.title.clone(),
        message: options.message.clone(),
        created: now,
        expires: options.expires.map(|expiry| expiry.from(now)),
        files: files.iter().map(|planned| planned.listed(&id)).collect(),
    };
    // Before anything is sent: what nobody could read is not worth sending.
    manifest.check().context("cannot publish this")?;

    let total = manifest.bytes();
    let uploads = Arc::new(Uploads::new(lanes));
    let show = show::Show::new(store.address(), &id, files.len(), total, options.json);
    let sent = store.wait(async {
        let before = before(&store, &id, options.id.is_some()).await?;
        let sent = send::send(&store, &uploads, &manifest, &files, before, &show).await?;
        manifest.files.clone_from(&sent.files);
        let json = Bytes::from(manifest.to_json());
        store.put(&Manifest::key_of(&id), json, "application/json").await?;
        // It is of no use any more, and harms nobody.
        let _ = store.delete(&Note::key_of(&id)).await;
        anyhow::Ok(sent)
    });
    show.end();
    let sent = sent.map_err(|error| {
        let is_taken = error.downcast_ref::<Taken>().is_some();
        let error = error.context(format!("cannot publish the transfer {id}"));
        if is_taken {
            return error;
        }
        anyhow::anyhow!("{error:#}\nWhat was uploaded stays. To continue: {}", again(&id))
    })?;

    let address = format!("/t/{id}/");
    let url = options.base_url.as_deref().map(|base| format!("{}{address}", base.trim_end_matches('/')));
    let mut stdout = std::io::stdout();
    let printed = if options.json {
        let published = Published {
            id: &id,
            address: &address,
            url: url.as_deref(),
            files: files.len(),
            bytes: total,
            uploaded: sent.uploaded,
            skipped: sent.skipped,
            manifest: Manifest::key_of(&id),
        };
        serde_json::to_string(&published).context("cannot write JSON")?
    } else {
        url.unwrap_or(address)
    };
    writeln!(stdout, "{printed}").and_then(|()| stdout.flush()).context("cannot print the address")?;
    Ok(())
}

pub(crate) fn open_store(address: &str, connections: usize) -> Result<Store, Failure> {
    let options = StoreOptions { connections, ..StoreOptions::default() };
    Store::open(address, &options).map_err(|error| Failure::Usage(error.into()))
}

/// The name is in use: continuing would not help.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Taken(String);

/// What an earlier run of the same name has left.
async fn before(store: &Store, id: &str, was_named: bool) -> anyhow::Result<send::Before> {
    let mut before = send::Before::default();
    if was_named {
        match store.head(&Manifest::key_of(id)).await {
            Ok(_) => {
                let taken = format!(
                    "there is a transfer {id} already; choose another --id, or take it away first with: outflow \
                     unpublish {id}"
                );
                return Err(Taken(taken).into());
            }
            Err(StoreError { kind: StoreErrorKind::NotFound, .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let objects = store.list(id, Manifest::MAX_FILES + 16).await?;
        let note = Note::read(store, id).await?;
        if note.is_none() && !objects.is_empty() {
            let taken = format!(
                "the folder {id}/ has objects in it that no broken run of publish has left; choose another --id"
            );
            return Err(Taken(taken).into());
        }
        before.note = note.unwrap_or_default();
        before.objects = objects.into_iter().map(|object| (object.key.clone(), object)).collect();
    }
    // Says from the beginning whose folder it is.
    before.note.write(store, id).await?;
    Ok(before)
}

/// The command line that continues this run.
fn again(id: &str) -> String {
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

/// For a shell.
fn quote(argument: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_./:=,@%+".contains(c);
    if !argument.is_empty() && argument.chars().all(is_plain) {
        return argument.to_owned();
    }
    format!("'{}'", argument.replace('\'', "'\\''"))
}

pub(crate) fn transfer_id(text: &str) -> Result<String, String> {
    if is_transfer_id(text) {
        return Ok(text.to_owned());
    }
    Err("a transfer's name has 1 to 64 letters, digits, hyphens and underscores".to_owned())
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
