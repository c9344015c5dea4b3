//! The thread behind the server: compresses the content, and reads it again when somebody asks for that.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

use anyhow::Context as _;
use outflow_server::single::{About, Offer, SingleService};

use super::input::{Input, Inputs};

/// Niceness while compressing: whoever serves goes first.
const NICE: i32 = 10;

/// Rung when the files are to be read again.
#[derive(Default)]
pub(crate) struct Bell {
    rung: Mutex<Option<Why>>,
    heard: Condvar,
}

/// Who rang.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// A file was changed.
    Changed,
    /// SIGHUP.
    Asked,
}

impl Bell {
    pub(crate) fn ring(&self, why: Why) {
        *self.rung.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
        self.heard.notify_one();
    }

    fn is_rung(&self) -> bool {
        self.rung.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Waits until it rings. Rung several times before, it has rung once.
    fn wait(&self) -> Why {
        let mut rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match rung.take() {
                Some(why) => return why,
                None => rung = self.heard.wait(rung).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}

/// Starts the thread. It ends with the process.
pub(crate) fn start(
    service: SingleService,
    inputs: Inputs,
    about: About,
    bell: Arc<Bell>,
) -> anyhow::Result<()> {
    let work = move || {
        let this = rustix::thread::gettid();
        // Not being allowed to is no harm (getpriority(2): on Linux it concerns one thread).
        let _ = rustix::process::setpriority_process(Some(this), NICE);
        loop {
            compress(&service, &bell);
            let why = bell.wait();
            reload(&service, &inputs, &about, why);
        }
    };
    std::thread::Builder::new()
        .name("content".to_owned())
        .spawn(work)
        .context("no thread to read the content again")?;
    Ok(())
}

/// Adds compressed forms to what is served, unless that is to be read again anyway.
fn compress(service: &SingleService, bell: &Bell) {
    let current = service.current();
    match current.compressed(&|| !bell.is_rung()) {
        Ok(Some(offer)) => {
            let forms: Vec<String> = offer.codings().map(|(name, len)| format!("{name} {len}")).collect();
            let (etag, forms) = (shown(&offer), forms.join(", "));
            service.replace(offer);
            tracing::info!(etag, forms, "compressed forms are offered, too");
        }
        Ok(None) => {}
        Err(error) => {
            tracing::warn!(%error, "the content cannot be compressed; it is served as it is");
        }
    }
}

/// Replaces what is served by what the files have in them now; what cannot be read replaces nothing.
fn reload(service: &SingleService, inputs: &Inputs, about: &About, why: Why) {
    if inputs.has_stdin() {
        tracing::warn!("standard input cannot be read again: the content stays as it is; files can be");
        return;
    }
    match inputs.read() {
        Ok(Input { sealed, modified }) => {
            let offer = Offer::new(sealed, &About { modified: Some(modified), ..about.clone() });
            if offer.etag() == service.current().etag() {
                tracing::info!(etag = shown(&offer), ?why, "read again: the content is the same");
                return;
            }
            let (etag, bytes) = (shown(&offer), offer.len());
            service.replace(offer);
            tracing::info!(etag, bytes, ?why, "read again: the content is replaced");
        }
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "cannot be read again: the content stays as it is");
        }
    }
}

pub(crate) fn shown(offer: &Offer) -> String {
    offer.etag().to_str().unwrap_or_default().to_owned()
}
