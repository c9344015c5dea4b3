//! A tunnel that was granted, until its end.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Response, StatusCode};
use outflow_relay::flow::{FlowEnd, FlowSide, FlowSocket, FlowTimeouts, flow};
use outflow_wire::upgrade::{OnUpgrade, Upgraded};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::handshake;
use super::quota::Place;
use super::record::Record;
use super::rejection::Refusal;
use super::request::Carrier;
use super::service::Shared;
use crate::carry::{Side, Totals, carry};
use crate::frame::{Framing, Role};
use crate::session::{self, AttachError, Ran, Session, Sessions};

/// A far end, and what has to live as long.
pub(super) struct Far {
    pub(super) stream: TcpStream,
    pub(super) record: Arc<Record>,
    pub(super) _place: Place,
}

/// What carries a tunnel.
pub(super) enum Way {
    /// This leg, and no other.
    Once(Far),
    /// This leg, and the next one if it is lost.
    Again(Session<Far>),
}

/// What a request says of coming back.
pub(super) fn resume(carrier: &Carrier, head: &Parts) -> Result<Option<session::Ask>, Refusal> {
    match head.headers.get(session::NAME) {
        Some(value) if matches!(carrier, Carrier::Capsules(_)) => {
            let said = value.to_str().ok().and_then(|value| value.parse().ok());
            said.map(Some).ok_or_else(|| Refusal::wrong(session::BadField.to_string()))
        }
        _ => Ok(None),
    }
}

impl Way {
    /// For a new tunnel: one that can be come back to, if that is asked for and there is room.
    pub(super) fn begin(sessions: Option<&Sessions<Far>>, wants: bool, far: Far) -> Way {
        match sessions.filter(|_| wants) {
            Some(sessions) => {
                let owner = Arc::clone(&far.record.owner);
                sessions.begin(&owner, far).map_or_else(Way::Once, Way::Again)
            }
            None => Way::Once(far),
        }
    }

    /// For one that has lost its leg.
    pub(super) async fn go_on(
        sessions: Option<&Sessions<Far>>,
        id: session::Id,
        owner: &str,
        received: u64,
    ) -> Result<Way, Refusal> {
        let session = match sessions {
            Some(sessions) => sessions.attach(id, owner, received).await,
            None => Err(AttachError::Unknown),
        };
        session.map(Way::Again).map_err(|error| {
            let status = match error {
                AttachError::Unknown => StatusCode::NOT_FOUND,
                AttachError::NotYours => StatusCode::FORBIDDEN,
                AttachError::OutOfWindow => StatusCode::CONFLICT,
            };
            Refusal::new(status, error.to_string())
        })
    }

    /// Agrees, and carries once the answer has left.
    pub(super) fn start(
        self,
        shared: &Arc<Shared>,
        carrier: &Carrier,
        head: &Parts,
        promise: OnUpgrade,
    ) -> Result<Response<Vec<u8>>, Refusal> {
        let mut response = handshake::response(carrier, head)?;
        if let Way::Again(session) = &self {
            let answer = HeaderValue::try_from(session.answer().to_string());
            let answer = answer.map_err(|error| Refusal::wrong(error.to_string()))?;
            response.headers_mut().insert(session::NAME, answer);
        }
        let (shared, framing) = (Arc::clone(shared), carrier.framing());
        tokio::spawn(async move {
            let leg = match promise.await {
                Ok(leg) => leg,
                Err(error) => return tracing::debug!(%error, "the client left before its tunnel began"),
            };
            match self {
                Way::Again(session) => again(&shared, session, leg).await,
                Way::Once(far) => once(&shared, leg, framing, far).await,
            }
        });
        Ok(response)
    }
}

async fn again(shared: &Shared, session: Session<Far>, leg: Upgraded) {
    let Some(record) = session.far().map(|far| Arc::clone(&far.record)) else { return };
    let (totals, ran) = session.run(leg, Bytes::new(), &shared.settings.limits).await;
    let end = match ran {
        Ran::Over(end) => end.to_string(),
        Ran::Detached(error) => {
            tracing::debug!(user = %record.owner, target = record.target, %error, "a tunnel has lost its client");
            format!("its client was lost and did not come back: {error}")
        }
        Ran::Displaced => "its client came back".to_owned(),
    };
    record.leg_ended(totals, end);
}

async fn once(shared: &Shared, leg: Upgraded, framing: Framing, far: Far) {
    let record = Arc::clone(&far.record);
    let (totals, end) = match framing {
        Framing::Raw => raw(shared, leg, far).await,
        framing => framed(shared, leg, framing, far).await,
    };
    record.leg_ended(totals, end);
}

async fn framed(shared: &Shared, leg: Upgraded, framing: Framing, far: Far) -> (Totals, String) {
    let limits = &shared.settings.limits;
    let (totals, end) = carry(leg, Bytes::new(), framing, Role::Server, far, limits).await;
    (totals, end.to_string())
}

/// Bytes as they are: from socket to socket by the kernel, where both are sockets.
async fn raw(shared: &Shared, leg: Upgraded, far: Far) -> (Totals, String) {
    let (socket, early, _counted) = match leg.into_parts() {
        Ok(parts) => parts,
        Err(leg) => return framed(shared, leg, Framing::Raw, far).await,
    };
    let Far { stream, record: _record, _place } = far;
    let idle = shared.settings.limits.idle;
    let limits = FlowTimeouts { idle, half_closed: idle };
    let flowed =
        flow(FlowSocket::from(socket), FlowSocket::from(stream), &early, &limits, &shared.tally.flows).await;
    let end = match flowed.end {
        FlowEnd::Complete => "complete".to_owned(),
        FlowEnd::Idle => "idle for too long".to_owned(),
        FlowEnd::Broken(FlowSide::Left, error) => format!("the tunnel broke: {error}"),
        FlowEnd::Broken(FlowSide::Right, error) => format!("the tunnelled connection broke: {error}"),
    };
    (Totals { to_far: flowed.up.total(), from_far: flowed.down.total() }, end)
}

/// Under a server that promises none; or the request has a body, which no tunnel begins with.
pub(super) fn without_promise() -> Refusal {
    Refusal::wrong("this request cannot become a tunnel: send it without a body, and over HTTP/1.1 or HTTP/2")
}

impl Side for Far {
    fn reset(&mut self) {
        self.stream.reset();
    }
}

impl AsyncRead for Far {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, room)
    }
}

impl AsyncWrite for Far {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
