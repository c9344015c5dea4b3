//! What commands that serve have in common: how many connections and threads, and the first line.

use std::fmt::Display;
use std::io::{self, Write as _};
use std::net::SocketAddr;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// How long responses may take to finish after the first signal, in seconds, if nobody says otherwise.
pub(crate) const DRAIN: u32 = 10;

/// Makes room for as many open files as the process may have, and says how many connections that is.
pub(crate) fn max_connections(asked: Option<u32>) -> usize {
    asked.map_or(open_files() / 4 * 3, |n| n as usize).max(1)
}

/// As many open files as the process may have, which from here on are allowed; a million at the most.
pub(crate) fn open_files() -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    }
    let now = getrlimit(Resource::Nofile).current;
    // No limit is written as none; a million connections are enough.
    usize::try_from(now.unwrap_or(1 << 20)).unwrap_or(1 << 20).min(1 << 20)
}

/// As many threads as are asked for, or one for each processor.
pub(crate) fn threads(asked: Option<u16>) -> usize {
    match asked {
        Some(threads) => usize::from(threads),
        None => std::thread::available_parallelism().map_or(1, usize::from),
    }
}

/// Says on stdout that the kernel takes connections. Whoever reads this line may be gone, which is no reason not to serve.
pub(crate) fn announce(scheme: &str, address: SocketAddr) {
    say(format_args!("listening on {scheme}://{address}/"));
}

/// The same for what has no URL.
pub(crate) fn say(line: impl Display) {
    let mut stdout = io::stdout();
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}
