//! The thread that compresses the content, and reads it again on request.

use std::sync::Arc;

use anyhow::Context as _;
use outflow_single::{ContentDescription, Representations, SingleService};
use outflow_texts::console;
use parking_lot::{Condvar, Mutex};

use super::input::{Input, Inputs};

/// Niceness of the thread: serving threads go first.
const NICE: i32 = 10;

/// Requests that the files be read again. Several requests before the next read count as one.
#[derive(Default)]
pub(crate) struct ReloadSignal {
    pending: Mutex<Option<ReloadReason>>,
    requested: Condvar,
}

/// Why the files are read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReloadReason {
    /// A file was changed.
    Changed,
    /// SIGHUP.
    Hangup,
}

impl ReloadSignal {
    pub(crate) fn request(&self, reason: ReloadReason) {
        *self.pending.lock() = Some(reason);
        self.requested.notify_one();
    }

    fn is_pending(&self) -> bool {
        self.pending.lock().is_some()
    }

    /// Waits for a request and takes it.
    fn wait(&self) -> ReloadReason {
        let mut pending = self.pending.lock();
        loop {
            match pending.take() {
                Some(reason) => return reason,
                None => self.requested.wait(&mut pending),
            }
        }
    }
}

/// Starts the thread. It ends with the process.
pub(crate) fn start(
    service: SingleService,
    inputs: Inputs,
    about: ContentDescription,
    signal: Arc<ReloadSignal>,
) -> anyhow::Result<()> {
    let work = move || {
        let this = rustix::thread::gettid();
        // Applies to this thread only (getpriority(2), "C library/kernel differences"); failure is
        // harmless.
        let _ = rustix::process::setpriority_process(Some(this), NICE);
        loop {
            compress(&service, &signal);
            let reason = signal.wait();
            reload(&service, &inputs, &about, reason);
        }
    };
    std::thread::Builder::new()
        .name("content".to_owned())
        .spawn(work)
        .context(console!(cannot_start_reload))?;
    Ok(())
}

/// Adds compressed forms to the content, unless a request to read it again comes in between.
fn compress(service: &SingleService, signal: &ReloadSignal) {
    let current = service.current();
    match current.compressed(&|| !signal.is_pending()) {
        Ok(Some(offer)) => {
            let forms: Vec<String> = offer.codings().map(|(name, len)| format!("{name} {len}")).collect();
            let (etag, forms) = (shown(&offer), forms.join(", "));
            service.replace(offer);
            tracing::info!(etag, forms, "compressed forms are ready");
        }
        Ok(None) => {}
        Err(error) => {
            tracing::warn!(%error, "cannot compress the content; serving it uncompressed");
        }
    }
}

/// Replaces the content by what the files hold now, or keeps it when they cannot be read.
fn reload(service: &SingleService, inputs: &Inputs, about: &ContentDescription, reason: ReloadReason) {
    if inputs.has_stdin() {
        tracing::warn!(
            "cannot reload standard input; the content stays the same. Only files can be reloaded"
        );
        return;
    }
    match inputs.read() {
        Ok(Input { sealed, modified }) => {
            let offer = Representations::new(
                sealed,
                &ContentDescription { modified: Some(modified), ..about.clone() },
            );
            if offer.etag() == service.current().etag() {
                tracing::info!(etag = shown(&offer), ?reason, "reloaded: the content is the same");
                return;
            }
            let (etag, bytes) = (shown(&offer), offer.len());
            service.replace(offer);
            tracing::info!(etag, bytes, ?reason, "reloaded: the content is new");
        }
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "cannot reload; the content stays the same");
        }
    }
}

pub(crate) fn shown(offer: &Representations) -> String {
    offer.etag().to_str().unwrap_or_default().to_owned()
}
