//! Sending what is not there already.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use futures_util::StreamExt as _;
use outflow_catalog::{LocalFile, Manifest, ManifestFile, Object, Store, UploadError, Uploaded, Uploads};
use outflow_content::Wait;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, interval_at};

use super::note::Note;
use super::plan::Planned;
use super::show::Show;

/// How often the note is written anew.
const NOTE_EVERY: Duration = Duration::from_secs(20);
const SHOW_EVERY: Duration = Duration::from_millis(200);

/// What an earlier run left.
#[derive(Default)]
pub(crate) struct Before {
    /// By key below the store.
    pub(crate) objects: HashMap<String, Object>,
    pub(crate) note: Note,
}

/// What is in the store now.
pub(crate) struct Sent {
    pub(crate) files: Vec<ManifestFile>,
    pub(crate) uploaded: usize,
    pub(crate) skipped: usize,
}

struct Sender<'a> {
    store: &'a Store,
    uploads: &'a Arc<Uploads>,
    objects: HashMap<String, Object>,
    note: Mutex<Note>,
}

/// Sends `planned`, which `manifest` lists in the same order. The first failure ends it, when all that is under way
/// has been taken back.
pub(crate) async fn send(
    store: &Store,
    uploads: &Arc<Uploads>,
    manifest: &Manifest,
    planned: &[Planned],
    before: Before,
    show: &Show,
) -> anyhow::Result<Sent> {
    let sender = Sender { store, uploads, objects: before.objects, note: Mutex::new(before.note) };
    let mut sent = Sent { files: manifest.files.clone(), uploaded: 0, skipped: 0 };
    let mut failed = None;
    let listed = planned.iter().zip(&manifest.files).enumerate();
    let all = futures_util::stream::iter(listed).map(|(index, (planned, listed))| {
        let sender = &sender;
        let key = manifest.object_key(listed);
        async move {
            let done = sender.one(planned, &key).await;
            (index, done.with_context(|| format!("cannot publish {:?}", planned.name)))
        }
    });
    let mut all = all.buffer_unordered(uploads.parallel());
    let mut ticks = interval_at(Instant::now() + SHOW_EVERY, SHOW_EVERY);
    let mut notes = interval_at(Instant::now() + NOTE_EVERY, NOTE_EVERY);
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for signals")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for signals")?;
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
                show.at(uploads.sent());
                None
            }
            _ = notes.tick() => {
                sender.write_note(&manifest.id).await;
                None
            }
            _ = interrupt.recv() => Some(anyhow::anyhow!("it was interrupted")),
            _ = terminate.recv() => Some(anyhow::anyhow!("it was told to stop")),
        };
        if let Some(error) = stopped {
            if failed.is_some() && error.downcast_ref::<UploadError>().is_none() && error.source().is_none() {
                // Told twice: at once, whatever stays behind.
                break;
            }
            // What was cut short by the first failure is none of its own.
            failed.get_or_insert(error);
            uploads.stop();
        }
    }
    drop(all);
    show.at(uploads.sent());
    match failed {
        None => Ok(sent),
        Some(error) => {
            sender.write_note(&manifest.id).await;
            Err(error)
        }
    }
}

impl Sender<'_> {
    /// Uploads a file, unless the very same bytes are there: then true.
    async fn one(&self, planned: &Planned, key: &str) -> anyhow::Result<(Uploaded, bool)> {
        if self.uploads.is_stopped() {
            return Err(UploadError::Stopped.into());
        }
        let lazy = planned.file.clone();
        let file = tokio::task::spawn_blocking(move || lazy.open_local(Wait::Yes)).await??;
        if let Some(object) = self.objects.get(key)
            && let Some(crc32) = self.is_there(object, &file).await?
        {
            self.uploads.skip(object.size);
            let uploaded = Uploaded { etag: object.etag.clone(), crc32, size: object.size };
            self.lock().add(key.to_owned(), &uploaded);
            return Ok((uploaded, true));
        }
        let media_type =
            mime_guess::from_path(&planned.name).first_raw().unwrap_or("application/octet-stream");
        let mut uploaded = self.store.upload(key, &file, media_type, self.uploads).await?;
        if uploaded.etag.is_none() {
            uploaded.etag = self.store.head(key).await?.etag;
        }
        self.lock().add(key.to_owned(), &uploaded);
        Ok((uploaded, false))
    }

    /// The CRC-32, if the object's is known and the file's is the same. Size and time alone say too little.
    async fn is_there(&self, object: &Object, file: &LocalFile) -> anyhow::Result<Option<u32>> {
        if object.size != file.size() {
            return Ok(None);
        }
        let noted = self.lock().crc32(object);
        let theirs = match noted {
            Some(crc32) => Some(crc32),
            None => self.store.crc32(object).await?,
        };
        let Some(theirs) = theirs else { return Ok(None) };
        let ours = self.uploads.crc32_of(file).await?;
        Ok((ours == theirs).then_some(ours))
    }

    async fn write_note(&self, id: &str) {
        let note = self.lock().clone();
        // Without it the next run sends more than it would have to.
        let _ = note.write(self.store, id).await;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Note> {
        self.note.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
