//! TLS: handshakes, and HTTP/1 within both versions.
//!
//! ```text
//! server       a server within TLS, and connections to it
//! hello        a ClientHello by hand, and the server's answer
//! handshakes   versions, suites, protocols, sessions; handshakes that break off or take their time
//! connections  HTTP/1 within TLS 1.2 and 1.3: bytes, ends, upgrades
//! ```

mod connections;
mod handshakes;
mod hello;
mod server;
