//! A client: requests tunnels, and resumes them when they break.

use std::fmt;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use rustls::ClientConfig;

use super::error::ConnectError;
use super::leg::{self, ClientLeg, tls_config};
use super::options::{TunnelClientOptions, UpgradeProtocol};
use super::request::{self, GrantedLeg, UpgradeRequest};
use super::url::{Destination, RemoteTarget, TunnelUrl};
use crate::carry::{self, TunnelEnd, TunnelStream, TunnelTotals};
use crate::frame::LegRole;
use crate::session::{self, Reconnect, ReconnectError, ResumeGrant, ResumeRequest, ResumedLeg};

/// Requests tunnels from one server. Clones share it.
#[derive(Clone)]
pub struct TunnelClient(pub(super) Arc<ClientConfiguration>);

pub(super) struct ClientConfiguration {
    pub(super) url: TunnelUrl,
    pub(super) options: TunnelClientOptions,
    tls: Option<Arc<ClientConfig>>,
}

impl TunnelClient {
    /// A client of the server at `url`.
    ///
    /// # Errors
    /// The URL is `https`, and the system has no certificate authorities.
    pub fn new(url: TunnelUrl, options: TunnelClientOptions) -> Result<TunnelClient, ConnectError> {
        let tls = match &options.tls {
            Some(tls) => Some(Arc::clone(tls)),
            None if url.is_https() => Some(tls_config(&[])?),
            None => None,
        };
        Ok(TunnelClient(Arc::new(ClientConfiguration { url, options, tls })))
    }

    /// Whether the URL determines the target: it is a capability, or a path of a purr server.
    #[must_use]
    pub fn is_bound(&self) -> bool {
        self.0.url.is_bound(self.0.options.protocol)
    }

    /// Opens a tunnel to `target`, which is ignored if the URL determines it.
    ///
    /// # Errors
    /// Why there is no tunnel, and what to do.
    pub async fn open(&self, target: Option<&RemoteTarget>) -> Result<ClientTunnel, ConnectError> {
        self.open_destination(Destination::Tunnel(target.cloned())).await
    }

    pub(super) async fn open_destination(
        &self,
        destination: Destination,
    ) -> Result<ClientTunnel, ConnectError> {
        let resumable = self.0.options.resume && self.0.options.protocol == UpgradeProtocol::ConnectTcp;
        let GrantedLeg { leg, early, resume } =
            self.connect(&destination, resumable.then_some(ResumeRequest::New)).await?;
        let resume = resume.filter(|_| resumable).and_then(|response| ResumeGrant::try_from(response).ok());
        Ok(ClientTunnel { client: self.clone(), destination, leg, early, resume })
    }

    /// Connects, sends the request, and reads a response that grants it.
    pub(super) async fn connect(
        &self,
        destination: &Destination,
        resume: Option<ResumeRequest>,
    ) -> Result<GrantedLeg, ConnectError> {
        let ClientConfiguration { url, options, tls } = &*self.0;
        let url = url.request_url(options.protocol, destination)?;
        let leg = leg::connect(&url, tls.as_ref(), options).await?;
        let request = UpgradeRequest::new(options, &url, resume)?;
        let granted = tokio::time::timeout(options.response_timeout, request::send(leg, &request)).await;
        granted.map_err(|_| ConnectError::Timeout(url.authority.clone(), options.response_timeout))?
    }
}

impl fmt::Debug for TunnelClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TunnelClient").field(&self.0.url).finish()
    }
}

/// A tunnel that has been granted, and has not carried anything.
pub struct ClientTunnel {
    client: TunnelClient,
    destination: Destination,
    leg: ClientLeg,
    early: Bytes,
    resume: Option<ResumeGrant>,
}

impl ClientTunnel {
    /// Whether it survives the loss of its leg.
    #[must_use]
    pub fn is_resumable(&self) -> bool {
        self.resume.is_some()
    }

    /// Carries bytes between `far` and the target. Reconnects after losses if it is resumable.
    pub async fn carry<F: TunnelStream>(self, far: F) -> (TunnelTotals, TunnelEnd) {
        let ClientTunnel { client, destination, leg, early, resume } = self;
        let timeouts = client.0.options.timeouts.clone();
        let Some(resume) = resume else {
            let framing = client.0.options.protocol.framing();
            return carry::carry(leg, early, framing, LegRole::Client, far, &timeouts).await;
        };
        let reconnector = Reconnector { client, destination };
        session::carry(leg, early, resume, far, &timeouts, reconnector).await
    }
}

/// Reconnects to the same destination.
struct Reconnector {
    client: TunnelClient,
    destination: Destination,
}

impl Reconnect for Reconnector {
    type Leg = ClientLeg;

    async fn reconnect(&mut self, resume: ResumeRequest) -> Result<ResumedLeg<ClientLeg>, ReconnectError> {
        let GrantedLeg { leg, early, resume } =
            self.client.connect(&self.destination, Some(resume)).await.map_err(|error| {
                match error.is_temporary() {
                    true => ReconnectError::Retry(io::Error::other(error)),
                    false => ReconnectError::Refused(io::Error::other(error)),
                }
            })?;
        let response = resume.ok_or_else(|| {
            ReconnectError::Refused(io::Error::other(
                "the server began a new tunnel instead of resuming this one",
            ))
        })?;
        Ok(ResumedLeg { leg, early, response })
    }
}
