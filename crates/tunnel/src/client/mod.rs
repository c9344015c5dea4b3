//! The client's end: requests tunnels from a server, and reconnects when they break.
//!
//! ```text
//! tunnel      requests tunnels, and resumes them
//!   options   how
//!   url       what people write: a server, a template, a capability; and a target
//!   proxy     the HTTP proxy that the environment names
//!   leg       a connection: TCP, through a proxy, TLS
//!   request   the request for a tunnel
//!   response  the head of the response, and bytes that arrived with it
//!   error     why there is no tunnel, and what to do
//! reverse     connections that the server accepts, for what the client exposes
//! ```
//!
//! ```no_run
//! # async fn connect(socket: tokio::net::TcpStream) -> Result<(), Box<dyn std::error::Error>> {
//! use outflow_tunnel::client::{RemoteTarget, TunnelClient, TunnelClientOptions};
//!
//! let url = "https://files.example.com".parse()?;
//! let client = TunnelClient::new(url, TunnelClientOptions::default())?;
//! let tunnel = client.open(Some(&RemoteTarget::new("intranet", 22)?)).await?;
//! let (totals, end) = tunnel.carry(socket).await;
//! println!("{end}: {} bytes received", totals.to_far);
//! # Ok(())
//! # }
//! ```

mod error;
#[cfg(fuzzing)]
pub mod fuzzing;
mod leg;
mod options;
mod proxy;
mod request;
mod response;
mod reverse;
mod tunnel;
mod url;

pub use self::error::{AddressError, ConnectError, TunnelRefusal};
pub use self::leg::{ClientLeg, tls_config};
pub use self::options::{TunnelClientOptions, UpgradeProtocol};
pub use self::proxy::ProxyEnvironment;
pub use self::reverse::{IncomingConnection, RemoteListener};
pub use self::tunnel::{ClientTunnel, TunnelClient};
pub use self::url::{RemoteTarget, TunnelUrl};
