//! Flows and relays seen from outside: real sockets, bytes compared, time that stands still where
//! time matters.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test, in helpers as well")]

mod flow;
mod relay;
mod support;
