//! `outflow relay`: relays connections to TCP and Unix sockets.

use std::fmt;
use std::io;
use std::path::Path;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use outflow_relay::flow::FlowTimeouts;
use outflow_relay::{
    BalancePolicy, ProxyVersion, Relay, RelayAddress, RelayAddressError, RelayListener, RelayOptions,
};
use outflow_texts::{console, text};

use crate::args::duration::{self, DurationArg};
use crate::failure::Failure;
use crate::run::limits::{self, DrainArgs, ThreadArgs};
use crate::run::listen::{AddressFlags, ListenAddress};
use crate::run::logging::{self, LogArgs};
use crate::run::signals;

const FLAGS: AddressFlags = AddressFlags { host: "LISTEN", port: "LISTEN" };

/// Descriptors that a relay uses besides its clients', in pairs.
const OWN_DESCRIPTOR_PAIRS: usize = 16;

/// Descriptors that a client of a relay takes: its own, and its target's. So a relay has half as
/// many clients as a server has connections.
///
/// Bound: relay. 3/8 of the limit of open files in clients
const DESCRIPTORS_PER_CLIENT: usize = 2;

#[derive(Args, Clone, Debug)]
pub(crate) struct RelayArgs {
    /// Address to listen on: HOST:PORT, with port 0 for a free one, or unix:/PATH
    #[arg(value_name = "LISTEN")]
    listen: RelayAddress,

    /// Targets: HOST:PORT or unix:/PATH
    #[arg(value_name = "TARGET", required = true, value_parser = target)]
    targets: Vec<RelayAddress>,

    /// How to choose a target for each client
    #[arg(long, help_heading = "Targets", value_name = "POLICY", default_value = "round-robin")]
    policy: PolicyArg,

    /// How long to wait for a target to accept a connection before trying the next
    #[arg(long, help_heading = "Targets", value_name = "TIME", default_value = "5s", value_parser = duration::non_zero)]
    connect_timeout: DurationArg,

    /// How often to check each target by connecting to it, such as 10s [default: none]
    #[arg(long, help_heading = "Targets", value_name = "TIME", value_parser = duration::non_zero)]
    health_interval: Option<DurationArg>,

    /// Pass the client's address to targets with the PROXY protocol
    #[arg(long, help_heading = "Targets", value_name = "VERSION")]
    proxy_protocol: Option<ProxyVersionArg>,

    /// Maximum number of clients of one target; when all are full, clients are refused [default: no
    /// limit]
    #[arg(long, help_heading = "Targets", value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_per_target: Option<u32>,

    /// Maximum number of clients; further ones wait [default: 3/8 of the limit of open files]
    #[arg(long, value_name = "N", env, help_heading = "Limits", value_parser = clap::value_parser!(u32).range(1..))]
    max_connections: Option<u32>,

    /// Close a connection after this long without traffic; 0s disables it
    #[arg(long, value_name = "TIME", default_value = "1h", help_heading = "Limits")]
    idle_timeout: DurationArg,

    /// Idle timeout once one side has stopped sending; 0s keeps --idle-timeout
    #[arg(long, value_name = "TIME", default_value = "5m", help_heading = "Limits")]
    half_closed_timeout: DurationArg,

    #[command(flatten)]
    threads: ThreadArgs,

    #[command(flatten)]
    drain: DrainArgs,

    #[command(flatten)]
    log: LogArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum PolicyArg {
    /// Each target in turn
    RoundRobin,
    /// The target with the fewest clients
    LeastConnections,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ProxyVersionArg {
    /// A line of text
    V1,
    /// Binary
    V2,
}

fn target(text: &str) -> Result<RelayAddress, RelayAddressError> {
    text.parse().and_then(RelayAddress::for_target)
}

pub(crate) fn run(options: RelayArgs) -> Result<(), Failure> {
    let _logs = logging::start(options.log)?;
    if options.targets.contains(&options.listen) {
        return Err(Failure::Usage(anyhow::anyhow!(console!(relay_loops, address = %options.listen))));
    }
    Ok(serve(&options)?)
}

fn serve(options: &RelayArgs) -> anyhow::Result<()> {
    let (listener, address) = open(&options.listen)?;
    let max_connections = max_connections(options.max_connections);
    let relay = Relay::new(
        options.targets.clone(),
        RelayOptions {
            policy: match options.policy {
                PolicyArg::RoundRobin => BalancePolicy::RoundRobin,
                PolicyArg::LeastConnections => BalancePolicy::LeastConnections,
            },
            max_connections,
            max_per_target: options.max_per_target.map_or(usize::MAX, |n| n as usize),
            connect_timeout: options.connect_timeout.0,
            health_interval: options.health_interval.map(|time| time.0),
            proxy_protocol: options.proxy_protocol.map(|version| match version {
                ProxyVersionArg::V1 => ProxyVersion::V1,
                ProxyVersionArg::V2 => ProxyVersion::V2,
            }),
            timeouts: FlowTimeouts {
                idle: options.idle_timeout.limit(),
                half_closed: options.half_closed_timeout.limit(),
            },
        },
    )?;
    let threads = options.threads.number();
    let runtime = runtime(threads).context(console!(cannot_start_relay))?;
    signals::listen(relay.handle(), options.drain.time(), None)?;
    let counters = relay.counters();

    limits::announce(format_args!("relaying on {address}"));
    let targets: Vec<String> = options.targets.iter().map(ToString::to_string).collect();
    tracing::info!(%address, targets = targets.join(" "), threads, max_connections, "relaying");
    runtime.block_on(relay.run([listener])).context(console!(relay_ended))?;
    let bytes = counters.bytes();
    tracing::info!(
        spliced = bytes.spliced,
        copied = bytes.copied,
        unspliceable = counters.unspliceable(),
        without_pipe = counters.without_pipe(),
        "stopped"
    );
    Ok(())
}

/// The requested number of clients, or as many as there are descriptors for: each needs one, and
/// its target another.
fn max_connections(asked: Option<u32>) -> usize {
    let limit =
        (limits::max_connections(None) / DESCRIPTORS_PER_CLIENT).saturating_sub(OWN_DESCRIPTOR_PAIRS).max(1);
    let asked = asked.map_or(limit, |n| n as usize);
    if asked > limit {
        tracing::warn!(
            asked,
            limit,
            "--max-connections is lowered: it needs more open files than the limit allows; raise the limit (ulimit -n)"
        );
    }
    asked.min(limit)
}

/// One thread needs no work stealing.
fn runtime(threads: usize) -> io::Result<tokio::runtime::Runtime> {
    match threads {
        1 => tokio::runtime::Builder::new_current_thread().enable_all().build(),
        _ => tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build(),
    }
}

/// Opens the listening socket and returns its address, whose port the kernel may have chosen.
fn open(listen: &RelayAddress) -> anyhow::Result<(RelayListener, Box<dyn fmt::Display>)> {
    match listen {
        RelayAddress::Tcp(text) => {
            let listen: ListenAddress = text.parse().map_err(anyhow::Error::msg)?;
            let listener = listen.open(&FLAGS)?;
            let address = listener.local_addr().context(console!(socket_has_no_address))?;
            Ok((listener.into(), Box::new(address)))
        }
        RelayAddress::Unix(path) => Ok((open_unix(path)?, Box::new(listen.clone()))),
    }
}

fn open_unix(path: &Path) -> anyhow::Result<RelayListener> {
    RelayListener::unix(path).map_err(|error| {
        let advice = match error.kind() {
            io::ErrorKind::AddrInUse => text!(advice_path_in_use),
            io::ErrorKind::AlreadyExists => text!(advice_path_no_socket),
            io::ErrorKind::NotFound => text!(advice_path_no_folder),
            io::ErrorKind::PermissionDenied => text!(advice_path_denied),
            _ => text!(advice_other_path),
        };
        anyhow::anyhow!(console!(cannot_listen_unix, path = %path.display(), %error, advice))
    })
}
