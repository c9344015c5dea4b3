//! A relay from sockets to sockets: it accepts clients, chooses a target for each, and moves the
//! bytes both ways, by splice(2) where that pays. It speaks TCP and Unix sockets, and knows no
//! HTTP.
//!
//! ```text
//! relay         runs until it is drained or stopped
//!   options     what an operator can set
//!   listener    TCP and Unix sockets that accept clients
//!   connection  one client: chooses a target, connects, sends the PROXY header, relays, logs
//!   targets     which target is next, which is full, which has failed; health checks
//!   address     what can be listened on and connected to: host:port, unix:/path
//! flow/         two sockets, and the bytes between them
//! ```
//!
//! A relay in front of a server that echoes:
//!
//! ```
//! use std::time::Duration;
//!
//! use outflow_relay::{Relay, RelayListener, RelayOptions};
//! use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
//! use tokio::net::{TcpListener, TcpStream};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = TcpListener::bind("127.0.0.1:0").await?;
//! let target = server.local_addr()?.to_string().parse()?;
//! tokio::spawn(async move {
//!     let (mut socket, _) = server.accept().await?;
//!     let (mut reader, mut writer) = socket.split();
//!     tokio::io::copy(&mut reader, &mut writer).await
//! });
//!
//! let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
//! let address = listener.local_addr()?;
//! let relay = Relay::new(vec![target], RelayOptions::default())?;
//! let handle = relay.handle();
//! let running = tokio::spawn(relay.run([RelayListener::from(listener)]));
//!
//! let mut client = TcpStream::connect(address).await?;
//! client.write_all(b"hello").await?;
//! client.shutdown().await?;
//! let mut echo = String::new();
//! client.read_to_string(&mut echo).await?;
//! assert_eq!(echo, "hello");
//!
//! handle.drain(Duration::from_secs(5));
//! running.await??;
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

mod address;
mod connection;
pub mod flow;
mod listener;
mod options;
mod relay;
mod targets;

pub use self::address::{RelayAddress, RelayAddressError};
pub use self::listener::RelayListener;
pub use self::options::{BalancePolicy, RelayOptions};
pub use self::relay::{NoTarget, Relay, RelayHandle};
pub use outflow_net::proxy_header::ProxyVersion;
