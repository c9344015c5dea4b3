//! The other end: asks a server for tunnels, and comes back to them when they break.
//!
//! ```text
//! address   what people write: a server, a template, a capability; and a target
//! proxy     what is between: the environment's HTTP proxy, by CONNECT
//! tls       whom to believe
//! leg       a connection: TCP, TLS
//! ask       the request for a tunnel
//! answer    the head of the answer, and what came behind it
//! refusal   why there is no tunnel, and what to do
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

mod address;
mod answer;
mod ask;
mod leg;
mod proxy;
mod refusal;
mod reverse;
mod tls;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustls::ClientConfig;

use self::address::Wanted;
use crate::carry::{self, End, Side, Totals};
use crate::frame::{Framing, Role};
use crate::session::{Answer, Ask, Attached, NoLeg, Reconnect, Resume};

pub use self::address::{Address, BadAddress, Target};
pub use self::leg::Leg;
pub use self::proxy::Proxies;
pub use self::refusal::{Error, Refusal};
pub use self::reverse::{Accepted, Listening};
pub use self::tls::roots;

/// How a tunnel is asked for, and how its bytes are framed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Via {
    /// `connect-tcp`: capsules (draft-ietf-httpbis-connect-tcp).
    #[default]
    ConnectTcp,
    /// WebSocket: binary frames, for proxies that know nothing else.
    WebSocket,
    /// Purr 0.1.2: raw bytes, for its servers.
    Purr,
}

impl Via {
    fn framing(self) -> Framing {
        match self {
            Via::ConnectTcp => Framing::Capsules,
            Via::WebSocket => Framing::WebSocket,
            Via::Purr => Framing::Raw,
        }
    }
}

/// How a client asks.
#[derive(Clone)]
pub struct Options {
    /// How tunnels are asked for.
    pub via: Via,
    /// Who asks: `Authorization: Bearer` with this. Otherwise user and password of the address are sent, if it has some.
    pub token: Option<String>,
    /// Certificates that servers' are checked with. `None`: the system's.
    pub tls: Option<Arc<ClientConfig>>,
    /// What is between. By default what the environment says.
    pub proxies: Proxies,
    /// Whether tunnels are to survive their legs, where the server lets them. Only `connect-tcp` can.
    pub resume: bool,
    /// When tunnels are given up. By default no tunnel is for being idle: that is the server's to decide.
    pub limits: carry::Limits,
    /// For each address that the server's name (or the proxy's) has, and for a TLS handshake. 10 seconds.
    pub connect_timeout: Duration,
    /// For the answer: the server connects before it. 30 seconds.
    pub answer_timeout: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            via: Via::default(),
            token: None,
            tls: None,
            proxies: Proxies::from_environment(),
            resume: true,
            limits: carry::Limits { idle: None, ..carry::Limits::default() },
            connect_timeout: Duration::from_secs(10),
            answer_timeout: Duration::from_secs(30),
        }
    }
}

/// Asks one server for tunnels. Its clones are the same one.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    address: Address,
    options: Options,
    tls: Option<Arc<ClientConfig>>,
}

impl Client {
    /// For the server at `address`.
    ///
    /// # Errors
    /// When it is `https`, and the system has no certificates to check it with.
    pub fn new(address: Address, options: Options) -> Result<Client, Error> {
        let tls = match &options.tls {
            Some(tls) => Some(Arc::clone(tls)),
            None if address.is_https() => Some(tls::roots(&[])?),
            None => None,
        };
        Ok(Client(Arc::new(Inner { address, options, tls })))
    }

    /// Whether the address alone says where tunnels lead to: it is a capability, or that of a purr server.
    #[must_use]
    pub fn is_bound(&self) -> bool {
        self.0.address.is_bound(self.0.options.via)
    }

    /// Asks for a tunnel to `target`, which matters only if the address does not say it: the tunnel is there when this
    /// returns.
    ///
    /// # Errors
    /// Why there is none. It says what to do.
    pub async fn open(&self, target: Option<&Target>) -> Result<Tunnel, Error> {
        self.ask_for(Wanted::Tunnel(target.cloned())).await
    }

    async fn ask_for(&self, wanted: Wanted) -> Result<Tunnel, Error> {
        let resumable = self.0.options.resume && self.0.options.via == Via::ConnectTcp;
        let Dialled { leg, early, resume } = self.dial(&wanted, resumable.then_some(Ask::New)).await?;
        let resume = resume.filter(|_| resumable).and_then(|answer| Resume::try_from(answer).ok());
        Ok(Tunnel { client: self.clone(), wanted, leg, early, resume })
    }

    /// A connection, a request, and an answer that grants it.
    async fn dial(&self, wanted: &Wanted, resume: Option<Ask>) -> Result<Dialled, Error> {
        let Inner { address, options, tls } = &*self.0;
        let place = address.place(options.via, wanted)?;
        let leg = leg::connect(&place, tls.as_ref(), options).await?;
        let ask = ask::Request::new(options, &place, resume)?;
        let asked = tokio::time::timeout(options.answer_timeout, ask::ask(leg, &ask));
        asked.await.map_err(|_| Error::Silent(place.authority.clone(), options.answer_timeout))?
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Client").field(&self.0.address).finish()
    }
}

/// A leg that the server has granted.
struct Dialled {
    leg: Leg,
    early: Bytes,
    resume: Option<Answer>,
}

/// A tunnel that is there, and has not carried anything.
pub struct Tunnel {
    client: Client,
    wanted: Wanted,
    leg: Leg,
    early: Bytes,
    resume: Option<Resume>,
}

impl Tunnel {
    /// Whether it can survive its leg.
    #[must_use]
    pub fn is_resumable(&self) -> bool {
        self.resume.is_some()
    }

    /// Carries what `far` says to the target, and back. Comes back after losses if it can.
    pub async fn carry<F: Side>(self, far: F) -> (Totals, End) {
        let Tunnel { client, wanted, leg, early, resume } = self;
        let limits = client.0.options.limits.clone();
        let Some(resume) = resume else {
            let framing = client.0.options.via.framing();
            return carry::carry(leg, early, framing, Role::Client, far, &limits).await;
        };
        let again = Again { client, wanted };
        crate::session::carry(leg, early, resume, far, &limits, again).await
    }
}

/// Comes back to the same.
struct Again {
    client: Client,
    wanted: Wanted,
}

impl Reconnect for Again {
    type Leg = Leg;

    async fn reconnect(&mut self, ask: Ask) -> Result<Attached<Leg>, NoLeg> {
        let Dialled { leg, early, resume } =
            self.client.dial(&self.wanted, Some(ask)).await.map_err(|error| match error.may_pass() {
                true => NoLeg::Retry(io::Error::other(error)),
                false => NoLeg::Refused(io::Error::other(error)),
            })?;
        let answer = resume.ok_or_else(|| {
            NoLeg::Refused(io::Error::other(
                "the server began a new tunnel instead of going on with this one",
            ))
        })?;
        Ok(Attached { leg, early, answer })
    }
}
