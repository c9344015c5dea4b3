//! `outflow serve`: from options to a running server, and to its end.

pub(crate) mod channels;
pub(crate) mod options;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use outflow_catalog::{Prefix, Root, RootOptions, Store, StoreOptions};
use outflow_certs::HttpsOnly;
use outflow_ledger::Ledger;
use outflow_server::link::Links;
use outflow_server::{FolderService, Settings, StoreService};
use outflow_tunnel::server::{self as tunnel, TunnelService};
use outflow_wire::{HttpService, Listener, Server};

use crate::Failure;
use crate::args::size::Size;
use crate::ledger::{self, Webhook};
use crate::run::listen::LISTEN;
use crate::run::tls::{self, Behind, Listeners};
use crate::serve::options::{LogFormat, LogLevel, Options, store_address};
use crate::tunnel::TunnelOptions;
use crate::{run::limits as running, run::logging, run::signals};

/// How long the ledger has, at the end, to write what waits.
const LEDGER_ENDS: Duration = Duration::from_secs(10);

pub(crate) fn run(options: Options) -> Result<(), Failure> {
    let options = options.with_config()?;
    tls::check(&options)?;
    let _logs = logging::start(
        options.log_level.unwrap_or(LogLevel::Info),
        options.log_format.unwrap_or(LogFormat::Text),
    );
    let path = options.path.clone().unwrap_or_else(|| PathBuf::from("."));
    let plain = options.plain.unwrap_or(false);
    if plain && store_address(&path).is_none() {
        let what =
            "--plain is for stores, such as s3://bucket/prefix: a local path is served as it is anyway";
        return Err(Failure::Usage(anyhow::anyhow!(what)));
    }
    let served = match store_address(&path) {
        Some(address) => Served::open(address, plain, &options)?,
        None => Served::Folder(open_root(
            &path,
            RootOptions {
                follow_symlinks: options.follow_symlinks.unwrap_or(false),
                hidden: options.hidden.unwrap_or(false),
            },
        )?),
    };
    let tunnel = options.tunnel.as_ref().map(TunnelOptions::settings).transpose()?;
    Ok(serve(served, tunnel, options)?)
}

/// Runs a service on listeners with that many threads, to its end.
type Run = dyn FnOnce(Server, Vec<Listener>, usize) -> io::Result<()>;

/// What is served.
enum Served {
    Folder(Root),
    Transfers(Store),
    Plain(Prefix),
}

impl Served {
    fn open(address: &str, plain: bool, options: &Options) -> anyhow::Result<Served> {
        let default = StoreOptions::default();
        let store = StoreOptions {
            connections: options.store_connections.map_or(default.connections, usize::from),
            segment_memory: options.segment_memory.map_or(default.segment_memory, Size::bytes),
            hedge: options.hedge.unwrap_or(default.hedge),
        };
        // The error names the address, less what is secret in it.
        let store = Store::open(address, &store)?;
        let hidden = options.hidden.unwrap_or(false);
        Ok(if plain { Served::Plain(Prefix::new(store, hidden)) } else { Served::Transfers(store) })
    }

    /// Makes the service that serves it. What that is called matters to the engine only.
    fn into_service(
        self,
        settings: &Settings,
        tunnel: Option<tunnel::Settings>,
        behind: Option<Behind>,
    ) -> Box<Run> {
        match self {
            Served::Folder(root) => runs(FolderService::new(root, settings), tunnel, behind),
            Served::Transfers(store) => runs(StoreService::new(store, settings), tunnel, behind),
            Served::Plain(prefix) => runs(FolderService::of(Arc::new(prefix), settings), tunnel, behind),
        }
    }

    /// For the log; nothing secret is in it.
    fn name(&self) -> String {
        match self {
            Served::Folder(root) => root.path().display().to_string(),
            Served::Transfers(store) => store.address().to_owned(),
            Served::Plain(prefix) => prefix.store().address().to_owned(),
        }
    }
}

/// With tunnels in front of it, if there are to be any, and what TLS needs around all that, if it is spoken.
fn runs<S>(service: S, tunnel: Option<tunnel::Settings>, behind: Option<Behind>) -> Box<Run>
where
    TunnelService<S>: HttpService,
    HttpsOnly<TunnelService<S>>: HttpService,
{
    let service = TunnelService::new(service, tunnel);
    match behind {
        None => Box::new(|server, listeners, threads| server.run(listeners, threads, service)),
        Some(Behind { port, hsts }) => {
            let service = HttpsOnly::new(service, port, hsts);
            Box::new(|server, listeners, threads| server.run(listeners, threads, service))
        }
    }
}

fn serve(served: Served, tunnel: Option<tunnel::Settings>, options: Options) -> anyhow::Result<()> {
    let ledger = open_ledger(&options)?;
    let links = match &options.link_keys {
        Some(path) => Some(Links::open(path)?),
        None => None,
    };
    anyhow::ensure!(
        links.is_some() || !options.require_links.unwrap_or(false),
        "--require-links without --link-keys lets nobody in: name the file of the keys; `outflow link-key` makes one"
    );
    let listener = options.listen.clone().unwrap_or_default().open(&LISTEN)?;
    let address = listener.local_addr().context("the listening socket has no address")?;
    let Listeners { all: listeners, scheme, behind, hangup } = tls::open(&options, listener)?;

    let mut settings = Settings { cache: options.cache.or_else(default_cache), ..Settings::default() };
    settings.crc_background = options.crc_background.unwrap_or(settings.crc_background);
    if settings.cache.is_none() {
        tracing::warn!(
            "CRC-32s are kept in memory only: neither XDG_CACHE_HOME nor HOME says where; --cache does"
        );
    }
    settings.ledger.clone_from(&ledger);
    settings.links = links;
    settings.require_links = options.require_links.unwrap_or(false);
    settings.channels = options.channels.start()?;
    settings.trusted_proxies = options.trusted_proxies.iter().map(|net| net.0).collect();
    let proxy_protocol =
        if options.proxy_protocol.unwrap_or(false) { settings.trusted_proxies.clone() } else { Vec::new() };
    let name = served.name();
    let run = served.into_service(&settings, tunnel, behind);

    let max_connections = running::max_connections(options.max_connections);
    let sendfile = options.sendfile.unwrap_or(true);
    let server = Server::new(outflow_wire::Options {
        max_connections,
        sendfile,
        proxy_protocol,
        http2_cleartext: options.http2_cleartext.unwrap_or(false),
        ..outflow_wire::Options::default()
    });
    let drain = Duration::from_secs(options.drain.unwrap_or(running::DRAIN).into());
    signals::listen(server.handle(), drain, hangup)?;
    let threads = running::threads(options.threads);

    running::announce(scheme, address);
    tracing::info!(path = name, %address, threads, max_connections, "serving");
    let ended = run(server, listeners, threads).context("the server ended");
    if let Some(ledger) = ledger {
        ledger.shut_down(LEDGER_ENDS);
    }
    ended?;
    tracing::info!("stopped");
    Ok(())
}

/// Opens the ledger that is asked for. Without being asked, one in the user's state folder, if that can be.
fn open_ledger(options: &Options) -> anyhow::Result<Option<Ledger>> {
    let flags = options.webhook.iter().map(|url| {
        let allow_private = options.webhook_allow_private.unwrap_or(false);
        Webhook::of(url.clone(), options.webhook_secret.clone(), allow_private)
    });
    let endpoints =
        ledger::endpoints(flags.chain(options.webhooks.clone()).collect(), options.on_event.clone())?;
    let keep = options.ledger_keep.map(|keep| keep.0);
    let default = outflow_ledger::Options::default();
    let told = !endpoints.is_empty();
    let with = outflow_ledger::Options {
        keep: keep.unwrap_or(default.keep),
        backlog: options.ledger_backlog.map_or(default.backlog, |backlog| backlog as usize),
        progress: options.progress_events.unwrap_or(false),
        endpoints,
        tell: true,
        ..default
    };
    match options.ledger.as_deref() {
        Some("none") => {
            anyhow::ensure!(
                !told,
                "without a ledger nobody can be told of events: leave out --ledger none, or --webhook and --on-event"
            );
            Ok(None)
        }
        Some(address) => Ok(Some(Ledger::open(address, with)?)),
        None => {
            let Some(address) = ledger::default_address() else {
                anyhow::ensure!(
                    !told,
                    "neither XDG_STATE_HOME nor HOME says where the ledger is; --ledger does"
                );
                tracing::warn!(
                    "downloads are not noted: neither XDG_STATE_HOME nor HOME says where; --ledger does"
                );
                return Ok(None);
            };
            match Ledger::open(&address, with) {
                Ok(ledger) => Ok(Some(ledger)),
                Err(error) if told => Err(error.into()),
                Err(error) => {
                    tracing::warn!(%error, "downloads are not noted; --ledger names another place, or none");
                    Ok(None)
                }
            }
        }
    }
}

fn open_root(path: &Path, options: RootOptions) -> anyhow::Result<Root> {
    Root::new(path, options).map_err(|error| {
        let what_to_do = match error.kind() {
            io::ErrorKind::NotFound => "there is no such folder or file; check the path",
            io::ErrorKind::PermissionDenied => {
                "this user may not read it; change its permissions or run as a user who may"
            }
            io::ErrorKind::InvalidInput => "name a folder or a regular file",
            _ => "check the path",
        };
        anyhow::anyhow!("cannot serve {}: {error}: {what_to_do}", path.display())
    })
}

fn default_cache() -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    // An XDG_CACHE_HOME that is not absolute is to be ignored (XDG Base Directory, 0.8).
    let base = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")))?;
    Some(base.join("outflow"))
}
