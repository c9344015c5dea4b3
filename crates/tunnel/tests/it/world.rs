//! A client and a server with sessions, and between them legs that are cut where a test wants.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use outflow_tunnel::carry::{self, TunnelEnd, TunnelStream, TunnelTotals};
use outflow_tunnel::session::{
    self, AttachError, LegOutcome, Reconnect, ReconnectError, ResumeGrant, ResumeRequest, ResumeResponse,
    ResumedLeg, SessionLimits, Sessions,
};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex};
use tokio::task::JoinHandle;

use crate::side::{Fate, Watched, watched};

/// A leg that breaks after a number of bytes in both directions together.
pub(crate) struct Fragile {
    stream: DuplexStream,
    left: usize,
}

impl Fragile {
    pub(crate) fn new(stream: DuplexStream, left: usize) -> Fragile {
        Fragile { stream, left }
    }

    fn broken() -> io::Error {
        io::ErrorKind::ConnectionReset.into()
    }
}

impl TunnelStream for Fragile {}

impl AsyncRead for Fragile {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.left == 0 {
            return Poll::Ready(Err(Fragile::broken()));
        }
        let most = self.left.min(room.remaining());
        let mut part = vec![0; most];
        let mut read = ReadBuf::new(&mut part);
        std::task::ready!(Pin::new(&mut self.stream).poll_read(cx, &mut read))?;
        room.put_slice(read.filled());
        self.left -= read.filled().len();
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Fragile {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.left == 0 {
            return Poll::Ready(Err(Fragile::broken()));
        }
        let most = self.left.min(bytes.len());
        let n = std::task::ready!(Pin::new(&mut self.stream).poll_write(cx, &bytes[..most]))?;
        self.left -= n;
        Poll::Ready(Ok(n))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// The server, as a client reaches it.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) sessions: Sessions<Watched>,
    /// How the legs ended, in order.
    pub(crate) ran: Arc<Mutex<Vec<LegOutcome>>>,
    /// After how many bytes each leg breaks, the next one first. When none is left, legs hold.
    cuts: Arc<Mutex<Vec<usize>>>,
    /// The buffer of a leg, in bytes.
    room: usize,
    pub(crate) limits: carry::TunnelTimeouts,
}

impl World {
    pub(crate) fn new(limits: SessionLimits, mut cuts: Vec<usize>, room: usize) -> World {
        cuts.reverse();
        World {
            sessions: Sessions::new(limits),
            ran: Arc::default(),
            cuts: Arc::new(Mutex::new(cuts)),
            room,
            limits: carry::TunnelTimeouts::default(),
        }
    }

    /// Both ends of the next leg.
    fn leg(&self) -> (Fragile, DuplexStream) {
        let (client, server) = duplex(self.room);
        let left = self.cuts.lock().unwrap().pop().unwrap_or(usize::MAX);
        (Fragile::new(client, left), server)
    }

    fn serve(&self, session: outflow_tunnel::session::TunnelSession<Watched>, leg: DuplexStream) {
        let World { ran, limits, .. } = self.clone();
        tokio::spawn(async move {
            let (_, how) = session.run(leg, Bytes::new(), &limits).await;
            ran.lock().unwrap().push(how);
        });
    }

    /// Begins a session between two far ends.
    pub(crate) fn begin(&self, far: Watched, at_server: Watched) -> JoinHandle<(TunnelTotals, TunnelEnd)> {
        let Ok(session) = self.sessions.begin("somebody", at_server) else { panic!("too many") };
        // As the header field carries it.
        let answer: ResumeResponse = session.response().to_string().parse().unwrap();
        let granted = ResumeGrant::try_from(answer).unwrap();
        let (client, server) = self.leg();
        self.serve(session, server);
        let world = self.clone();
        tokio::spawn(async move {
            let limits = world.limits.clone();
            session::carry(client, Bytes::new(), granted, far, &limits, world).await
        })
    }
}

impl Reconnect for World {
    type Leg = Fragile;

    async fn reconnect(&mut self, ask: ResumeRequest) -> Result<ResumedLeg<Fragile>, ReconnectError> {
        let Ok(ResumeRequest::Again { id, received }) = ask.to_string().parse() else { panic!("{ask}") };
        match self.sessions.attach(id, "somebody", received).await {
            Ok(session) => {
                let answer = session.response().to_string().parse().unwrap();
                let (leg, server) = self.leg();
                self.serve(session, server);
                Ok(ResumedLeg { leg, early: Bytes::new(), response: answer })
            }
            Err(error @ AttachError::Unknown) => Err(ReconnectError::Refused(io::Error::other(error))),
            Err(error) => panic!("{error}"),
        }
    }
}

/// A running session.
pub(crate) struct Running {
    /// The programs at both ends, and what happened to the far ends.
    pub(crate) client: DuplexStream,
    pub(crate) client_fate: Fate,
    pub(crate) server: DuplexStream,
    pub(crate) server_fate: Fate,
    pub(crate) carried: JoinHandle<(TunnelTotals, TunnelEnd)>,
}

pub(crate) fn start(world: &World, room: usize) -> Running {
    let (far, client_fate, client) = watched(room);
    let (at_server, server_fate, server) = watched(room);
    let carried = world.begin(far, at_server);
    Running { client, client_fate, server, server_fate, carried }
}
