//! How many connections and threads a serving command has, and its first line on standard output.

use std::fmt::Display;
use std::io::{self, Write as _};
use std::net::SocketAddr;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Default time for downloads to finish after the first SIGINT or SIGTERM, in seconds.
pub(crate) const DEFAULT_DRAIN: u32 = 10;

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

/// The requested number of threads, or one for each processor.
pub(crate) fn threads(requested: Option<u16>) -> usize {
    match requested {
        Some(threads) => usize::from(threads),
        None => std::thread::available_parallelism().map_or(1, usize::from),
    }
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
