//! A granted tunnel until its end.

use outflow_texts::text;
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
use super::quota::TunnelPermit;
use super::record::TunnelRecord;
use super::rejection::Rejection;
use super::request::Carrier;
use crate::carry::{TunnelStream, TunnelTimeouts, TunnelTotals, carry};
use crate::frame::{LegFraming, LegRole};
use crate::session::{
    AttachError, LegOutcome, RESUME_FIELD, ResumeRequest, SessionId, Sessions, TunnelSession,
};

/// The far end at the server, and what has to live as long.
pub(super) struct TargetStream {
    pub(super) stream: TcpStream,
    pub(super) record: Arc<TunnelRecord>,
    pub(super) _permit: TunnelPermit,
}

/// A granted tunnel.
pub(super) enum GrantedTunnel {
    /// It ends with its leg.
    Single(TargetStream),
    /// It continues on another leg when this one is lost.
    Resumable(TunnelSession<TargetStream>),
}

/// The `Outflow-Resume` of a request.
pub(super) fn resume_request(carrier: &Carrier, head: &Parts) -> Result<Option<ResumeRequest>, Rejection> {
    match head.headers.get(RESUME_FIELD) {
        Some(value) if matches!(carrier, Carrier::Capsules(_)) => {
            let request = value.to_str().ok().and_then(|value| value.parse().ok());
            request.map(Some).ok_or_else(|| Rejection::bad_request(text!(tunnel_resume_field)))
        }
        _ => Ok(None),
    }
}

impl GrantedTunnel {
    /// A new tunnel, resumable if that is requested and the limits of sessions allow it.
    pub(super) fn new(
        sessions: Option<&Sessions<TargetStream>>,
        resumable: bool,
        far: TargetStream,
    ) -> GrantedTunnel {
        match sessions.filter(|_| resumable) {
            Some(sessions) => {
                let owner = Arc::clone(&far.record.owner);
                sessions.begin(&owner, far).map_or_else(GrantedTunnel::Single, GrantedTunnel::Resumable)
            }
            None => GrantedTunnel::Single(far),
        }
    }

    /// A tunnel that has lost its leg.
    pub(super) async fn resume(
        sessions: Option<&Sessions<TargetStream>>,
        id: SessionId,
        owner: &str,
        received: u64,
    ) -> Result<GrantedTunnel, Rejection> {
        let session = match sessions {
            Some(sessions) => sessions.attach(id, owner, received).await,
            None => Err(AttachError::Unknown),
        };
        session.map(GrantedTunnel::Resumable).map_err(|error| {
            let (status, text) = match error {
                AttachError::Unknown => (StatusCode::NOT_FOUND, text!(tunnel_session_unknown)),
                AttachError::NotYours => (StatusCode::FORBIDDEN, text!(tunnel_session_of_another)),
                AttachError::OutOfWindow => (StatusCode::CONFLICT, text!(tunnel_session_out_of_window)),
            };
            Rejection::new(status, text)
        })
    }

    /// Returns the response that grants the tunnel, and carries bytes once that has been sent.
    pub(super) fn start(
        self,
        timeouts: &TunnelTimeouts,
        carrier: &Carrier,
        head: &Parts,
        upgrade: OnUpgrade,
    ) -> Result<Response<Vec<u8>>, Rejection> {
        let mut response = handshake::response(carrier, head)?;
        if let GrantedTunnel::Resumable(session) = &self {
            let resume = HeaderValue::try_from(session.response().to_string());
            let resume = resume.map_err(|error| Rejection::bad_request(text!(tunnel_error, %error)))?;
            response.headers_mut().insert(RESUME_FIELD, resume);
        }
        let (timeouts, framing) = (timeouts.clone(), carrier.framing());
        tokio::spawn(async move {
            let leg = match upgrade.await {
                Ok(leg) => leg,
                Err(error) => return tracing::debug!(%error, "the client left before its tunnel began"),
            };
            match self {
                GrantedTunnel::Resumable(session) => carry_session(&timeouts, session, leg).await,
                GrantedTunnel::Single(far) => carry_once(&timeouts, leg, framing, far).await,
            }
        });
        Ok(response)
    }
}

async fn carry_session(timeouts: &TunnelTimeouts, session: TunnelSession<TargetStream>, leg: Upgraded) {
    let Some(record) = session.far().map(|far| Arc::clone(&far.record)) else { return };
    let (totals, outcome) = session.run(leg, Bytes::new(), timeouts).await;
    let end = match outcome {
        LegOutcome::Over(end) => end.to_string(),
        LegOutcome::Detached(error) => {
            tracing::debug!(user = %record.owner, target = record.target, %error, "a tunnel has lost its client");
            format!("its client was lost and did not reconnect: {error}")
        }
        LegOutcome::Displaced => "its client reconnected".to_owned(),
    };
    record.leg_ended(totals, end);
}

async fn carry_once(timeouts: &TunnelTimeouts, leg: Upgraded, framing: LegFraming, far: TargetStream) {
    let record = Arc::clone(&far.record);
    let (totals, end) = match framing {
        LegFraming::Raw => carry_raw(timeouts, leg, far).await,
        framing => carry_framed(timeouts, leg, framing, far).await,
    };
    record.leg_ended(totals, end);
}

async fn carry_framed(
    timeouts: &TunnelTimeouts,
    leg: Upgraded,
    framing: LegFraming,
    far: TargetStream,
) -> (TunnelTotals, String) {
    let (totals, end) = carry(leg, Bytes::new(), framing, LegRole::Server, far, timeouts).await;
    (totals, end.to_string())
}

/// Raw bytes go from socket to socket through the kernel, if the leg is a socket too.
async fn carry_raw(timeouts: &TunnelTimeouts, leg: Upgraded, far: TargetStream) -> (TunnelTotals, String) {
    let (socket, early, _counted) = match leg.into_parts() {
        Ok(parts) => parts,
        Err(leg) => return carry_framed(timeouts, leg, LegFraming::Raw, far).await,
    };
    let TargetStream { stream, record, _permit } = far;
    let idle = timeouts.idle;
    let timeouts = FlowTimeouts { idle, half_closed: idle };
    let counters = record.flow_counters();
    let flowed = flow(FlowSocket::from(socket), FlowSocket::from(stream), &early, &timeouts, counters).await;
    let end = match flowed.end {
        FlowEnd::Complete => "complete".to_owned(),
        FlowEnd::Idle => "idle for too long".to_owned(),
        FlowEnd::Broken(FlowSide::Left, error) => format!("the tunnel broke: {error}"),
        FlowEnd::Broken(FlowSide::Right, error) => format!("the tunnelled connection broke: {error}"),
    };
    (TunnelTotals { to_far: flowed.up.total(), from_far: flowed.down.total() }, end)
}

/// The server behind cannot upgrade, or the request has a body, which no tunnel begins with.
pub(super) fn no_upgrade() -> Rejection {
    Rejection::bad_request(text!(tunnel_no_upgrade))
}

impl TunnelStream for TargetStream {
    fn reset(&mut self) {
        self.stream.reset();
    }
}

impl AsyncRead for TargetStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for TargetStream {
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
