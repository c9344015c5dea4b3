//! `outflow file`: one content from memory, as kcup serves it.
//!
//! ```text
//! options   flags and environment, with kcup's names
//! input     files and standard input -> bytes in memory
//! reload    the thread that compresses the content and reads it again
//! watch     file changes (inotify)
//! ```

mod input;
mod options;
mod reload;
mod watch;

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use outflow_certs::CertificateFiles;
use outflow_single::{ContentDescription, Representations, SingleService};
use outflow_texts::console;
use outflow_wire::{ListenSocket, Server, Tls, TlsOptions};

use self::input::{Input, Inputs, is_stdin};
use self::reload::{ReloadReason, ReloadSignal};
use self::watch::FileWatch;
use crate::failure::Failure;
use crate::run::listen::{AddressFlags, ListenAddress};
use crate::run::{limits, logging, signals};

pub(crate) use self::options::FileArgs;

const FLAGS: AddressFlags = AddressFlags { host: "--host", port: "--port" };

pub(crate) fn run(options: FileArgs) -> Result<(), Failure> {
    let _logs = logging::start(options.log)?;
    options.tls.check()?;
    let inputs = Inputs {
        files: options.files(),
        timeout: options.content.stdin_timeout.limit(),
        max_size: options.content.max_size.bytes() as u64,
    };
    if inputs.files.iter().filter(|path| is_stdin(path)).count() > 1 {
        return Err(Failure::Usage(anyhow::anyhow!(console!(stdin_once))));
    }
    if options.content.watch && inputs.has_stdin() {
        return Err(Failure::Usage(anyhow::anyhow!(console!(watch_needs_files))));
    }
    Ok(serve(&options, inputs)?)
}

fn serve(options: &FileArgs, inputs: Inputs) -> anyhow::Result<()> {
    // Watch before reading, so that no change is missed in between.
    let watch = options.content.watch.then(|| FileWatch::new(&inputs.files)).transpose()?;
    let Input { sealed, modified } = inputs.read()?;
    let about = ContentDescription {
        media_type: media_type(options, &inputs),
        cache_control: options.content.cache_control.clone(),
        modified: None,
    };
    let offer =
        Representations::new(sealed, &ContentDescription { modified: Some(modified), ..about.clone() });
    let (bytes, etag) = (offer.len(), reload::shown(&offer));
    let service = SingleService::new(offer, options.content.path.as_deref());

    // Listen last, so that no client waits for standard input.
    let listener = ListenAddress::of(&options.host, options.port).open(&FLAGS)?;
    let address = listener.local_addr().context(console!(socket_has_no_address))?;
    let files = options.tls.open()?;
    let (listener, scheme) = match &files {
        Some(files) => {
            let tls = Tls::new(Arc::<CertificateFiles>::clone(files), &TlsOptions::default());
            (ListenSocket::with_tls(listener, Arc::new(tls.context(console!(cannot_set_up_tls))?)), "https")
        }
        None => (listener.into(), "http"),
    };
    let max_connections = options.limits.max_connections();
    let server = Server::new(outflow_wire::ServerOptions {
        max_connections,
        ..outflow_wire::ServerOptions::default()
    });
    let signal = Arc::<ReloadSignal>::default();
    let on_hangup = Arc::clone(&signal);
    let hangup = Box::new(move || {
        on_hangup.request(ReloadReason::Hangup);
        if let Some(files) = &files {
            // `reload` logs its errors.
            let _ = files.reload();
        }
    });
    signals::listen(server.handle(), options.limits.drain.time(), Some(hangup))?;
    let threads = options.limits.threads.number();

    limits::announce_url(scheme, address);
    tracing::info!(file = inputs.names(), bytes, etag, media_type = ?about.media_type, %address, threads, "serving");
    if let Some(watch) = watch {
        watch.start(Arc::clone(&signal))?;
    }
    reload::start(service.clone(), inputs, about, signal)?;
    server.run([listener], threads, service.on_wire()).context(console!(server_ended))?;
    tracing::info!("stopped");
    Ok(())
}

/// The requested media type, or else that of the last file's name or of --path.
fn media_type(options: &FileArgs, inputs: &Inputs) -> http::HeaderValue {
    let named = || {
        inputs
            .files
            .iter()
            .filter(|path| !is_stdin(path))
            .rev()
            .find_map(|path| ContentDescription::media_type_of(path))
    };
    let at = || {
        options.content.path.as_deref().and_then(|path| ContentDescription::media_type_of(Path::new(path)))
    };
    options
        .content
        .content_type
        .clone()
        .or_else(named)
        .or_else(at)
        .unwrap_or(ContentDescription::default().media_type)
}
