//! Uploads files that are not in the store yet.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures_util::StreamExt as _;
use outflow_catalog::{
    LocalFile, Manifest, ManifestFile, Object, Store, UploadError, UploadFile, Uploaded, Uploads,
};
use outflow_content::Wait;
use outflow_texts::console;
use parking_lot::Mutex;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, interval_at};

use super::journal::UploadJournal;
use super::plan::PlannedFile;
use super::progress::UploadProgress;

/// Interval between writes of the journal.
const JOURNAL_INTERVAL: Duration = Duration::from_secs(20);
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

/// Uploads of an earlier, broken run.
#[derive(Default)]
pub(crate) struct PriorUploads {
    /// By object key below the store.
    pub(crate) objects: HashMap<String, Object>,
    pub(crate) journal: UploadJournal,
}

/// The files in the store, and how many of them this run uploaded.
pub(crate) struct SentFiles {
    pub(crate) files: Vec<ManifestFile>,
    pub(crate) uploaded: usize,
    pub(crate) skipped: usize,
}

struct FileUploader<'a> {
    store: &'a Store,
    uploads: &'a Arc<Uploads>,
    objects: HashMap<String, Object>,
    journal: Mutex<UploadJournal>,
}

/// Uploads `planned`, which `manifest` lists in the same order. After the first failure the uploads
/// under way are aborted and cleaned up.
pub(crate) async fn send(
    store: &Store,
    uploads: &Arc<Uploads>,
    manifest: &Manifest,
    planned: &[PlannedFile],
    prior: PriorUploads,
    progress: &UploadProgress,
) -> anyhow::Result<SentFiles> {
    let sender = FileUploader { store, uploads, objects: prior.objects, journal: Mutex::new(prior.journal) };
    let mut sent = SentFiles { files: manifest.files.clone(), uploaded: 0, skipped: 0 };
    let mut failed = None;
    let listed = planned.iter().zip(&manifest.files).enumerate();
    let all = futures_util::stream::iter(listed).map(|(index, (planned, listed))| {
        let sender = &sender;
        let key = manifest.object_key(listed);
        async move {
            let done = sender.one(planned, &key).await;
            (index, done.with_context(|| console!(cannot_publish_file, name = format!("{:?}", planned.name))))
        }
    });
    let mut all = all.buffer_unordered(uploads.parallel());
    let mut ticks = interval_at(Instant::now() + PROGRESS_INTERVAL, PROGRESS_INTERVAL);
    let mut journal_ticks = interval_at(Instant::now() + JOURNAL_INTERVAL, JOURNAL_INTERVAL);
    let mut interrupt = signal(SignalKind::interrupt()).context(console!(cannot_wait_for_signals))?;
    let mut terminate = signal(SignalKind::terminate()).context(console!(cannot_wait_for_signals))?;
    loop {
        let stopped = tokio::select! {
            done = all.next() => match done {
                None => break,
                Some((index, Ok((uploaded, skipped)))) => {
                    let file = &mut sent.files[index];
                    file.crc32 = Some(uploaded.crc32);
                    file.etag = uploaded.etag;
                    *if skipped { &mut sent.skipped } else { &mut sent.uploaded } += 1;
                    None
                }
                Some((_, Err(error))) => Some(error),
            },
            _ = ticks.tick() => {
                progress.update(uploads.sent());
                None
            }
            _ = journal_ticks.tick() => {
                sender.write_journal(&manifest.id).await;
                None
            }
            _ = interrupt.recv() => Some(anyhow::anyhow!(console!(publish_interrupted))),
            _ = terminate.recv() => Some(anyhow::anyhow!(console!(publish_terminated))),
        };
        if let Some(error) = stopped {
            if failed.is_some() && error.downcast_ref::<UploadError>().is_none() && error.source().is_none() {
                // A second signal stops at once and cleans nothing up.
                break;
            }
            // Uploads that the first failure aborts are not failures of their own.
            failed.get_or_insert(error);
            uploads.stop();
        }
    }
    drop(all);
    progress.update(uploads.sent());
    match failed {
        None => Ok(sent),
        Some(error) => {
            sender.write_journal(&manifest.id).await;
            Err(error)
        }
    }
}

fn upload_of(file: &LocalFile) -> UploadFile {
    UploadFile::new(file.to_open_file(), file.size())
}

impl FileUploader<'_> {
    /// Uploads a file. Skips it and returns true if the store has the same bytes.
    async fn one(&self, planned: &PlannedFile, key: &str) -> anyhow::Result<(Uploaded, bool)> {
        if self.uploads.is_stopped() {
            return Err(UploadError::Stopped.into());
        }
        let lazy = planned.file.clone();
        let file = tokio::task::spawn_blocking(move || lazy.open_local(Wait::Yes)).await??;
        if let Some(object) = self.objects.get(key)
            && let Some(crc32) = self.unchanged_crc32(object, &file).await?
        {
            self.uploads.skip(object.size);
            let uploaded = Uploaded { etag: object.etag.clone(), crc32, size: object.size };
            self.journal.lock().add(key.to_owned(), &uploaded);
            return Ok((uploaded, true));
        }
        let media_type =
            mime_guess::from_path(&planned.name).first_raw().unwrap_or("application/octet-stream");
        let mut uploaded = self.store.upload(key, &upload_of(&file), media_type, self.uploads).await?;
        if uploaded.etag.is_none() {
            uploaded.etag = self.store.head(key).await?.etag;
        }
        self.journal.lock().add(key.to_owned(), &uploaded);
        Ok((uploaded, false))
    }

    /// Returns the CRC-32 if the object's is known and the file's is equal. Size and time alone
    /// prove nothing.
    async fn unchanged_crc32(&self, object: &Object, file: &LocalFile) -> anyhow::Result<Option<u32>> {
        if object.size != file.size() {
            return Ok(None);
        }
        let journaled = self.journal.lock().crc32(object);
        let theirs = match journaled {
            Some(crc32) => Some(crc32),
            None => self.store.crc32(object).await?,
        };
        let Some(theirs) = theirs else { return Ok(None) };
        let ours = self.uploads.crc32_of(&upload_of(file)).await?;
        Ok((ours == theirs).then_some(ours))
    }

    async fn write_journal(&self, id: &str) {
        let journal = self.journal.lock().clone();
        // Without it a later run uploads these files again.
        let _ = journal.write(self.store, id).await;
    }
}
