//! Tunnels seen from outside: what goes in at one far end comes out at the other, or is known not
//! to.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test, in helpers as well")]

mod carry;
mod client;
mod cuts;
mod server;
mod session;
mod side;
mod world;
