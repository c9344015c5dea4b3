//! `outflow tunnel serve`: a server that does nothing but tunnels.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use outflow_certs::HttpsOnly;
use outflow_tunnel::server::{Nothing, TunnelService};
use outflow_wire::Server;

use super::settings::TunnelOptions;
use crate::run::listen::{LISTEN, Listen};
use crate::run::tls::{self, Behind, Listeners};
use crate::serve::options::{LogFormat, LogLevel, Options};
use crate::{Failure, run::limits as running, run::logging, run::signals};

/// What it can be told.
#[derive(Args, Clone, Debug)]
pub(crate) struct ServeOptions {
    #[command(flatten)]
    tunnel: TunnelOptions,

    /// Address to listen on; port 0 picks a free one [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR", env = "OUTFLOW_LISTEN")]
    listen: Option<Listen>,

    /// Speak TLS, with the certificate in this PEM file; several times for several names
    #[arg(long, value_name = "FILE", env = "OUTFLOW_TLS_CERT")]
    tls_cert: Vec<PathBuf>,

    /// PEM file of its private key; for each --tls-cert one, in the same order
    #[arg(long, value_name = "FILE", env = "OUTFLOW_TLS_KEY")]
    tls_key: Vec<PathBuf>,

    /// Speak TLS, with a certificate for this name from a certificate authority, whose terms you agree to (ACME)
    #[arg(long, value_name = "DOMAIN", env = "OUTFLOW_ACME", value_delimiter = ',')]
    acme: Vec<String>,

    /// Understand HTTP/2 without TLS as well, from clients that begin with it
    #[arg(long, env = "OUTFLOW_HTTP2_CLEARTEXT", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    http2_cleartext: Option<bool>,

    /// Connections open at the same time [default: 3/4 of the limit of open files]
    #[arg(long, value_name = "N", env = "OUTFLOW_MAX_CONNECTIONS", value_parser = clap::value_parser!(u32).range(1..))]
    max_connections: Option<u32>,

    /// Seconds that tunnels have to end by themselves after SIGINT or SIGTERM [default: 10]
    #[arg(long, value_name = "SECONDS", env = "OUTFLOW_DRAIN", value_parser = clap::value_parser!(u32).range(..=31_536_000))]
    drain: Option<u32>,

    /// Threads that serve [default: one for each processor]
    #[arg(long, value_name = "N", env = "OUTFLOW_THREADS", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,

    /// How much is logged [default: info]
    #[arg(long, value_name = "LEVEL", env = "OUTFLOW_LOG_LEVEL")]
    log_level: Option<LogLevel>,

    /// How it is logged, on stderr [default: text]
    #[arg(long, value_name = "FORMAT", env = "OUTFLOW_LOG_FORMAT")]
    log_format: Option<LogFormat>,
}

pub(crate) fn run(options: ServeOptions) -> Result<(), Failure> {
    let ServeOptions { tunnel, listen, tls_cert, tls_key, acme, http2_cleartext, .. } = options.clone();
    // What it has in common with `outflow serve` is understood there.
    let common = Options { listen, tls_cert, tls_key, acme, http2_cleartext, ..Options::default() };
    tls::check(&common)?;
    let settings = tunnel.settings()?;
    let _logs = logging::start(
        options.log_level.unwrap_or(LogLevel::Info),
        options.log_format.unwrap_or(LogFormat::Text),
    );
    Ok(serve(&options, &common, TunnelService::new(Nothing, settings))?)
}

fn serve(options: &ServeOptions, common: &Options, service: TunnelService<Nothing>) -> anyhow::Result<()> {
    let listener = common.listen.clone().unwrap_or_default().open(&LISTEN)?;
    let address = listener.local_addr().context("the listening socket has no address")?;
    let Listeners { all: listeners, scheme, behind, hangup } = tls::open(common, listener)?;
    let max_connections = running::max_connections(options.max_connections);
    let server = Server::new(outflow_wire::Options {
        max_connections,
        http2_cleartext: options.http2_cleartext.unwrap_or(false),
        ..outflow_wire::Options::default()
    });
    let drain = Duration::from_secs(options.drain.unwrap_or(running::DRAIN).into());
    signals::listen(server.handle(), drain, hangup)?;
    let threads = running::threads(options.threads);
    if scheme == "http" && !address.ip().is_loopback() {
        tracing::warn!(
            "tokens and all that goes through the tunnels can be read on the way: --tls-cert and --tls-key, or a proxy with TLS \
             in front, hide them"
        );
    }
    running::announce(scheme, address);
    tracing::info!(%address, threads, max_connections, "tunnelling");
    let ended = match behind {
        None => server.run(listeners, threads, service),
        Some(Behind { port, hsts }) => server.run(listeners, threads, HttpsOnly::new(service, port, hsts)),
    };
    ended.context("the server ended")?;
    tracing::info!("stopped");
    Ok(())
}
