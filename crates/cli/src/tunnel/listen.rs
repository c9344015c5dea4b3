//! `outflow tunnel listen`: a tunnel for each connection that is accepted here.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use outflow_tunnel::carry::Side as _;
use outflow_tunnel::client::{Client, Target, Tunnel};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::client::{ClientOptions, ServerAndTarget, Signals};
use super::reverse;
use crate::run::listen::{Flags, Listen};
use crate::serve::options::LogLevel;
use crate::{Failure, run::limits as running, run::logging};

/// What chooses the address, for messages.
const ADDRESS: Flags = Flags { host: "ADDRESS", port: "ADDRESS" };

/// How long to wait when the system has no descriptor for a connection.
const PAUSE: Duration = Duration::from_millis(200);

/// What it can be told.
#[derive(Args, Clone, Debug)]
pub(crate) struct ListenOptions {
    /// Address to listen on, such as 127.0.0.1:2222; port 0 picks a free one; with --reverse, an address of the server
    #[arg(value_name = "ADDRESS")]
    address: Listen,

    #[command(flatten)]
    to: ServerAndTarget,

    /// Listen at the server, and connect to HOST and PORT from here
    #[arg(long)]
    reverse: bool,

    /// Connections at the same time; further ones wait
    #[arg(long, value_name = "N", env = "OUTFLOW_TUNNEL_MAX_CONNECTIONS", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    max_connections: u32,

    /// Seconds that tunnels have to end by themselves after SIGINT or SIGTERM
    #[arg(long, value_name = "SECONDS", env = "OUTFLOW_DRAIN", default_value_t = running::DRAIN, value_parser = clap::value_parser!(u32).range(..=31_536_000))]
    drain: u32,

    #[command(flatten)]
    client: ClientOptions,
}

pub(crate) fn run(options: &ListenOptions) -> Result<(), Failure> {
    let _logs = logging::start(options.client.log_level.unwrap_or(LogLevel::Info), options.client.log_format);
    let client = options.client.client(&options.to.url)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.context("cannot make a runtime")?;
    let places = Places::new(options.max_connections);
    if !options.reverse {
        let target = options.to.target_of(&client)?;
        let listener = options.address.open(&ADDRESS)?;
        runtime.block_on(async {
            let signals = Signals::listen()?;
            forward(listener, &client, target.as_ref(), &places, signals.clone()).await?;
            places.drain(options.drain, signals).await;
            anyhow::Ok(())
        })?;
        return Ok(());
    }
    let at: SocketAddr = options.address.to_string().parse().map_err(|_| {
        Failure::Usage(anyhow::anyhow!("--reverse: {} is not an address but a name", options.address))
    })?;
    let Some(target) = options.to.target()? else {
        return Err(Failure::Usage(anyhow::anyhow!(
            "--reverse: what is to be reached? Name a HOST and a PORT"
        )));
    };
    runtime.block_on(async {
        let signals = Signals::listen()?;
        reverse::run(&client, at, &target, &places, signals.clone()).await?;
        places.drain(options.drain, signals).await;
        anyhow::Ok(())
    })?;
    Ok(())
}

/// Accepts until the first signal.
async fn forward(
    listener: std::net::TcpListener,
    client: &Client,
    target: Option<&Target>,
    places: &Places,
    signals: Signals,
) -> anyhow::Result<()> {
    listener.set_nonblocking(true).context("the listening socket cannot be used")?;
    let listener = TcpListener::from_std(listener).context("the listening socket cannot be used")?;
    let address = listener.local_addr().context("the listening socket has no address")?;
    if !address.ip().is_loopback() {
        tracing::warn!(%address, "whoever reaches this address gets a tunnel, with your token");
    }
    running::announce("tcp", address);
    let stop = signals.wait(1);
    tokio::pin!(stop);
    loop {
        let accepted = async { (places.take().await, listener.accept().await) };
        let (place, accepted) = tokio::select! {
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
                            tracing::warn!(%peer, %error, "no tunnel");
                            reset(stream);
                        }
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection cannot be accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Carries one connection to its end, and says what became of it.
pub(super) async fn carry(tunnel: Tunnel, stream: TcpStream, peer: &str) {
    let _ = stream.set_nodelay(true);
    tracing::debug!(peer, resumable = tunnel.is_resumable(), "tunnel begins");
    let (totals, end) = tunnel.carry(stream).await;
    tracing::info!(peer, received = totals.to_far, sent = totals.from_far, %end, "tunnel ended");
}

/// Whoever connected learns that it did not work, rather than that there was nothing to say.
pub(super) fn reset(mut stream: TcpStream) {
    stream.reset();
}

/// How many connections there may be.
pub(super) struct Places {
    all: Arc<Semaphore>,
    most: u32,
}

impl Places {
    fn new(most: u32) -> Places {
        Places { all: Arc::new(Semaphore::new(most as usize)), most }
    }

    /// Waits for one. `None` never comes: nobody closes them.
    pub(super) async fn take(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.all).acquire_owned().await.ok()
    }

    /// Waits until all are free, or it has taken too long, or a second signal comes.
    async fn drain(&self, seconds: u32, signals: Signals) {
        let under_way = self.most as usize - self.all.available_permits();
        if under_way == 0 {
            return;
        }
        tracing::info!(
            under_way,
            drain = seconds,
            "finishing what is under way; a second signal stops at once"
        );
        tokio::select! {
            _ = self.all.acquire_many(self.most) => {}
            () = tokio::time::sleep(Duration::from_secs(seconds.into())) => {}
            () = signals.wait(2) => {}
        }
    }
}
