//! A tunnel that was granted, until its end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::Response;
use http::request::Parts;
use outflow_wire::PeerAddr;
use outflow_wire::upgrade::{OnUpgrade, Upgraded};
use tokio::net::TcpStream;

use super::ask::Carrier;
use super::places::Place;
use super::refusal::Refusal;
use super::{Shared, agree};
use crate::carry::{Totals, carry};
use crate::flow::{self, Socket, flow};
use crate::frame::{Framing, Role};

/// One that is about to begin.
pub(super) struct Tunnel {
    pub(super) carrier: Carrier,
    pub(super) owner: Arc<str>,
    /// As it was asked for.
    pub(super) target: String,
    /// Where it is.
    pub(super) address: SocketAddr,
    pub(super) place: Place,
}

impl Tunnel {
    /// Agrees, and lets it run once the answer has left.
    pub(super) fn start(
        self,
        shared: &Arc<Shared>,
        far: TcpStream,
        head: &Parts,
        promise: OnUpgrade,
    ) -> Result<Response<Vec<u8>>, Refusal> {
        let response = agree::response(&self.carrier, head)?;
        let client = head.extensions.get::<PeerAddr>().map(|peer| peer.0);
        let shared = Arc::clone(shared);
        tokio::spawn(async move {
            match promise.await {
                Ok(leg) => self.run(&shared, leg, far, client).await,
                Err(error) => {
                    tracing::info!(?client, target = self.target, %error, "the client left before its tunnel began");
                }
            }
        });
        Ok(response)
    }

    async fn run(self, shared: &Shared, leg: Upgraded, far: TcpStream, client: Option<SocketAddr>) {
        let Tunnel { carrier, owner, target, address, place } = self;
        let began = Instant::now();
        shared.tally.add_begun(carrier.name());
        let (totals, end) = match carrier.framing() {
            Framing::Raw => raw(shared, leg, far).await,
            framing => framed(shared, leg, framing, far).await,
        };
        drop(place);
        shared.tally.add_bytes(totals.to_far, totals.from_far);
        let (up, down, seconds) = (totals.to_far, totals.from_far, began.elapsed().as_secs_f64());
        tracing::info!(
            user = %owner, target, %address, ?client, carrier = carrier.name(), up, down, seconds, end,
            "tunnel ended"
        );
    }
}

/// A tunnel whose leg is framed, or no socket of its own.
async fn framed(shared: &Shared, leg: Upgraded, framing: Framing, far: TcpStream) -> (Totals, String) {
    let limits = &shared.settings.limits;
    let (totals, end) = carry(leg, Bytes::new(), framing, Role::Server, far, limits).await;
    (totals, end.to_string())
}

/// Bytes as they are: from socket to socket by the kernel, where both are sockets.
async fn raw(shared: &Shared, leg: Upgraded, far: TcpStream) -> (Totals, String) {
    let (socket, early, _counted) = match leg.into_parts() {
        Ok(parts) => parts,
        Err(leg) => return framed(shared, leg, Framing::Raw, far).await,
    };
    let idle = shared.settings.limits.idle;
    let limits = flow::Limits { idle, half_closed: idle };
    let flowed = flow(Socket::from(socket), Socket::from(far), &early, &limits, &shared.tally.flows).await;
    let end = match flowed.end {
        flow::End::Complete => "complete".to_owned(),
        flow::End::Idle => "idle for too long".to_owned(),
        flow::End::Broken(flow::Side::Left, error) => format!("the tunnel broke: {error}"),
        flow::End::Broken(flow::Side::Right, error) => format!("the tunnelled connection broke: {error}"),
    };
    (Totals { to_far: flowed.up.all(), from_far: flowed.down.all() }, end)
}

/// Under a server that promises none; or the request has a body, which no tunnel begins with.
pub(super) fn without_promise() -> Refusal {
    Refusal::wrong("this request cannot become a tunnel: send it without a body, and over HTTP/1.1 or HTTP/2")
}
