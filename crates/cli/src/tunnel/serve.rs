//! `outflow tunnel serve`: a server for tunnels only.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use outflow_certs::HttpsOnly;
use outflow_tunnel::server::{NotFoundService, TunnelService};
use outflow_wire::Server;

use super::settings::TunnelArgs;
use crate::failure::Failure;
use crate::run::listen::{LISTEN, ListenAddress};
use crate::run::logging::{LogFormat, LogLevel};
use crate::run::tls::{self, Listeners, SecuredBy, TlsArgs};
use crate::run::{limits, logging, signals};

#[derive(Args, Clone, Debug)]
pub(crate) struct TunnelServeArgs {
    #[command(flatten)]
    tunnel: TunnelArgs,

    /// Address to listen on; port 0 picks a free one [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR", env = "OUTFLOW_LISTEN")]
    listen: Option<ListenAddress>,

    /// PEM file with a certificate for TLS, followed by its chain; may be given several times for
    /// several names
    #[arg(long, value_name = "FILE", env = "OUTFLOW_TLS_CERT")]
    tls_cert: Vec<PathBuf>,

    /// PEM file with its private key; one for each --tls-cert, in the same order
    #[arg(long, value_name = "FILE", env = "OUTFLOW_TLS_KEY")]
    tls_key: Vec<PathBuf>,

    /// Obtain the TLS certificate for this domain by ACME, and agree to the authority's terms
    #[arg(long, value_name = "DOMAIN", env = "OUTFLOW_ACME", value_delimiter = ',')]
    acme: Vec<String>,

    /// Accept HTTP/2 without TLS from clients that start with it (prior knowledge)
    #[arg(long, env = "OUTFLOW_HTTP2_CLEARTEXT", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    http2_cleartext: Option<bool>,

    /// Maximum number of open connections [default: 3/4 of the limit of open files]
    #[arg(long, value_name = "N", env = "OUTFLOW_MAX_CONNECTIONS", value_parser = clap::value_parser!(u32).range(1..))]
    max_connections: Option<u32>,

    /// Seconds for tunnels to end by themselves after SIGINT or SIGTERM [default: 10]
    #[arg(long, value_name = "SECONDS", env = "OUTFLOW_DRAIN", value_parser = clap::value_parser!(u32).range(..=31_536_000))]
    drain: Option<u32>,

    /// Number of serving threads [default: one for each processor]
    #[arg(long, value_name = "N", env = "OUTFLOW_THREADS", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,

    /// Least important lines to log [default: info]
    #[arg(long, value_name = "LEVEL", env = "OUTFLOW_LOG_LEVEL")]
    log_level: Option<LogLevel>,

    /// Format of the log on standard error [default: text]
    #[arg(long, value_name = "FORMAT", env = "OUTFLOW_LOG_FORMAT")]
    log_format: Option<LogFormat>,
}

pub(crate) fn run(options: TunnelServeArgs) -> Result<(), Failure> {
    let tls = TlsArgs {
        certificates: options.tls_cert.clone(),
        keys: options.tls_key.clone(),
        acme: options.acme.clone(),
        ..TlsArgs::default()
    };
    tls::check(&tls)?;
    let settings = options.tunnel.settings()?;
    let _logs = logging::start(
        options.log_level.unwrap_or(LogLevel::Info),
        options.log_format.unwrap_or(LogFormat::Text),
    );
    Ok(serve(&options, &tls, TunnelService::new(NotFoundService, settings))?)
}

fn serve(
    options: &TunnelServeArgs,
    tls: &TlsArgs,
    service: TunnelService<NotFoundService>,
) -> anyhow::Result<()> {
    let listener = options.listen.clone().unwrap_or_default().open(&LISTEN)?;
    let address = listener.local_addr().context("the listening socket has no address")?;
    let Listeners { all: listeners, scheme, secured, hangup } = tls::open(tls, listener)?;
    let max_connections = limits::max_connections(options.max_connections);
    let server = Server::new(outflow_wire::ServerOptions {
        max_connections,
        http2_cleartext: options.http2_cleartext.unwrap_or(false),
        ..outflow_wire::ServerOptions::default()
    });
    let drain = Duration::from_secs(options.drain.unwrap_or(limits::DEFAULT_DRAIN).into());
    signals::listen(server.handle(), drain, hangup)?;
    let threads = limits::threads(options.threads);
    if scheme == "http" && !address.ip().is_loopback() {
        tracing::warn!(
            "tokens and tunnelled bytes travel unencrypted; use --tls-cert and --tls-key, or put a proxy with TLS in front"
        );
    }
    limits::announce_url(scheme, address);
    tracing::info!(%address, threads, max_connections, "tunnelling");
    let ended = match secured {
        None => server.run(listeners, threads, service),
        Some(SecuredBy { port, hsts }) => server.run(listeners, threads, HttpsOnly::new(service, port, hsts)),
    };
    ended.context("the server ended")?;
    tracing::info!("stopped");
    Ok(())
}
