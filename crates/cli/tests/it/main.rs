//! The real binary with real clients, byte by byte.
//!
//! ```text
//! serve/      files, folders, clients, proxies, shutdown
//! archives/   ZIP archives
//! links/      signed links
//! receipts/   the ledger, events, webhooks, progress
//! stores/     object stores and `outflow publish`
//! tls/        certificates and HTTPS
//! tunnels/    `outflow tunnel`
//! channels/   publish and subscribe
//! config      the same option as a flag, in the environment and in the file
//! metrics     `outflow serve --metrics`, and the page that lists the metrics
//! process     the command itself: output, exit codes, errors
//! usage       wrong command lines, man pages, completions
//! file        `outflow file`
//! relay       `outflow relay`
//! readme      the tour of the README
//! support/    servers of the tests and how to start them
//! ```
//!
//! Every server listens on a port that the kernel chose, has a cache folder of its own, and is
//! checked for panics when it ends. The programs that the tests use are Debian packages and moto;
//! `scripts/test` names and installs them.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test, in helpers as well")]

mod support;

mod archives;
mod channels;
mod config;
mod file;
mod links;
mod metrics;
mod process;
mod readme;
mod receipts;
mod relay;
mod serve;
mod stores;
mod tls;
mod tunnels;
mod usage;
