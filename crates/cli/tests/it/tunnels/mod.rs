//! `outflow tunnel`: TCP through HTTP.
//!
//! ```text
//! serve    `tunnel serve` with clients that know nothing of it: curl, OpenSSH, browsers, proxies
//! clients  `tunnel connect` and `listen`: ssh, psql and curl over paths that break
//! ends     how tunnels end
//! tunnel   a tunnel server for the tests, and its clients
//! ```

mod clients;
mod ends;
mod serve;
mod tunnel;
