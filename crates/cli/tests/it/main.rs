//! Real clients against the real binary: one file for each topic.
//!
//! `support` starts servers, builds trees of files, runs programs and speaks HTTP without hiding a byte.
//! Every server runs on a port that the kernel chose, with a cache folder of its own, and is looked at when it
//! ends: none may have panicked. The programs that the tests use are Debian packages and moto; `scripts/test` names
//! and installs them.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test, in helpers as well")]

mod support;

mod archives;
mod bad_paths;
mod big;
mod changing_archives;
mod changing_files;
mod channels;
mod channels_clients;
mod channels_frames;
mod channels_many;
mod clients;
mod config;
mod crashes;
mod delivered_links;
mod drain;
mod file;
mod hostile;
mod http2_clients;
mod ledger_faults;
mod links;
mod names;
mod nodes;
mod pages;
mod process;
mod progress;
mod progress_many;
mod proxies;
mod publish;
mod ranges;
mod receipts;
mod receipts_clients;
mod relay;
mod resumes;
mod selections;
mod signed_links;
mod soak;
mod store_downloads;
mod store_faults;
mod store_round_trip;
mod stores;
mod tls_acme;
mod tls_files;
mod tls_redirect;
mod tour;
mod transfers;
mod tunnel_clients;
mod tunnel_ends;
mod tunnels;
mod unreadable;
mod webhooks;
