//! `outflow relay`: from options to a running relay, and to its end.

use std::fmt;
use std::io;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use outflow_relay::flow::Limits;
use outflow_relay::{self as relay, Address, Listener, Policy, ProxyVersion, Relay};

use crate::run::listen::{Flags, Listen};
use crate::serve::options::{LogFormat, LogLevel};
use crate::{Failure, args::duration as period, run::limits as running, run::logging, run::signals};

/// What chooses the address, for messages.
const FLAGS: Flags = Flags { host: "LISTEN", port: "LISTEN" };

/// Files that a relay has open without a client, in pairs.
const OWN_FILES: usize = 16;

/// A flag is stronger than the environment.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Where to listen: host:port, whose port may be 0 for a free one, or unix:/path
    #[arg(value_name = "LISTEN")]
    listen: Address,

    /// Where to relay to: host:port or unix:/path, as often as you like
    #[arg(value_name = "TARGET", required = true, value_parser = target)]
    targets: Vec<Address>,

    /// Who gets the next client
    #[arg(long, value_name = "POLICY", default_value = "round-robin")]
    policy: Choice,

    /// How long a target may take to accept a connection, such as 5s; then the next one is tried
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = some_time)]
    connect_timeout: Duration,

    /// How often each target is connected to only to see whether it is there, such as 10s [default: never]
    #[arg(long, value_name = "TIME", value_parser = some_time)]
    health_interval: Option<Duration>,

    /// Say to targets who the client is, by the PROXY protocol
    #[arg(long, value_name = "VERSION")]
    proxy_protocol: Option<Version>,

    /// Clients at the same time; further ones wait [default: 3/8 of the limit of open files]
    #[arg(long, value_name = "N", env = "OUTFLOW_MAX_CONNECTIONS", value_parser = clap::value_parser!(u32).range(1..))]
    max_connections: Option<u32>,

    /// Clients of one target at the same time; when all targets have as many, further ones are refused [default: any number]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_per_target: Option<u32>,

    /// Silence in both directions that ends a connection; 0s for none
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = period::parse)]
    idle_timeout: Duration,

    /// The same once one side has said all; 0s for no other than before
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = period::parse)]
    half_closed_timeout: Duration,

    /// Seconds that connections have to finish after SIGINT or SIGTERM
    #[arg(long, value_name = "SECONDS", env = "OUTFLOW_DRAIN", default_value_t = running::DRAIN, value_parser = clap::value_parser!(u32).range(..=31_536_000))]
    drain: u32,

    /// Threads that relay [default: one for each processor]
    #[arg(long, value_name = "N", env = "OUTFLOW_THREADS", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,

    /// How much is logged
    #[arg(long, value_name = "LEVEL", env = "OUTFLOW_LOG_LEVEL", default_value = "info")]
    log_level: LogLevel,

    /// How it is logged, on stderr
    #[arg(long, value_name = "FORMAT", env = "OUTFLOW_LOG_FORMAT", default_value = "text")]
    log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Choice {
    /// One after the other
    RoundRobin,
    /// The target with the fewest clients
    LeastConnections,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Version {
    /// A line of text
    V1,
    /// Binary
    V2,
}

fn target(text: &str) -> Result<Address, relay::BadAddress> {
    text.parse().and_then(Address::for_target)
}

fn some_time(text: &str) -> Result<Duration, String> {
    match period::parse(text)? {
        Duration::ZERO => Err("at least 1s is needed".to_owned()),
        time => Ok(time),
    }
}

pub(crate) fn run(options: Options) -> Result<(), Failure> {
    let _logs = logging::start(options.log_level, options.log_format);
    if options.targets.contains(&options.listen) {
        return Err(Failure::Usage(anyhow::anyhow!(
            "{} is where the relay itself listens: each client would be relayed round and round; name another target",
            options.listen
        )));
    }
    Ok(serve(&options)?)
}

fn serve(options: &Options) -> anyhow::Result<()> {
    let (listener, address) = open(&options.listen)?;
    let max_connections = max_connections(options.max_connections);
    let or_none = |time: Duration| (!time.is_zero()).then_some(time);
    let relay = Relay::new(
        options.targets.clone(),
        relay::Options {
            policy: match options.policy {
                Choice::RoundRobin => Policy::RoundRobin,
                Choice::LeastConnections => Policy::LeastConnections,
            },
            max_connections,
            max_per_target: options.max_per_target.map_or(usize::MAX, |n| n as usize),
            connect_timeout: options.connect_timeout,
            health_interval: options.health_interval,
            proxy_protocol: options.proxy_protocol.map(|version| match version {
                Version::V1 => ProxyVersion::V1,
                Version::V2 => ProxyVersion::V2,
            }),
            limits: Limits {
                idle: or_none(options.idle_timeout),
                half_closed: or_none(options.half_closed_timeout),
            },
        },
    )?;
    let threads = running::threads(options.threads);
    let runtime = runtime(threads).context("cannot make the runtime that relays")?;
    signals::listen(relay.handle(), Duration::from_secs(options.drain.into()), None)?;
    let counters = relay.counters();

    running::say(format_args!("relaying on {address}"));
    let targets: Vec<String> = options.targets.iter().map(ToString::to_string).collect();
    tracing::info!(%address, targets = targets.join(" "), threads, max_connections, "relaying");
    runtime.block_on(relay.run([listener])).context("the relay ended")?;
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

/// As many clients as are asked for, if there can be so many. Each needs a descriptor, and its target another one; without
/// that one it would have to be refused, so it is not accepted.
fn max_connections(asked: Option<u32>) -> usize {
    let most = (running::max_connections(None) / 2).saturating_sub(OWN_FILES).max(1);
    let asked = asked.map_or(most, |n| n as usize);
    if asked > most {
        tracing::warn!(
            asked,
            most,
            "so many connections need more open files than are allowed; raise the limit (ulimit -n)"
        );
    }
    asked.min(most)
}

/// With one thread nothing has to be handed from one to another.
fn runtime(threads: usize) -> io::Result<tokio::runtime::Runtime> {
    match threads {
        1 => tokio::runtime::Builder::new_current_thread().enable_all().build(),
        _ => tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build(),
    }
}

/// Opens the listening socket; also says where that is, since a port may have been the kernel's choice.
fn open(listen: &Address) -> anyhow::Result<(Listener, Box<dyn fmt::Display>)> {
    match listen {
        Address::Tcp(text) => {
            let listen: Listen = text.parse().map_err(anyhow::Error::msg)?;
            let listener = listen.open(&FLAGS)?;
            let address = listener.local_addr().context("the listening socket has no address")?;
            Ok((listener.into(), Box::new(address)))
        }
        Address::Unix(path) => Ok((open_unix(path)?, Box::new(listen.clone()))),
    }
}

fn open_unix(path: &Path) -> anyhow::Result<Listener> {
    Listener::unix(path).map_err(|error| {
        let what_to_do = match error.kind() {
            io::ErrorKind::AddrInUse => "another program listens there already; choose another path",
            io::ErrorKind::AlreadyExists => {
                "there is something else than a socket; remove it, or choose another path"
            }
            io::ErrorKind::NotFound => "there is no such folder; make it, or choose another path",
            io::ErrorKind::PermissionDenied => {
                "this user may not write to that folder; choose another path, or run as a user who may"
            }
            _ => "choose another path",
        };
        anyhow::anyhow!("cannot listen on unix:{}: {error}: {what_to_do}", path.display())
    })
}
