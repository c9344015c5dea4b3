//! A client: asks for tunnels, and comes back to them when they break.

use std::fmt;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use rustls::ClientConfig;

use super::error::Error;
use super::leg::{self, Leg, roots};
use super::options::{Options, Via};
use super::request::{self, Dialled, Request};
use super::url::{Address, Target, Wanted};
use crate::carry::{self, End, Side, Totals};
use crate::frame::Role;
use crate::session::{Ask, Attached, NoLeg, Reconnect, Resume};

/// Asks one server for tunnels. Its clones are the same one.
#[derive(Clone)]
pub struct Client(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) address: Address,
    pub(super) options: Options,
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
            None if address.is_https() => Some(roots(&[])?),
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

    pub(super) async fn ask_for(&self, wanted: Wanted) -> Result<Tunnel, Error> {
        let resumable = self.0.options.resume && self.0.options.via == Via::ConnectTcp;
        let Dialled { leg, early, resume } = self.dial(&wanted, resumable.then_some(Ask::New)).await?;
        let resume = resume.filter(|_| resumable).and_then(|answer| Resume::try_from(answer).ok());
        Ok(Tunnel { client: self.clone(), wanted, leg, early, resume })
    }

    /// A connection, a request, and an answer that grants it.
    pub(super) async fn dial(&self, wanted: &Wanted, resume: Option<Ask>) -> Result<Dialled, Error> {
        let Inner { address, options, tls } = &*self.0;
        let place = address.place(options.via, wanted)?;
        let leg = leg::connect(&place, tls.as_ref(), options).await?;
        let ask = Request::new(options, &place, resume)?;
        let asked = tokio::time::timeout(options.answer_timeout, request::ask(leg, &ask));
        asked.await.map_err(|_| Error::Silent(place.authority.clone(), options.answer_timeout))?
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Client").field(&self.0.address).finish()
    }
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
