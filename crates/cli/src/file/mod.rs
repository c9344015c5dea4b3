//! `outflow file`: one content from memory, as kcup serves it.
//!
//! ```text
//! options   what it can be told, with kcup's names
//! input     files and standard input -> bytes in memory
//! reload    compresses them, and reads them again
//! watch     notices that a file was changed
//! ```

mod input;
mod options;
mod reload;
mod watch;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use outflow_certs::{CertificateFiles, CertificatePaths};
use outflow_server::single::{About, Offer, SingleService};
use outflow_wire::{Listener, Server, Tls, TlsOptions};

use self::input::{Input, Inputs, is_stdin};
use self::reload::{Bell, Why};
use self::watch::Watch;
use crate::run::listen::{Flags, Listen};
use crate::{Failure, run::limits as running, run::logging, run::signals};

pub(crate) use self::options::Options;

/// Those that choose the address, for messages.
const FLAGS: Flags = Flags { host: "--host", port: "--port" };

pub(crate) fn run(options: Options) -> Result<(), Failure> {
    let _logs = logging::start(options.log_level, options.log_format);
    let tls = options.tls()?;
    let inputs = Inputs {
        files: options.files(),
        timeout: options.stdin_timeout(),
        largest: options.max_size.bytes() as u64,
    };
    if inputs.files.iter().filter(|path| is_stdin(path)).count() > 1 {
        return Err(Failure::Usage(anyhow::anyhow!("standard input ends only once: name - once")));
    }
    if options.watch && inputs.has_stdin() {
        return Err(Failure::Usage(anyhow::anyhow!(
            "--watch is for files: standard input cannot be read again; name a file"
        )));
    }
    Ok(serve(&options, tls, inputs)?)
}

fn serve(options: &Options, tls: Option<CertificatePaths>, inputs: Inputs) -> anyhow::Result<()> {
    // Watched before they are read, so that no change falls between the two.
    let watch = options.watch.then(|| Watch::new(&inputs.files)).transpose()?;
    let Input { sealed, modified } = inputs.read()?;
    let about = About {
        media_type: media_type(options, &inputs),
        cache_control: options.cache_control.clone(),
        modified: None,
    };
    let offer = Offer::new(sealed, &About { modified: Some(modified), ..about.clone() });
    let (bytes, etag) = (offer.len(), reload::shown(&offer));
    let service = SingleService::new(offer, options.path.as_deref());

    // Last, so that nobody can connect who would have to wait for standard input.
    let listener = Listen::of(&options.host, options.port).open(&FLAGS)?;
    let address = listener.local_addr().context("the listening socket has no address")?;
    let files = tls.map(open_files).transpose()?;
    let (listener, scheme) = match &files {
        Some(files) => {
            let tls = Tls::new(Arc::<CertificateFiles>::clone(files), &TlsOptions::default());
            (Listener::with_tls(listener, Arc::new(tls.context("TLS cannot be set up")?)), "https")
        }
        None => (listener.into(), "http"),
    };
    let max_connections = running::max_connections(options.max_connections);
    let server = Server::new(outflow_wire::Options { max_connections, ..outflow_wire::Options::default() });
    let bell = Arc::<Bell>::default();
    let ringer = Arc::clone(&bell);
    let hangup = Box::new(move || {
        ringer.ring(Why::Asked);
        if let Some(files) = &files {
            // What is wrong is in the log.
            let _ = files.reload();
        }
    });
    signals::listen(server.handle(), Duration::from_secs(options.drain.into()), Some(hangup))?;
    let threads = running::threads(options.threads);

    running::announce(scheme, address);
    tracing::info!(file = inputs.names(), bytes, etag, media_type = ?about.media_type, %address, threads, "serving");
    if let Some(watch) = watch {
        watch.start(Arc::clone(&bell))?;
    }
    reload::start(service.clone(), inputs, about, bell)?;
    server.run([listener], threads, service.on_wire()).context("the server ended")?;
    tracing::info!("stopped");
    Ok(())
}

/// Certificate and key, looked after from here on.
fn open_files(pair: CertificatePaths) -> anyhow::Result<Arc<CertificateFiles>> {
    let files = CertificateFiles::open_all(vec![pair])?;
    files.watch().context("no thread to look after certificates")?;
    Ok(files)
}

/// The type that is asked for; else what the last file's name says, or that of the address.
fn media_type(options: &Options, inputs: &Inputs) -> http::HeaderValue {
    let named =
        || inputs.files.iter().filter(|path| !is_stdin(path)).rev().find_map(|path| About::type_of(path));
    let at = || options.path.as_deref().and_then(|path| About::type_of(Path::new(path)));
    options.content_type.clone().or_else(named).or_else(at).unwrap_or(About::default().media_type)
}
