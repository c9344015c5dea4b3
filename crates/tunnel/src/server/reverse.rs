//! Connections that are accepted at the server for a client that exposes something.
//!
//! The client asks to listen, and the server reports each connection on that stream, in lines:
//!
//! ```text
//! listening 192.0.2.1:2222
//! accepted <id> 198.51.100.7:51234
//! ```
//!
//! For each of them the client requests a tunnel, `/.well-known/outflow/accept/<id>/`, and connects
//! it to what it exposes. When the stream ends, the server stops listening; tunnels that have begun
//! continue.

use outflow_texts::text;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::request::Parts;
use http::{Response, StatusCode};
use outflow_wire::upgrade::OnUpgrade;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use super::access::principal::Principal;
use super::handshake;
use super::quota::TunnelQuota;
use super::rejection::Rejection;
use super::request::Carrier;
use super::tunnel::no_upgrade;
use crate::carry::{TunnelTimeouts, carry};
use crate::frame::{LegFraming, LegRole};

/// How long an accepted connection waits for its client to request it.
///
/// Bound: tunnels.
const ACCEPTED_TIMEOUT: Duration = Duration::from_secs(30);
/// Accepted connections of one listener that wait for their client; further ones wait in the
/// kernel.
///
/// Bound: tunnels.
const MAX_ACCEPTED: usize = 64;
/// Bytes of lines that wait to be sent to the client of a listener.
///
/// Bound: tunnels.
const LINES_BYTES: usize = 16 * 1024;
/// Pause before the next accept(2) when the system has no descriptor for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Listeners of clients that expose something, and the connections they have accepted, by their
/// ids.
pub(super) struct ReverseListeners {
    accepted: Mutex<HashMap<String, AcceptedConnection>>,
    quota: Arc<TunnelQuota>,
    timeouts: TunnelTimeouts,
}

struct AcceptedConnection {
    owner: Arc<str>,
    stream: TcpStream,
    peer: SocketAddr,
    /// The address of the listener.
    at: SocketAddr,
    since: Instant,
}

impl ReverseListeners {
    pub(super) fn new(quota: Arc<TunnelQuota>, timeouts: &TunnelTimeouts) -> ReverseListeners {
        // The stream of lines may be idle for any time.
        let timeouts = TunnelTimeouts { idle: None, ..timeouts.clone() };
        ReverseListeners { accepted: Mutex::default(), quota, timeouts }
    }

    /// Hands out an accepted connection, once.
    pub(super) fn take(&self, id: &str, owner: &Arc<str>) -> Option<(TcpStream, SocketAddr)> {
        let mut accepted = self.accepted.lock();
        accepted.get(id).filter(|connection| connection.owner == *owner)?;
        accepted.remove(id).map(|connection| (connection.stream, connection.peer))
    }

    fn insert(&self, connection: AcceptedConnection) -> String {
        let mut bytes = [0; 16];
        // Only the owner can use the id, so a weak one on a system without random numbers does no
        // harm.
        let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
        let id = URL_SAFE_NO_PAD.encode(bytes);
        self.accepted.lock().insert(id.clone(), connection);
        id
    }

    /// Closes the connections of a listener that have waited too long, or all of them; returns how
    /// many are left.
    fn sweep(&self, at: SocketAddr, everything: bool) -> usize {
        let mut accepted = self.accepted.lock();
        accepted.retain(|_, connection| {
            connection.at != at || !(everything || connection.since.elapsed() >= ACCEPTED_TIMEOUT)
        });
        accepted.values().filter(|connection| connection.at == at).count()
    }

    /// Listens on `host` and `port` for a client.
    pub(super) async fn listen(
        self: &Arc<ReverseListeners>,
        principal: Principal,
        (host, port): (&str, u16),
        head: &Parts,
        upgrade: Option<OnUpgrade>,
    ) -> Result<Response<Vec<u8>>, Rejection> {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let address: IpAddr =
            bare.parse().map_err(|_| Rejection::bad_request(text!(tunnel_listen_on_name)))?;
        let requested = SocketAddr::new(address, port);
        if !principal.listen.allows_listening(address, port) {
            return Err(Rejection::denied(text!(tunnel_listen_denied, address = requested)));
        }
        let carrier = Carrier::Capsules("connect-tcp".to_owned());
        handshake::check(&carrier, &head.headers)?;
        let response = handshake::response(&carrier, head)?;
        let upgrade = upgrade.ok_or_else(no_upgrade)?;
        let mut permit = self.quota.acquire(&principal.name, principal.tunnels)?;
        permit.set_connected();
        let listener = TcpListener::bind(requested).await.map_err(|error| {
            Rejection::new(StatusCode::CONFLICT, text!(tunnel_cannot_listen, address = requested, %error))
        })?;
        let at = listener.local_addr().map_err(|error| Rejection::denied(text!(tunnel_error, %error)))?;
        let listeners = Arc::clone(self);
        tokio::spawn(async move {
            let Ok(leg) = upgrade.await else { return };
            tracing::info!(user = %principal.name, address = %at, "listening for a client");
            let (lines, far) = tokio::io::duplex(LINES_BYTES);
            let timeouts = &listeners.timeouts;
            let (_, end) = tokio::select! {
                ended = carry(leg, Bytes::new(), LegFraming::Capsules, LegRole::Server, far, timeouts) => ended,
                never = listeners.report(&principal.name, &listener, at, lines) => match never {},
            };
            listeners.sweep(at, true);
            drop(permit);
            tracing::info!(user = %principal.name, address = %at, %end, "listening ended");
        });
        Ok(response)
    }

    /// Accepts connections and reports them to the client, until the caller drops it.
    async fn report(
        &self,
        owner: &Arc<str>,
        listener: &TcpListener,
        at: SocketAddr,
        mut lines: DuplexStream,
    ) -> std::convert::Infallible {
        let mut sweep = tokio::time::interval(ACCEPTED_TIMEOUT / 3);
        let mut accepts = self.sweep(at, false) < MAX_ACCEPTED;
        let (mut ignored, mut reads) = ([0; 64], true);
        // Failed writes need no handling: they mean that the stream of lines, and with it the
        // listener, has ended.
        let _ = lines.write_all(format!("listening {at}\n").as_bytes()).await;
        loop {
            tokio::select! {
                accepted = listener.accept(), if accepts => match accepted {
                    Ok((stream, peer)) => {
                        let _ = stream.set_nodelay(true);
                        let (owner, since) = (Arc::clone(owner), Instant::now());
                        let id = self.insert(AcceptedConnection { owner, stream, peer, at, since });
                        let _ = lines.write_all(format!("accepted {id} {peer}\n").as_bytes()).await;
                    }
                    Err(error) => {
                        tracing::warn!(address = %at, %error, "cannot accept a connection");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
                _ = sweep.tick() => {}
                // Bytes from the client carry no meaning.
                read = lines.read(&mut ignored), if reads => if !matches!(read, Ok(1..)) {
                    // The client has ended its direction, so this one ends too.
                    reads = false;
                    let _ = lines.shutdown().await;
                },
            }
            accepts = self.sweep(at, false) < MAX_ACCEPTED;
        }
    }
}
