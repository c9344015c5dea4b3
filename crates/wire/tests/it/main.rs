//! The engine seen from outside: real sockets, real files, bytes compared.
//!
//! `support` has the server, the client, the file and the observer that all of them use.

mod support;

mod broken;
mod changing;
mod cold;
mod delivered;
mod draining;
mod http2;
mod http2_abuse;
mod http2_connect;
mod http2_delivered;
mod malformed;
mod messages;
mod observers;
mod oracle;
mod proxies;
mod request_bodies;
mod sending;
mod slow_link;
mod splicing;
mod timeouts;
mod tls;
mod upgrades;
mod usual;
