//! The other end: asks a server for tunnels, and comes back to them when they break.
//!
//! ```text
//! tunnel    asks for tunnels, and comes back to them
//!   options   how
//!   url       what people write: a server, a template, a capability; and a target
//!   proxy     what is between: the environment's HTTP proxy, by CONNECT
//!   leg       a connection: TCP, TLS, and whom to believe
//!   request   the request for a tunnel
//!   response  the head of the answer, and what came behind it
//!   error     why there is no tunnel, and what to do
//! reverse   connections that were made to the server, for what the client exposes
//! ```
//!
//! ```no_run
//! # async fn connect(socket: tokio::net::TcpStream) -> Result<(), Box<dyn std::error::Error>> {
//! use outflow_tunnel::client::{Client, Options, Target};
//!
//! let client = Client::new("https://files.example.com".parse()?, Options::default())?;
//! let tunnel = client.open(Some(&Target::new("intranet", 22)?)).await?;
//! let (totals, end) = tunnel.carry(socket).await;
//! println!("{end}: {} bytes came", totals.to_far);
//! # Ok(())
//! # }
//! ```

mod error;
mod leg;
mod options;
mod proxy;
mod request;
mod response;
mod reverse;
mod tunnel;
mod url;

pub use self::error::{Error, Refusal};
pub use self::leg::{Leg, roots};
pub use self::options::{Options, Via};
pub use self::proxy::Proxies;
pub use self::reverse::{Accepted, Listening};
pub use self::tunnel::{Client, Tunnel};
pub use self::url::{Address, BadAddress, Target};
