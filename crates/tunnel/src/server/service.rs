//! What a request passes through, one step after the other.

use outflow_texts::text;
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{HeaderValue, Request, Response};
use outflow_metrics::{MetricRegistry, TEXT_TYPE};
use outflow_relay::flow::FlowCounters;
use outflow_wire::{PeerAddr, upgrade};
use tokio::net::TcpStream;
use tower_service::Service;

use super::access::allow::TunnelTarget;
use super::access::capability::{self, Capability, CapabilityError};
use super::access::principal::Principal;
use super::metrics::TunnelMetrics;
use super::quota::{TunnelPermit, TunnelQuota};
use super::record::TunnelRecord;
use super::rejection::{Rejection, not_found};
use super::request::{Carrier, TunnelRequest};
use super::reverse::ReverseListeners;
use super::settings::TunnelSettings;
use super::tunnel::{self, GrantedTunnel, TargetStream};
use super::{dial, handshake};
use crate::session::{ResumeRequest, SessionLimits, Sessions};

/// What all requests share.
struct TunnelServer {
    settings: TunnelSettings,
    quota: Arc<TunnelQuota>,
    reverse: Arc<ReverseListeners>,
    /// Resumable tunnels; `None` if the settings allow none.
    sessions: Option<Sessions<TargetStream>>,
    metrics: Arc<TunnelMetrics>,
    /// Bytes of tunnels without frames, by the path that they took.
    flows: Arc<FlowCounters>,
}

/// A service that answers requests for tunnels, and leaves all others to `service`.
#[derive(Clone)]
pub struct TunnelService<S> {
    service: S,
    /// `None`: all requests go to `service`.
    server: Option<Arc<TunnelServer>>,
}

impl<S> TunnelService<S> {
    /// With these settings; without any there are no tunnels.
    #[must_use]
    pub fn new(service: S, settings: impl Into<Option<TunnelSettings>>) -> TunnelService<S> {
        TunnelService {
            service,
            server: settings.into().map(|settings| Arc::new(TunnelServer::new(settings))),
        }
    }
}

impl<S, B, R> Service<Request<B>> for TunnelService<S>
where
    S: Service<Request<B>, Response = Response<R>, Error = Infallible>,
    S::Future: Unpin,
    R: From<Vec<u8>>,
{
    type Response = Response<R>;
    type Error = Infallible;
    type Future = TunnelFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let parsed = self
            .server
            .as_ref()
            .and_then(|server| Some((Arc::clone(server), TunnelRequest::parse(&request)?)));
        let Some((server, parsed)) = parsed else {
            return TunnelFuture::Service(self.service.call(request));
        };
        let upgrade = upgrade::on(&mut request);
        let (head, _) = request.into_parts();
        TunnelFuture::Tunnel(Box::pin(respond(server, parsed, head, upgrade)))
    }
}

/// The response of a [`TunnelService`].
pub enum TunnelFuture<F> {
    /// From the service behind it.
    Service(F),
    /// A tunnel, or a rejection.
    Tunnel(Pin<Box<dyn Future<Output = Response<Vec<u8>>> + Send>>),
}

impl<F, R> Future for TunnelFuture<F>
where
    F: Future<Output = Result<Response<R>, Infallible>> + Unpin,
    R: From<Vec<u8>>,
{
    type Output = Result<Response<R>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            TunnelFuture::Service(response) => Pin::new(response).poll(cx),
            TunnelFuture::Tunnel(response) => {
                Poll::Ready(Ok(ready!(response.as_mut().poll(cx)).map(R::from)))
            }
        }
    }
}

/// Responds, and logs a rejection.
async fn respond(
    server: Arc<TunnelServer>,
    request: Result<TunnelRequest, Rejection>,
    head: http::request::Parts,
    upgrade: Option<upgrade::OnUpgrade>,
) -> Response<Vec<u8>> {
    let response = match request {
        Ok(request) => server.grant(request, &head, upgrade).await,
        Err(rejection) => Err(rejection),
    };
    response.unwrap_or_else(|rejection| {
        let client = head.extensions.get::<PeerAddr>().map(|peer| tracing::field::display(peer.0));
        let status = rejection.status.as_u16();
        server.metrics.refused.of(rejection.status.into()).inc();
        tracing::info!(client, uri = %without_secrets(&head.uri), status, reason = rejection.say(), "tunnel refused");
        rejection.into_response()
    })
}

/// The requested address for the log, without the token of a capability.
fn without_secrets(uri: &http::Uri) -> String {
    match uri.path().strip_prefix(capability::PATH) {
        Some(_) => format!("{}…", capability::PATH),
        None if uri.path().is_empty() => uri.to_string(),
        None => uri.path().to_owned(),
    }
}

/// A tunnel to a target that has been requested and not been granted yet.
struct PendingTunnel {
    carrier: Carrier,
    target: TunnelTarget,
    capability: Option<Capability>,
    principal: Principal,
}

impl TunnelServer {
    fn new(settings: TunnelSettings) -> TunnelServer {
        let metrics: Arc<TunnelMetrics> = settings.metrics.set();
        let flows = settings.metrics.set();
        let quota = Arc::new(TunnelQuota::new(settings.limits, Arc::clone(&metrics)));
        let reverse = Arc::new(ReverseListeners::new(Arc::clone(&quota), &settings.timeouts));
        let sessions =
            settings.resume.map(|keep| Sessions::new(SessionLimits { keep, ..SessionLimits::default() }));
        TunnelServer { settings, quota, reverse, sessions, metrics, flows }
    }

    async fn grant(
        self: &Arc<TunnelServer>,
        request: TunnelRequest,
        head: &http::request::Parts,
        upgrade: Option<upgrade::OnUpgrade>,
    ) -> Result<Response<Vec<u8>>, Rejection> {
        let is_proxy = matches!(request, TunnelRequest::Tunnel(Carrier::Connect, _));
        let authenticate = || Principal::authenticate(&self.settings, head, is_proxy);
        match request {
            TunnelRequest::Metrics => {
                authenticate()?;
                let shown = MetricRegistry::default();
                shown.insert(Arc::clone(&self.metrics));
                shown.insert(Arc::clone(&self.flows));
                let mut response = Response::new(shown.text().into_bytes());
                let format = HeaderValue::from_static(TEXT_TYPE);
                response.headers_mut().insert(http::header::CONTENT_TYPE, format);
                Ok(response)
            }
            TunnelRequest::Tunnel(carrier, target) => {
                let principal = authenticate()?;
                let pending = PendingTunnel { carrier, target, capability: None, principal };
                self.connect(pending, head, upgrade).await
            }
            TunnelRequest::Capability(carrier, token) => {
                let keys = self.settings.keys.as_ref().ok_or_else(not_found)?;
                let capability = keys.verify(&token).map_err(unusable)?;
                let principal = Principal::of_capability(&self.settings, &capability);
                let target = capability.target.clone();
                let pending = PendingTunnel { carrier, target, capability: Some(capability), principal };
                self.connect(pending, head, upgrade).await
            }
            TunnelRequest::Listen(host, port) => {
                self.reverse.listen(authenticate()?, (&host, port), head, upgrade).await
            }
            TunnelRequest::Accept(carrier, id) => {
                let principal = authenticate()?;
                self.accept(carrier, &id, principal, head, upgrade).await
            }
        }
    }

    /// Connects to a target.
    async fn connect(
        self: &Arc<TunnelServer>,
        pending: PendingTunnel,
        head: &http::request::Parts,
        upgrade: Option<upgrade::OnUpgrade>,
    ) -> Result<Response<Vec<u8>>, Rejection> {
        let PendingTunnel { carrier, target, capability, principal } = pending;
        if !principal.allow.allows_target(&target) {
            return Err(Rejection::denied(text!(tunnel_target_denied, %target)));
        }
        let resume = tunnel::resume_request(&carrier, head)?;
        if let Some(ResumeRequest::Again { id, received }) = resume {
            // A resumed tunnel keeps its permit, and its capability may have expired since.
            let upgrade = upgrade.ok_or_else(tunnel::no_upgrade)?;
            let tunnel = GrantedTunnel::resume(self.sessions.as_ref(), id, &principal.name, received).await?;
            return tunnel.start(&self.settings.timeouts, &carrier, head, upgrade);
        }
        if let Some((keys, capability)) = self.settings.keys.as_ref().zip(capability.as_ref()) {
            keys.check_usable(capability).map_err(unusable)?;
        }
        // Rejects malformed requests before the target notices anything.
        handshake::check(&carrier, &head.headers)?;
        let upgrade = upgrade.ok_or_else(tunnel::no_upgrade)?;
        let mut permit = self.quota.acquire(&principal.name, principal.tunnels)?;
        let (stream, address) =
            dial::dial(&target, &principal.allow, &self.settings.resolver, self.settings.connect_timeout)
                .await?;
        permit.set_connected();
        if let Some(capability) = capability {
            let server = Arc::clone(self);
            let spending = tokio::task::spawn_blocking(move || {
                server.settings.keys.as_ref().map_or(Ok(()), |keys| keys.spend(&capability))
            });
            spending.await.unwrap_or(Err(CapabilityError::NotRecorded)).map_err(unusable)?;
        }
        let far =
            self.target_stream(stream, permit, principal.name, (target.to_string(), address), &carrier, head);
        GrantedTunnel::new(self.sessions.as_ref(), resume.is_some(), far).start(
            &self.settings.timeouts,
            &carrier,
            head,
            upgrade,
        )
    }

    /// Tunnels to a connection that a [`ReverseListeners`] has accepted.
    async fn accept(
        &self,
        carrier: Carrier,
        id: &str,
        principal: Principal,
        head: &http::request::Parts,
        upgrade: Option<upgrade::OnUpgrade>,
    ) -> Result<Response<Vec<u8>>, Rejection> {
        handshake::check(&carrier, &head.headers)?;
        let upgrade = upgrade.ok_or_else(tunnel::no_upgrade)?;
        let resume = tunnel::resume_request(&carrier, head)?;
        if let Some(ResumeRequest::Again { id, received }) = resume {
            let tunnel = GrantedTunnel::resume(self.sessions.as_ref(), id, &principal.name, received).await?;
            return tunnel.start(&self.settings.timeouts, &carrier, head, upgrade);
        }
        let (stream, peer) = self.reverse.take(id, &principal.name).ok_or_else(not_found)?;
        let mut permit = self.quota.acquire(&principal.name, principal.tunnels)?;
        permit.set_connected();
        let target = (format!("accepted from {peer}"), peer);
        let far = self.target_stream(stream, permit, principal.name, target, &carrier, head);
        GrantedTunnel::new(self.sessions.as_ref(), resume.is_some(), far).start(
            &self.settings.timeouts,
            &carrier,
            head,
            upgrade,
        )
    }

    fn target_stream(
        &self,
        stream: TcpStream,
        permit: TunnelPermit,
        owner: Arc<str>,
        target: (String, SocketAddr),
        carrier: &Carrier,
        head: &http::request::Parts,
    ) -> TargetStream {
        let client = head.extensions.get::<PeerAddr>().map(|peer| peer.0);
        let record = TunnelRecord::new(
            owner,
            target,
            client,
            (carrier.name(), carrier.label()),
            (&self.metrics, &self.flows),
        );
        TargetStream { stream, record: Arc::new(record), _permit: permit }
    }
}

fn unusable(error: CapabilityError) -> Rejection {
    Rejection::denied(match error {
        CapabilityError::Invalid => text!(tunnel_capability_invalid),
        CapabilityError::Expired => text!(tunnel_capability_expired),
        CapabilityError::Used => text!(tunnel_capability_used),
        CapabilityError::NotRecorded => text!(tunnel_capability_not_recorded),
    })
}
