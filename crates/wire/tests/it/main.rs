//! The engine seen from outside: real sockets, real files, bytes compared.
//!
//! ```text
//! every_protocol/  scenarios that run over HTTP/1, HTTP/2 and both within TLS
//! http1/           what HTTP/1 alone knows
//! http2/           what HTTP/2 alone knows
//! tls/             handshakes, and HTTP/1 within both versions of TLS
//! splicing/        feeds whose bytes lie in another socket
//! sending          contents by sendfile and by copy, as the counters tell
//! draining         ending in good order, and how many connections may be open
//! proxies          the PROXY protocol
//! slow_link        a link that is slower than both ends
//! support/         servers, files and observers for all of them
//! ```

mod draining;
#[macro_use]
mod every_protocol;
mod http1;
mod http2;
mod proxies;
mod sending;
mod slow_link;
mod splicing;
mod support;
mod tls;
