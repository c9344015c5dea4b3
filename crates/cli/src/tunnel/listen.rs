//! `outflow tunnel listen`: a tunnel for each connection that is accepted here.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use outflow_texts::console;
use outflow_tunnel::client::{RemoteTarget, TunnelClient};
use tokio::net::TcpListener;

use super::client::{ServerAndTarget, SignalCount, TunnelClientArgs};
use super::connection::{TunnelPermits, carry, reset};
use super::reverse;
use crate::failure::Failure;
use crate::run::limits::{self, DrainArgs};
use crate::run::listen::{AddressFlags, ListenAddress};
use crate::run::logging;

const ADDRESS: AddressFlags = AddressFlags { host: "ADDRESS", port: "ADDRESS" };

/// Pause after accept(2) fails, usually for lack of descriptors.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(200);

#[derive(Args, Clone, Debug)]
pub(crate) struct TunnelListenArgs {
    /// Address to listen on, such as 127.0.0.1:2222; with --reverse, an address of the server
    #[arg(value_name = "ADDRESS")]
    address: ListenAddress,

    #[command(flatten)]
    to: ServerAndTarget,

    /// Listen at the server, and connect to HOST and PORT from here
    #[arg(long, help_heading = "Listening")]
    reverse: bool,

    /// Maximum number of connections; further ones wait
    #[arg(id = "tunnel_max_connections", long = "max-connections", help_heading = "Limits", value_name = "N", env, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    max_connections: u32,

    #[command(flatten)]
    drain: DrainArgs,

    #[command(flatten)]
    client: TunnelClientArgs,
}

pub(crate) fn run(options: &TunnelListenArgs) -> Result<(), Failure> {
    let _logs = logging::start(options.client.log)?;
    let client = options.client.client(&options.to.url)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.context(console!(cannot_start_runtime))?;
    let permits = TunnelPermits::new(options.max_connections);
    if !options.reverse {
        let target = options.to.target_of(&client)?;
        let listener = options.address.open(&ADDRESS)?;
        runtime.block_on(async {
            let signals = SignalCount::listen()?;
            forward(listener, &client, target.as_ref(), &permits, signals.clone()).await?;
            permits.drain(options.drain.time(), signals).await;
            anyhow::Ok(())
        })?;
        return Ok(());
    }
    let at: SocketAddr = options.address.to_string().parse().map_err(|_| {
        Failure::Usage(anyhow::anyhow!(console!(tunnel_reverse_needs_ip, address = %options.address)))
    })?;
    let Some(target) = options.to.target()? else {
        return Err(Failure::Usage(anyhow::anyhow!(console!(tunnel_reverse_needs_target))));
    };
    runtime.block_on(async {
        let signals = SignalCount::listen()?;
        reverse::run(&client, at, &target, &permits, signals.clone()).await?;
        permits.drain(options.drain.time(), signals).await;
        anyhow::Ok(())
    })?;
    Ok(())
}

/// Accepts until the first signal.
async fn forward(
    listener: std::net::TcpListener,
    client: &TunnelClient,
    target: Option<&RemoteTarget>,
    permits: &TunnelPermits,
    signals: SignalCount,
) -> anyhow::Result<()> {
    listener.set_nonblocking(true).context(console!(cannot_use_socket))?;
    let listener = TcpListener::from_std(listener).context(console!(cannot_use_socket))?;
    let address = listener.local_addr().context(console!(socket_has_no_address))?;
    if !address.ip().is_loopback() {
        tracing::warn!(%address, "any program that reaches this address can use the tunnel with your token");
    }
    limits::announce_url("tcp", address);
    let stop = signals.wait(1);
    tokio::pin!(stop);
    loop {
        let accepted = async { (permits.take().await, listener.accept().await) };
        let (permit, accepted) = tokio::select! {
            accepted = accepted => accepted,
            () = &mut stop => return Ok(()),
        };
        match accepted {
            Ok((stream, peer)) => {
                let (client, target) = (client.clone(), target.cloned());
                tokio::spawn(async move {
                    match client.open(target.as_ref()).await {
                        Ok(tunnel) => carry(tunnel, stream, &peer.to_string()).await,
                        Err(error) => {
                            tracing::warn!(%peer, %error, "cannot open a tunnel");
                            reset(stream);
                        }
                    }
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
            }
        }
    }
}
