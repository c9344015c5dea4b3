//! How many connections and threads a serving command has, and its first line on standard output.

use std::fmt::Display;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::args::duration::DurationArg;

/// Connections, threads and the end of a serving command.
#[derive(Args, Clone, Copy, Debug)]
#[command(next_help_heading = "Limits")]
pub(crate) struct ServerLimitArgs {
    /// Maximum number of open connections; further ones wait [default: 3/4 of the limit of open
    /// files]
    #[arg(long, value_name = "N", env, value_parser = clap::value_parser!(u32).range(1..))]
    max_connections: Option<u32>,

    #[command(flatten)]
    pub(crate) threads: ThreadArgs,

    #[command(flatten)]
    pub(crate) drain: DrainArgs,
}

impl ServerLimitArgs {
    /// The number of connections for the server.
    pub(crate) fn max_connections(&self) -> usize {
        max_connections(self.max_connections)
    }
}

/// The threads of a serving command.
#[derive(Args, Clone, Copy, Debug)]
#[command(next_help_heading = "Limits")]
pub(crate) struct ThreadArgs {
    /// Number of serving threads [default: one for each processor]
    #[arg(long, value_name = "N", env, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

impl ThreadArgs {
    /// The requested number of threads, or one for each processor.
    pub(crate) fn number(self) -> usize {
        match self.threads {
            Some(threads) => usize::from(threads),
            None => std::thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

/// The end of a serving command.
#[derive(Args, Clone, Copy, Debug)]
#[command(next_help_heading = "Limits")]
pub(crate) struct DrainArgs {
    /// How long to let open connections finish after SIGINT or SIGTERM
    #[arg(long, value_name = "TIME", env, default_value = "10s")]
    drain: DurationArg,
}

impl DrainArgs {
    pub(crate) fn time(self) -> Duration {
        self.drain.0
    }
}

/// Open files that the process uses at most, whatever the limit of the system is.
///
/// Bound: connections.
const MAX_OPEN_FILES: usize = 1_048_576;

/// Connections of a server, unless the operator sets a number; further ones wait in the kernel.
///
/// Bound: connections. 3/4 of the limit of open files
const CONNECTION_SHARE: (usize, usize) = (3, 4);

/// Raises the limit of open files to the maximum of the process and returns how many connections
/// fit: as many as requested, or [`CONNECTION_SHARE`] of the limit.
pub(crate) fn max_connections(requested: Option<u32>) -> usize {
    let (share, of) = CONNECTION_SHARE;
    requested.map_or(open_files() / of * share, |n| n as usize).max(1)
}

/// Raises the limit of open files to the maximum of the process (setrlimit(2)) and returns it.
pub(crate) fn open_files() -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    }
    let now = getrlimit(Resource::Nofile).current;
    now.map_or(MAX_OPEN_FILES, |now| usize::try_from(now).unwrap_or(MAX_OPEN_FILES)).min(MAX_OPEN_FILES)
}

/// Prints the URL once the kernel accepts connections.
pub(crate) fn announce_url(scheme: &str, address: SocketAddr) {
    announce(format_args!("listening on {scheme}://{address}/"));
}

/// Prints the first line on standard output. Its reader may have gone, which is no reason to stop.
pub(crate) fn announce(line: impl Display) {
    let mut stdout = io::stdout();
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}
