//! `outflow serve`: files and folders, and how the server treats its clients.
//!
//! ```text
//! clients         whole files, parts and cut downloads with curl, wget and aria2c
//! http2_clients   the same over HTTP/2 and TLS
//! ranges          parts of files and archives equal the same slice of the whole
//! changing_files  files that change while they are sent
//! pages           listings, and what HTTP expects of every address
//! names           file names that are hard to write
//! bad_paths       addresses that try to leave the folder; things that are no files
//! symlinks        symbolic links: outwards, inwards, dangling, circular
//! unreadable      files and folders without read permission
//! hostile         malformed, oversized and slow requests
//! proxies         trusted proxies in front of the server
//! drain           graceful shutdown
//! ```

mod bad_paths;
mod changing_files;
mod clients;
mod drain;
mod hostile;
mod http2_clients;
mod names;
mod pages;
mod proxies;
mod ranges;
mod symlinks;
mod unreadable;
