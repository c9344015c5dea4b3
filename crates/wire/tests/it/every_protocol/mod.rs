//! What holds over every protocol: each scenario is one function, and a test over HTTP/1, HTTP/1
//! within TLS, HTTP/2, and HTTP/2 within TLS.
//!
//! ```text
//! contents   every byte at its place; who the client is; what is counted
//! bodies     bodies of responses and requests, those that fail or stall as well
//! changing   files that change while they are sent
//! delivered  what is known of a delivery behind its last byte
//! disks      a slow disk delays only the downloads that need it
//! observed   what an observer is notified of
//! ends       draining, stopping, idle connections
//!
//! protocol   the four protocols, and a server for each
//! peer       a client that exchanges whole requests and responses
//! reader     a client that reads a body as far as the test wants
//! ```

/// Makes a module of tests for each function named, one test for each protocol.
macro_rules! over_every_protocol {
    ($($name:ident),+ $(,)?) => {$(
        mod $name {
            use crate::every_protocol::Protocol;

            #[test]
            fn http1() {
                super::$name(Protocol::Http1);
            }

            #[test]
            fn tls() {
                super::$name(Protocol::Tls);
            }

            #[test]
            fn http2() {
                super::$name(Protocol::Http2);
            }

            #[test]
            fn http2_tls() {
                super::$name(Protocol::Http2Tls);
            }
        }
    )+};
}

/// The same for what HTTP/1 alone knows: in the clear and within TLS.
macro_rules! over_http_1 {
    ($($name:ident),+ $(,)?) => {$(
        mod $name {
            use crate::every_protocol::Protocol;

            #[test]
            fn http1() {
                super::$name(Protocol::Http1);
            }

            #[test]
            fn tls() {
                super::$name(Protocol::Tls);
            }
        }
    )+};
}

mod bodies;
mod changing;
mod contents;
mod delivered;
mod disks;
mod ends;
mod observed;
mod peer;
mod protocol;
mod reader;

pub(crate) use peer::Peer;
pub(crate) use protocol::{Protocol, Site, watched};
pub(crate) use reader::Reader;
