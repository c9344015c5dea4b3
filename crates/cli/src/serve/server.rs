//! `outflow serve`: from options to a running server, and to its end.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use outflow_catalog::{PlainStore, Root, RootOptions, Store, StoreOptions, open_store};
use outflow_certs::HttpsOnly;
use outflow_ledger::Ledger;
use outflow_links::LinkChecker;
use outflow_metrics::MetricRegistry;
use outflow_server::{DownloadOptions, DownloadService};
use outflow_tunnel::server::{self as tunnel, TunnelService};
use outflow_wire::{HttpService, ListenSocket, Server};

use crate::args::size::SizeArg;
use crate::failure::Failure;
use crate::ledger::access;
use crate::run::listen::{AddressFlags, LISTEN, ListenAddress};
use crate::run::logging::{LogFormat, LogLevel};
use crate::run::tls::{self, Listeners, SecuredBy};
use crate::run::{folders, limits, logging, signals};
use crate::serve::endpoints::{self, WebhookArgs};
use crate::serve::options::{ServeArgs, store_address};
use crate::tunnel::settings::TunnelArgs;

/// Time for the ledger to write pending changes before the process ends.
///
/// Bound: ledger.
const LEDGER_SHUTDOWN: Duration = Duration::from_secs(10);

const METRICS: AddressFlags = AddressFlags { host: "--metrics", port: "--metrics" };

pub(crate) fn run(options: ServeArgs) -> Result<(), Failure> {
    let options = options.with_config()?;
    tls::check(&options.tls())?;
    let _logs = logging::start(
        options.log_level.unwrap_or(LogLevel::Info),
        options.log_format.unwrap_or(LogFormat::Text),
    );
    let path = options.path.clone().unwrap_or_else(|| PathBuf::from("."));
    let plain = options.plain.unwrap_or(false);
    if plain && store_address(&path).is_none() {
        let what = "--plain needs a store, such as s3://bucket/prefix; files of a local path are always served as they are";
        return Err(Failure::Usage(anyhow::anyhow!(what)));
    }
    let metrics = MetricRegistry::of_process();
    let served = match store_address(&path) {
        Some(address) => Served::open(address, plain, &options, &metrics)?,
        None => Served::Folder(open_root(
            &path,
            RootOptions {
                follow_symlinks: options.follow_symlinks.unwrap_or(false),
                hidden: options.hidden.unwrap_or(false),
            },
        )?),
    };
    let mut tunnel = options.tunnel.as_ref().map(TunnelArgs::settings).transpose()?;
    if let Some(tunnel) = &mut tunnel {
        tunnel.metrics = metrics.clone();
    }
    Ok(serve(served, tunnel, options, metrics)?)
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
    fn open(
        address: &str,
        plain: bool,
        options: &ServeArgs,
        metrics: &MetricRegistry,
    ) -> anyhow::Result<Served> {
        let default = StoreOptions::default();
        let store = StoreOptions {
            connections: options.store_connections.map_or(default.connections, usize::from),
            segment_memory: options.segment_memory.map_or(default.segment_memory, SizeArg::bytes),
            hedge: options.hedge.unwrap_or(default.hedge),
            metrics: metrics.clone(),
        };
        // The error names the address without its secrets.
        let store = open_store(address, &store)?;
        let hidden = options.hidden.unwrap_or(false);
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
        None => Box::new(|server, listeners, threads| server.run(listeners, threads, service)),
        Some(SecuredBy { port, hsts }) => {
            let service = HttpsOnly::new(service, port, hsts);
            Box::new(|server, listeners, threads| server.run(listeners, threads, service))
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
    let links = match &options.link_keys {
        Some(path) => Some(LinkChecker::open(path)?),
        None => None,
    };
    anyhow::ensure!(
        links.is_some() || !options.require_links.unwrap_or(false),
        "--require-links needs --link-keys: name the file with the keys; `outflow link-key` makes a key"
    );
    let listener = options.listen.clone().unwrap_or_default().open(&LISTEN)?;
    let address = listener.local_addr().context("the listening socket has no address")?;
    let Listeners { all: listeners, scheme, secured, hangup } = tls::open(&options.tls(), listener)?;

    let mut settings =
        DownloadOptions { cache: options.cache.or_else(folders::cache), ..DownloadOptions::default() };
    settings.crc_background = options.crc_background.unwrap_or(settings.crc_background);
    if settings.cache.is_none() {
        tracing::warn!(
            "CRC-32s are kept in memory only: neither XDG_CACHE_HOME nor HOME is set; name a folder with --cache"
        );
    }
    settings.ledger.clone_from(&ledger);
    settings.links = links;
    settings.require_links = options.require_links.unwrap_or(false);
    settings.channels = options.channels.start(&metrics)?;
    settings.metrics = metrics.clone();
    settings.trusted_proxies = options.trusted_proxies.iter().map(|net| net.0).collect();
    let proxy_protocol =
        if options.proxy_protocol.unwrap_or(false) { settings.trusted_proxies.clone() } else { Vec::new() };
    let name = served.name();
    let run = served.into_service(&settings, tunnel, secured);

    let max_connections = limits::max_connections(options.max_connections);
    let sendfile = options.sendfile.unwrap_or(true);
    let server = Server::new(outflow_wire::ServerOptions {
        max_connections,
        sendfile,
        proxy_protocol,
        http2_cleartext: options.http2_cleartext.unwrap_or(false),
        metrics: metrics.clone(),
        ..outflow_wire::ServerOptions::default()
    });
    let drain = Duration::from_secs(options.drain.unwrap_or(limits::DEFAULT_DRAIN).into());
    signals::listen(server.handle(), drain, hangup)?;
    let threads = limits::threads(options.threads);

    if let Some(address) = &options.metrics {
        serve_metrics(address, metrics)?;
    }
    limits::announce_url(scheme, address);
    tracing::info!(path = name, %address, threads, max_connections, "serving");
    let ended = run(server, listeners, threads).context("the server ended");
    if let Some(ledger) = ledger {
        ledger.shut_down(LEDGER_SHUTDOWN);
    }
    ended?;
    tracing::info!("stopped");
    Ok(())
}

fn serve_metrics(address: &ListenAddress, metrics: MetricRegistry) -> anyhow::Result<()> {
    let listener = address.open(&METRICS)?;
    let address = listener.local_addr().context("the listening socket has no address")?;
    outflow_web::serve_metrics(listener, metrics).context("cannot start the thread that serves metrics")?;
    tracing::info!(%address, "serving metrics");
    Ok(())
}

/// Opens the requested ledger, or else the one in the user's state folder if that is possible.
fn open_ledger(options: &ServeArgs, metrics: &MetricRegistry) -> anyhow::Result<Option<Ledger>> {
    let flags = options.webhook.iter().map(|url| {
        let allow_private = options.webhook_allow_private.unwrap_or(false);
        WebhookArgs::from_flags(url.clone(), options.webhook_secret.clone(), allow_private)
    });
    let endpoints =
        endpoints::endpoints(flags.chain(options.webhooks.clone()).collect(), options.on_event.clone())?;
    let keep = options.ledger_keep.map(|keep| keep.0);
    let default = outflow_ledger::LedgerOptions::default();
    let has_endpoints = !endpoints.is_empty();
    let with = outflow_ledger::LedgerOptions {
        retention: keep.unwrap_or(default.retention),
        backlog: options.ledger_backlog.map_or(default.backlog, |backlog| backlog as usize),
        progress_events: options.progress_events.unwrap_or(false),
        endpoints,
        server: true,
        metrics: metrics.clone(),
        ..default
    };
    match options.ledger.as_deref() {
        Some("none") => {
            anyhow::ensure!(
                !has_endpoints,
                "events need a ledger: leave out --ledger none, or --webhook and --on-event"
            );
            Ok(None)
        }
        Some(address) => Ok(Some(Ledger::open(address, with)?)),
        None => {
            let Some(address) = access::default_address() else {
                anyhow::ensure!(
                    !has_endpoints,
                    "no place for the ledger: neither XDG_STATE_HOME nor HOME is set; name one with --ledger"
                );
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
        let what_to_do = match error.kind() {
            io::ErrorKind::NotFound => "no such folder or file; check the path",
            io::ErrorKind::PermissionDenied => {
                "this user may not read it; change its permissions, or run as a user who may"
            }
            io::ErrorKind::InvalidInput => "name a folder or a regular file",
            _ => "check the path",
        };
        anyhow::anyhow!("cannot serve {}: {error}: {what_to_do}", path.display())
    })
}
