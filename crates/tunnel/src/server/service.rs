//! What a request goes through, one step after the other.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{HeaderValue, Request, Response};
use outflow_wire::{PeerAddr, upgrade};
use tokio::net::TcpStream;
use tower_service::Service;

use super::access::allow::Target;
use super::access::capability::{self, Capability};
use super::access::principal::Owner;
use super::metrics::Tally;
use super::quota::{Place, Places};
use super::record::Record;
use super::rejection::{Refusal, not_found};
use super::request::{Ask, Carrier};
use super::reverse::{self, Accepted};
use super::settings::Settings;
use super::tunnel::{self, Far, Way};
use super::{dial, handshake};
use crate::session::{self, Sessions};

/// What all requests share.
pub(super) struct Shared {
    pub(super) settings: Settings,
    pub(super) places: Arc<Places>,
    pub(super) accepted: Accepted,
    /// Of those who may come back; `None` if nobody may.
    sessions: Option<Sessions<Far>>,
    pub(super) tally: Arc<Tally>,
}

/// A service with tunnels in front: what is no business of theirs goes to `service`.
#[derive(Clone)]
pub struct TunnelService<S> {
    service: S,
    /// `None`: everything does.
    shared: Option<Arc<Shared>>,
}

impl<S> TunnelService<S> {
    /// With these settings; without any, there are no tunnels.
    #[must_use]
    pub fn new(service: S, settings: impl Into<Option<Settings>>) -> TunnelService<S> {
        TunnelService { service, shared: settings.into().map(|settings| Arc::new(Shared::new(settings))) }
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
    type Future = Answer<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let asked = self.shared.as_ref().and_then(|shared| Some((Arc::clone(shared), Ask::of(&request)?)));
        let Some((shared, ask)) = asked else { return Answer::Service(self.service.call(request)) };
        let promise = upgrade::on(&mut request);
        let (head, _) = request.into_parts();
        Answer::Tunnel(Box::pin(answer(shared, ask, head, promise)))
    }
}

/// The answer of a [`TunnelService`].
pub enum Answer<F> {
    /// It is the service's.
    Service(F),
    /// It is a tunnel, or the reason why there is none.
    Tunnel(Pin<Box<dyn Future<Output = Response<Vec<u8>>> + Send>>),
}

impl<F, R> Future for Answer<F>
where
    F: Future<Output = Result<Response<R>, Infallible>> + Unpin,
    R: From<Vec<u8>>,
{
    type Output = Result<Response<R>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            Answer::Service(answer) => Pin::new(answer).poll(cx),
            Answer::Tunnel(answer) => Poll::Ready(Ok(ready!(answer.as_mut().poll(cx)).map(R::from))),
        }
    }
}

/// Answers, and writes down why not if not.
async fn answer(
    shared: Arc<Shared>,
    ask: Result<Ask, Refusal>,
    head: http::request::Parts,
    promise: Option<upgrade::OnUpgrade>,
) -> Response<Vec<u8>> {
    let granted = match ask {
        Ok(ask) => grant(&shared, ask, &head, promise).await,
        Err(refusal) => Err(refusal),
    };
    granted.unwrap_or_else(|refusal| {
        let client = head.extensions.get::<PeerAddr>().map(|peer| tracing::field::display(peer.0));
        let status = refusal.status.as_u16();
        shared.tally.add_refused(status);
        tracing::info!(client, uri = %printable(&head.uri), status, reason = refusal.text, "tunnel refused");
        refusal.into_response()
    })
}

/// What was asked for, without what is secret in it.
fn printable(uri: &http::Uri) -> String {
    match uri.path().strip_prefix(capability::PATH) {
        Some(_) => format!("{}…", capability::PATH),
        None if uri.path().is_empty() => uri.to_string(),
        None => uri.path().to_owned(),
    }
}

async fn grant(
    shared: &Arc<Shared>,
    ask: Ask,
    head: &http::request::Parts,
    promise: Option<upgrade::OnUpgrade>,
) -> Result<Response<Vec<u8>>, Refusal> {
    let is_proxy = matches!(ask, Ask::Tunnel(Carrier::Connect, _));
    let who = || Owner::of(&shared.settings, head, is_proxy);
    match ask {
        Ask::Metrics => {
            who()?;
            let mut response = Response::new(shared.tally.text(shared.places.open()).into_bytes());
            let version = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
            response.headers_mut().insert(http::header::CONTENT_TYPE, version);
            Ok(response)
        }
        Ask::Tunnel(carrier, target) => {
            let wanted = Wanted { carrier, target, capability: None, owner: who()? };
            wanted.grant(shared, head, promise).await
        }
        Ask::Capability(carrier, token) => {
            let keys = shared.settings.keys.as_ref().ok_or_else(not_found)?;
            let capability = keys.check(&token).map_err(|why| Refusal::denied(why.to_string()))?;
            let owner = Owner::of_capability(&shared.settings, &capability);
            let target = capability.target.clone();
            Wanted { carrier, target, capability: Some(capability), owner }.grant(shared, head, promise).await
        }
        Ask::Listen(host, port) => reverse::listen(shared, who()?, (&host, port), head, promise).await,
        Ask::Accept(carrier, id) => {
            let owner = who()?;
            handshake::check(&carrier, &head.headers)?;
            let promise = promise.ok_or_else(tunnel::without_promise)?;
            let resume = tunnel::resume(&carrier, head)?;
            if let Some(session::Ask::Again { id, received }) = resume {
                let way = Way::go_on(shared.sessions.as_ref(), id, &owner.name, received).await?;
                return way.start(shared, &carrier, head, promise);
            }
            let (stream, peer) = shared.accepted.take(&id, &owner.name).ok_or_else(not_found)?;
            let mut place = shared.places.take(&owner.name, owner.tunnels)?;
            place.connected();
            let what = (format!("accepted from {peer}"), peer);
            let far = shared.far(stream, place, owner.name, what, &carrier, head);
            Way::begin(shared.sessions.as_ref(), resume.is_some(), far).start(shared, &carrier, head, promise)
        }
    }
}

/// A tunnel that is asked for.
struct Wanted {
    carrier: Carrier,
    target: Target,
    capability: Option<Capability>,
    owner: Owner,
}

impl Wanted {
    async fn grant(
        self,
        shared: &Arc<Shared>,
        head: &http::request::Parts,
        promise: Option<upgrade::OnUpgrade>,
    ) -> Result<Response<Vec<u8>>, Refusal> {
        let Wanted { carrier, target, capability, owner } = self;
        if !owner.allow.may_ask(&target) {
            return Err(Refusal::denied(format!("{target} is not among the targets that are allowed")));
        }
        let resume = tunnel::resume(&carrier, head)?;
        if let Some(session::Ask::Again { id, received }) = resume {
            // Whoever comes back need not be in time again, nor have another place.
            let promise = promise.ok_or_else(tunnel::without_promise)?;
            let way = Way::go_on(shared.sessions.as_ref(), id, &owner.name, received).await?;
            return way.start(shared, &carrier, head, promise);
        }
        let unusable = |why: capability::Unusable| Refusal::denied(why.to_string());
        let keyed = shared.settings.keys.as_ref().zip(capability.as_ref());
        if let Some((keys, capability)) = keyed {
            keys.look(capability).map_err(unusable)?;
        }
        // What could be refused for its form is, before the target hears of it.
        handshake::check(&carrier, &head.headers)?;
        let promise = promise.ok_or_else(tunnel::without_promise)?;
        let mut place = shared.places.take(&owner.name, owner.tunnels)?;
        let settings = &shared.settings;
        let dialed = dial::dial(&target, &owner.allow, &settings.lookup, settings.connect_timeout);
        let (stream, address) = dialed.await?;
        place.connected();
        if let Some(capability) = capability {
            let shared = Arc::clone(shared);
            let spending = tokio::task::spawn_blocking(move || {
                shared.settings.keys.as_ref().map_or(Ok(()), |keys| keys.spend(&capability))
            });
            spending.await.unwrap_or(Err(capability::Unusable::Unnoted)).map_err(unusable)?;
        }
        let far = shared.far(stream, place, owner.name, (target.to_string(), address), &carrier, head);
        Way::begin(shared.sessions.as_ref(), resume.is_some(), far).start(shared, &carrier, head, promise)
    }
}

impl Shared {
    fn new(settings: Settings) -> Shared {
        let places = Arc::new(Places::new(settings.most));
        let sessions =
            settings.resume.map(|keep| Sessions::new(session::Limits { keep, ..session::Limits::default() }));
        Shared { settings, places, accepted: Accepted::default(), sessions, tally: Arc::default() }
    }

    fn far(
        &self,
        stream: TcpStream,
        place: Place,
        owner: Arc<str>,
        what: (String, SocketAddr),
        carrier: &Carrier,
        head: &http::request::Parts,
    ) -> Far {
        let client = head.extensions.get::<PeerAddr>().map(|peer| peer.0);
        let record = Record::new(owner, what, client, carrier.name(), &self.tally);
        Far { stream, record: Arc::new(record), _place: place }
    }
}
