//! `outflow serve`: from options to a running server, and to its end.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use outflow_catalog::{PlainStore, Root, RootOptions, Store, StoreOptions, open_store};
use outflow_certs::HttpsOnly;
use outflow_ledger::{Endpoint, Ledger};
use outflow_links::LinkChecker;
use outflow_metrics::MetricRegistry;
use outflow_server::{DownloadOptions, DownloadService};
use outflow_texts::{ConsoleText, console, text};
use outflow_tunnel::server::{self as tunnel, TunnelService};
use outflow_wire::{HttpService, ListenSocket, Server};

use crate::failure::Failure;
use crate::ledger::access;
use crate::run::listen::{AddressFlags, LISTEN, ListenAddress};
use crate::run::tls::{self, Listeners, SecuredBy};
use crate::run::{folders, limits, logging, signals};
use crate::serve::endpoints::{self, WebhookArgs};
use crate::serve::options::{EventArgs, FilesArgs, ServeArgs, store_address};

/// Time for the ledger to write pending changes before the process ends.
///
/// Bound: ledger.
const LEDGER_SHUTDOWN: Duration = Duration::from_secs(10);

const METRICS: AddressFlags = AddressFlags { host: "--metrics", port: "--metrics" };

pub(crate) fn run(options: ServeArgs) -> Result<(), Failure> {
    check(&options)?;
    let _logs = logging::start(options.log)?;
    let files = &options.files;
    let metrics = MetricRegistry::of_process();
    let served = match store_address(&options.path) {
        Some(address) => Served::open(address, &options, &metrics)?,
        None => Served::Folder(open_root(
            &options.path,
            RootOptions { follow_symlinks: files.follow_symlinks, hidden: files.hidden },
        )?),
    };
    let mut tunnel = options.tunnel.is_wanted().then(|| options.tunnel.settings("--tunnel-")).transpose()?;
    if let Some(tunnel) = &mut tunnel {
        tunnel.metrics = metrics.clone();
    }
    Ok(serve(served, tunnel, options, metrics)?)
}

/// Refuses options that contradict each other, before anything is opened.
pub(crate) fn check(options: &ServeArgs) -> Result<(), Failure> {
    tls::check(&options.tls)?;
    let usage = |text: ConsoleText| Err(Failure::Usage(anyhow::anyhow!(text)));
    if options.files.plain && store_address(&options.path).is_none() {
        return usage(console!(plain_needs_store));
    }
    if options.links.require_links && options.links.link_keys.is_none() {
        return usage(console!(require_links_needs_keys));
    }
    if options.proxies.proxy_protocol && options.proxies.trusted_proxies.is_empty() {
        return usage(console!(proxy_protocol_needs_proxies));
    }
    if let Some(address) = store_address(&options.path) {
        open_store(address, &StoreOptions::default()).map_err(|error| Failure::Usage(error.into()))?;
    }
    if let Some(ledger) = options.ledger.ledger.as_deref()
        && !access::is_address(ledger)
    {
        return usage(console!(ledger_not_an_address));
    }
    receivers(options).map_err(Failure::Usage)?;
    options.channels.check().map_err(Failure::Usage)?;
    if options.tunnel.is_wanted() {
        options.tunnel.settings("--tunnel-")?;
    }
    Ok(())
}

/// The receivers of events.
fn receivers(options: &ServeArgs) -> anyhow::Result<Vec<Endpoint>> {
    let EventArgs { webhook, webhook_secret, webhook_allow_private, webhooks, on_event, .. } =
        &options.events;
    anyhow::ensure!(webhook_secret.is_empty() || !webhook.is_empty(), console!(secret_without_webhook));
    let flags = webhook
        .iter()
        .map(|url| WebhookArgs::from_flags(url.clone(), webhook_secret, *webhook_allow_private));
    endpoints::endpoints(flags.chain(webhooks.iter().cloned()).collect(), on_event.clone())
}

/// Runs a service on listeners with a number of threads until it ends.
type Run = dyn FnOnce(Server, Vec<ListenSocket>, usize) -> io::Result<()>;

/// The source of the files.
enum Served {
    Folder(Root),
    Transfers(Store),
    Plain(PlainStore),
}

impl Served {
    fn open(address: &str, options: &ServeArgs, metrics: &MetricRegistry) -> anyhow::Result<Served> {
        let with = StoreOptions {
            connections: options.store.store_connections.into(),
            segment_memory: options.store.segment_memory.bytes(),
            hedge: options.store.hedge,
            metrics: metrics.clone(),
        };
        // The error names the address without its secrets.
        let store = open_store(address, &with)?;
        let FilesArgs { plain, hidden, .. } = options.files;
        Ok(if plain { Served::Plain(PlainStore::new(store, hidden)) } else { Served::Transfers(store) })
    }

    /// Makes the service, boxed as a function: its type matters to the engine only.
    fn into_service(
        self,
        settings: &DownloadOptions,
        tunnel: Option<tunnel::TunnelSettings>,
        secured: Option<SecuredBy>,
    ) -> Box<Run> {
        match self {
            Served::Folder(root) if tunnel.is_none() && secured.is_none() => {
                let service = DownloadService::folder(root, settings).on_wire();
                Box::new(|server, listeners, threads| server.run(listeners, threads, service))
            }
            Served::Folder(root) => runs(DownloadService::folder(root, settings), tunnel, secured),
            Served::Transfers(store) => runs(DownloadService::transfers(store, settings), tunnel, secured),
            Served::Plain(prefix) => {
                runs(DownloadService::collection(Arc::new(prefix), settings), tunnel, secured)
            }
        }
    }

    /// A name for the log, without secrets.
    fn name(&self) -> String {
        match self {
            Served::Folder(root) => root.path().display().to_string(),
            Served::Transfers(store) => store.address().to_owned(),
            Served::Plain(prefix) => prefix.store().address().to_owned(),
        }
    }
}

/// Puts tunnels in front of a service, and redirects and HSTS around both.
fn runs<S>(service: S, tunnel: Option<tunnel::TunnelSettings>, secured: Option<SecuredBy>) -> Box<Run>
where
    TunnelService<S>: HttpService,
    HttpsOnly<TunnelService<S>>: HttpService,
{
    let service = TunnelService::new(service, tunnel);
    match secured {
        None => Box::new(|server, listeners, threads| server.run_erased(listeners, threads, service)),
        Some(SecuredBy { port, hsts }) => {
            let service = HttpsOnly::new(service, port, hsts);
            Box::new(|server, listeners, threads| server.run_erased(listeners, threads, service))
        }
    }
}

fn serve(
    served: Served,
    tunnel: Option<tunnel::TunnelSettings>,
    options: ServeArgs,
    metrics: MetricRegistry,
) -> anyhow::Result<()> {
    let ledger = open_ledger(&options, &metrics)?;
    let links = options.links.link_keys.as_deref().map(LinkChecker::open).transpose()?;
    let listener = options.listen.listen.open(&LISTEN)?;
    let address = listener.local_addr().context(console!(socket_has_no_address))?;
    let Listeners { all: listeners, scheme, secured, hangup } = tls::open(&options.tls, listener)?;

    let trusted_proxies: Vec<_> = options.proxies.trusted_proxies.iter().map(|net| net.0).collect();
    let proxy_protocol = if options.proxies.proxy_protocol { trusted_proxies.clone() } else { Vec::new() };
    let settings = DownloadOptions {
        cache: options.files.cache.or_else(folders::cache),
        crc_background: options.files.crc_background,
        ledger: ledger.clone(),
        links,
        require_links: options.links.require_links,
        channels: options.channels.start(&metrics)?,
        metrics: metrics.clone(),
        trusted_proxies,
        ..DownloadOptions::default()
    };
    if settings.cache.is_none() {
        tracing::warn!(
            "CRC-32s are kept in memory only: neither XDG_CACHE_HOME nor HOME is set; name a folder with --cache"
        );
    }
    let name = served.name();
    let run = served.into_service(&settings, tunnel, secured);

    let max_connections = options.limits.max_connections();
    let server = Server::new(outflow_wire::ServerOptions {
        max_connections,
        sendfile: options.files.sendfile,
        proxy_protocol,
        http2_cleartext: options.tls.http2_cleartext,
        metrics: metrics.clone(),
        ..outflow_wire::ServerOptions::default()
    });
    signals::listen(server.handle(), options.limits.drain.time(), hangup)?;
    let threads = options.limits.threads.number();

    if let Some(address) = &options.metrics {
        serve_metrics(address, metrics)?;
    }
    limits::announce_url(scheme, address);
    tracing::info!(path = name, %address, threads, max_connections, "serving");
    let ended = run(server, listeners, threads).context(console!(server_ended));
    if let Some(ledger) = ledger {
        ledger.shut_down(LEDGER_SHUTDOWN);
    }
    ended?;
    tracing::info!("stopped");
    Ok(())
}

fn serve_metrics(address: &ListenAddress, metrics: MetricRegistry) -> anyhow::Result<()> {
    let listener = address.open(&METRICS)?;
    let address = listener.local_addr().context(console!(socket_has_no_address))?;
    outflow_web::serve_metrics(listener, metrics).context(console!(cannot_start_metrics))?;
    tracing::info!(%address, "serving metrics");
    Ok(())
}

/// Opens the requested ledger, or else the one in the user's state folder if that is possible.
fn open_ledger(options: &ServeArgs, metrics: &MetricRegistry) -> anyhow::Result<Option<Ledger>> {
    let endpoints = receivers(options)?;
    let has_endpoints = !endpoints.is_empty();
    let with = outflow_ledger::LedgerOptions {
        retention: options.ledger.ledger_keep.0,
        backlog: options.ledger.ledger_backlog as usize,
        progress_events: options.events.progress_events,
        endpoints,
        min_size: options.ledger.ledger_min_size.bytes() as u64,
        server: true,
        metrics: metrics.clone(),
        ..outflow_ledger::LedgerOptions::default()
    };
    match options.ledger.ledger.as_deref() {
        Some("none") => {
            anyhow::ensure!(!has_endpoints, console!(events_need_ledger));
            Ok(None)
        }
        Some(address) => Ok(Some(Ledger::open(address, with)?)),
        None => {
            let Some(address) = access::default_address() else {
                anyhow::ensure!(!has_endpoints, console!(ledger_no_place));
                tracing::warn!(
                    "downloads are not recorded: neither XDG_STATE_HOME nor HOME is set; name a ledger with --ledger"
                );
                return Ok(None);
            };
            match Ledger::open(&address, with) {
                Ok(ledger) => Ok(Some(ledger)),
                Err(error) if has_endpoints => Err(error.into()),
                Err(error) => {
                    tracing::warn!(%error, "downloads are not recorded; name another ledger with --ledger, or none");
                    Ok(None)
                }
            }
        }
    }
}

fn open_root(path: &Path, options: RootOptions) -> anyhow::Result<Root> {
    Root::new(path, options).map_err(|error| {
        let advice = match error.kind() {
            io::ErrorKind::NotFound => text!(advice_nothing_there),
            io::ErrorKind::PermissionDenied => text!(advice_may_not_read),
            io::ErrorKind::InvalidInput => text!(advice_folder_or_file),
            _ => text!(advice_check_path),
        };
        anyhow::anyhow!(console!(cannot_serve, path = %path.display(), %error, advice))
    })
}
