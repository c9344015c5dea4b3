//! What commands that serve have in common, from their sockets to their end.
//!
//! ```text
//! listen    the address to listen on, and its socket
//! tls       certificates, redirects and HSTS for that socket
//! limits    open files, connections and threads; the first line on standard output
//! logging   logs on standard error
//!   access_lines   the lines of requests, formatted
//!   log_blocks     all lines, written in blocks
//! signals   SIGINT, SIGTERM and SIGHUP
//! folders   the user's folders for cache and state
//! ```

mod access_lines;
pub(crate) mod folders;
pub(crate) mod limits;
pub(crate) mod listen;
mod log_blocks;
pub(crate) mod logging;
pub(crate) mod signals;
pub(crate) mod tls;
