//! Connections that are accepted at the server for a client that exposes something.
//!
//! The client asks to listen, and is told on that stream, in lines, of each connection that comes in:
//!
//! ```text
//! listening 192.0.2.1:2222
//! accepted <id> 198.51.100.7:51234
//! ```
//!
//! For each it asks for a tunnel to what was accepted, `/.well-known/outflow/accept/<id>/`, and connects that to what it
//! exposes. When the stream ends, nobody listens any more; tunnels that have begun go on.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::request::Parts;
use http::{Response, StatusCode};
use outflow_wire::upgrade::OnUpgrade;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use super::access::principal::Owner;
use super::handshake;
use super::rejection::Refusal;
use super::request::Carrier;
use super::service::Shared;
use super::tunnel::without_promise;
use crate::carry::{Limits, carry};
use crate::frame::{Framing, Role};

/// A connection that nobody has asked for after so long is closed.
const PATIENCE: Duration = Duration::from_secs(30);
/// Connections of one listener that wait for that; further ones wait in the kernel.
const WAITING: usize = 64;
/// Lines on their way to the client, in bytes.
const LINES: usize = 16 * 1024;
/// How long to wait when the system has no descriptor for a connection.
const PAUSE: Duration = Duration::from_millis(200);

/// What was accepted, by its id.
#[derive(Default)]
pub(super) struct Accepted(Mutex<HashMap<String, Waiting>>);

struct Waiting {
    owner: Arc<str>,
    stream: TcpStream,
    peer: SocketAddr,
    /// The port that it was accepted at: a listener counts its own.
    at: SocketAddr,
    since: Instant,
}

impl Accepted {
    /// Hands out a connection, once.
    pub(super) fn take(&self, id: &str, owner: &Arc<str>) -> Option<(TcpStream, SocketAddr)> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(id).filter(|waiting| waiting.owner == *owner)?;
        all.remove(id).map(|waiting| (waiting.stream, waiting.peer))
    }

    fn put(&self, waiting: Waiting) -> String {
        let mut bytes = [0; 16];
        // Known to nobody but the owner, who is asked for besides.
        let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
        let id = URL_SAFE_NO_PAD.encode(bytes);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), waiting);
        id
    }

    /// Closes what has waited too long at `at`, or everything there; how many are left.
    fn sweep(&self, at: SocketAddr, everything: bool) -> usize {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, waiting| waiting.at != at || !(everything || waiting.since.elapsed() >= PATIENCE));
        all.values().filter(|waiting| waiting.at == at).count()
    }
}

/// Listens at `host` and `port` for whoever asks.
pub(super) async fn listen(
    shared: &Arc<Shared>,
    owner: Owner,
    (host, port): (&str, u16),
    head: &Parts,
    promise: Option<OnUpgrade>,
) -> Result<Response<Vec<u8>>, Refusal> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let address: IpAddr = bare
        .parse()
        .map_err(|_| Refusal::wrong("what is listened on is an address of the server, not a name"))?;
    let asked = SocketAddr::new(address, port);
    if !owner.listen.may_listen(address, port) {
        return Err(Refusal::denied(format!("{asked} is not among the addresses that may be listened on")));
    }
    let carrier = Carrier::Capsules("connect-tcp".to_owned());
    handshake::check(&carrier, &head.headers)?;
    let response = handshake::response(&carrier, head)?;
    let promise = promise.ok_or_else(without_promise)?;
    let mut place = shared.places.take(&owner.name, owner.tunnels)?;
    place.connected();
    let listener = TcpListener::bind(asked).await.map_err(|error| {
        Refusal::new(StatusCode::CONFLICT, format!("{asked} cannot be listened on: {error}"))
    })?;
    let at = listener.local_addr().map_err(|error| Refusal::denied(error.to_string()))?;
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        let Ok(leg) = promise.await else { return };
        tracing::info!(user = %owner.name, address = %at, "listening for a client");
        let (lines, far) = tokio::io::duplex(LINES);
        // A stream that only tells of connections may be silent for long.
        let limits = Limits { idle: None, ..shared.settings.limits.clone() };
        let (_, end) = tokio::select! {
            ended = carry(leg, Bytes::new(), Framing::Capsules, Role::Server, far, &limits) => ended,
            never = tell(&shared, &owner.name, &listener, at, lines) => match never {},
        };
        shared.accepted.sweep(at, true);
        drop(place);
        tracing::info!(user = %owner.name, address = %at, %end, "listening ended");
    });
    Ok(response)
}

/// Accepts, and tells of it, for as long as anybody hears it.
async fn tell(
    shared: &Shared,
    owner: &Arc<str>,
    listener: &TcpListener,
    at: SocketAddr,
    mut lines: DuplexStream,
) -> std::convert::Infallible {
    let mut sweep = tokio::time::interval(PATIENCE / 3);
    let mut room = shared.accepted.sweep(at, false) < WAITING;
    let (mut said, mut hears) = ([0; 64], true);
    // Whoever reads the lines ends this by ending the stream.
    let _ = lines.write_all(format!("listening {at}\n").as_bytes()).await;
    loop {
        tokio::select! {
            accepted = listener.accept(), if room => match accepted {
                Ok((stream, peer)) => {
                    let _ = stream.set_nodelay(true);
                    let since = Instant::now();
                    let id = shared.accepted.put(Waiting { owner: Arc::clone(owner), stream, peer, at, since });
                    let _ = lines.write_all(format!("accepted {id} {peer}\n").as_bytes()).await;
                }
                Err(error) => {
                    tracing::warn!(address = %at, %error, "a connection cannot be accepted");
                    tokio::time::sleep(PAUSE).await;
                }
            },
            _ = sweep.tick() => {}
            // Nothing that the client says matters.
            read = lines.read(&mut said), if hears => if !matches!(read, Ok(1..)) {
                // It has ended: so does this.
                hears = false;
                let _ = lines.shutdown().await;
            },
        }
        room = shared.accepted.sweep(at, false) < WAITING;
    }
}
