//! `outflow tunnel serve`: a server for tunnels only.

use anyhow::Context as _;
use clap::Args;
use outflow_certs::HttpsOnly;
use outflow_texts::console;
use outflow_tunnel::server::{NotFoundService, TunnelService};
use outflow_wire::Server;

use super::settings::TunnelArgs;
use crate::failure::Failure;
use crate::run::limits::{self, ServerLimitArgs};
use crate::run::listen::{LISTEN, ListenArgs};
use crate::run::logging::{self, LogArgs};
use crate::run::signals;
use crate::run::tls::{self, Listeners, SecuredBy, TlsArgs};

#[derive(Args, Clone, Debug)]
pub(crate) struct TunnelServeArgs {
    #[command(flatten)]
    tunnel: TunnelArgs,

    #[command(flatten)]
    listen: ListenArgs,

    #[command(flatten)]
    tls: TlsArgs,

    #[command(flatten)]
    limits: ServerLimitArgs,

    #[command(flatten)]
    log: LogArgs,
}

pub(crate) fn run(options: TunnelServeArgs) -> Result<(), Failure> {
    tls::check(&options.tls)?;
    let settings = options.tunnel.settings("--")?;
    let _logs = logging::start(options.log)?;
    Ok(serve(&options, TunnelService::new(NotFoundService, settings))?)
}

fn serve(options: &TunnelServeArgs, service: TunnelService<NotFoundService>) -> anyhow::Result<()> {
    let listener = options.listen.listen.open(&LISTEN)?;
    let address = listener.local_addr().context(console!(socket_has_no_address))?;
    let Listeners { all: listeners, scheme, secured, hangup } = tls::open(&options.tls, listener)?;
    let max_connections = options.limits.max_connections();
    let server = Server::new(outflow_wire::ServerOptions {
        max_connections,
        http2_cleartext: options.tls.http2_cleartext,
        ..outflow_wire::ServerOptions::default()
    });
    signals::listen(server.handle(), options.limits.drain.time(), hangup)?;
    let threads = options.limits.threads.number();
    if scheme == "http" && !address.ip().is_loopback() {
        tracing::warn!(
            "tokens and tunnelled bytes travel unencrypted; use --tls-cert and --tls-key, or put a proxy with TLS in front"
        );
    }
    limits::announce_url(scheme, address);
    tracing::info!(%address, threads, max_connections, "tunnelling");
    let ended = match secured {
        None => server.run_erased(listeners, threads, service),
        Some(SecuredBy { port, hsts }) => {
            server.run_erased(listeners, threads, HttpsOnly::new(service, port, hsts))
        }
    };
    ended.context(console!(server_ended))?;
    tracing::info!("stopped");
    Ok(())
}
