//! What programs that work with sockets share. It knows no HTTP, and opens no sockets.
//!
//! ```text
//! pipe          pipes for splice(2), borrowed while there are bytes in them
//! proxy_header  the PROXY protocol, versions 1 and 2, read and written
//! public        which addresses lie in the public Internet
//! ```
//!
//! A proxy tells the server behind it which client a connection belongs to; the server reads the
//! same back:
//!
//! ```
//! use outflow_net::proxy_header::{self, ConnectionAddresses, ProxyVersion};
//!
//! let addresses = ConnectionAddresses {
//!     client: "192.0.2.1:56324".parse()?,
//!     server: "198.51.100.2:443".parse()?,
//! };
//! let header = proxy_header::encode(ProxyVersion::V1, Some(addresses));
//! assert_eq!(header, b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n");
//!
//! let received = [&header[..], b"GET / HTTP/1.1\r\n"].concat();
//! let header = proxy_header::parse(&received)?.expect("all of the header has arrived");
//! assert_eq!(header.addresses, Some(addresses));
//! assert_eq!(&received[header.len..], b"GET / HTTP/1.1\r\n");
//! assert!(!outflow_net::is_public(addresses.client.ip()), "192.0.2.0/24 is for documentation");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

pub mod pipe;
pub mod proxy_header;
pub mod public;

pub use self::public::is_public;
