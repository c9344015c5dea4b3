//! One client: chooses its target, connects, introduces it, lets the bytes flow, and says how it was.

use std::sync::Arc;
use std::time::Duration;

use outflow_net::proxy_header::{self, ConnectionAddresses};
use tokio::time::Instant;

use crate::flow::{End, Side, Socket, flow};
use crate::health::{Failure, connect};
use crate::listener::Arrival;
use crate::relay::Shared;
use crate::targets::Lease;

/// From a client that was accepted to its end.
pub(crate) async fn serve(shared: Arc<Shared>, arrival: Arrival) {
    let Arrival { socket, addresses } = arrival;
    // What connecting needs is given back before the bytes flow: most connections are idle most of the time.
    let Some((lease, target)) = Box::pin(reach(&shared, addresses)).await else {
        // Not an end in good order: the client must not think that the target had nothing to say.
        socket.reset_when_dropped();
        return;
    };
    relay(&shared, socket, addresses, target, lease).await;
}

/// Connects to the first target that accepts.
async fn reach(shared: &Shared, addresses: Option<ConnectionAddresses>) -> Option<(Lease, Socket)> {
    let mut tried = Vec::new();
    while let Some(lease) = shared.targets.choose(&tried) {
        match connect(lease.address(), shared.options.connect_timeout).await {
            Ok(socket) => {
                shared.targets.succeeded(lease.index());
                return Some((lease, socket));
            }
            Err(Failure::Target(why)) => {
                shared.targets.failed(lease.index(), Duration::ZERO, &why);
                tried.push(lease.index());
            }
            // Waiting would keep the client's descriptor, which the next target needs.
            Err(Failure::Own(error)) => {
                tracing::warn!(client = client(addresses), %error, "reset: this machine cannot connect to anybody");
                return None;
            }
        }
    }
    let why =
        if tried.is_empty() { "all targets have as many clients as they may" } else { "no target accepts" };
    tracing::warn!(client = client(addresses), why, "reset");
    None
}

async fn relay(
    shared: &Shared,
    socket: Socket,
    addresses: Option<ConnectionAddresses>,
    target: Socket,
    lease: Lease,
) {
    let began = Instant::now();
    let head = shared
        .options
        .proxy_protocol
        .map(|version| proxy_header::encode(version, addresses))
        .unwrap_or_default();
    let flowed = flow(socket, target, &head, &shared.options.limits, &shared.counters).await;
    let both = flowed.up + flowed.down;
    let (end, error) = match &flowed.end {
        End::Complete => ("complete", None),
        End::Idle => ("idle", None),
        End::Broken(Side::Left, error) => ("client broken", Some(error)),
        End::Broken(Side::Right, error) => ("target broken", Some(error)),
    };
    tracing::info!(
        client = client(addresses),
        to = %lease.address(),
        end,
        error = error.map(tracing::field::display),
        up = flowed.up.all(),
        down = flowed.down.all(),
        spliced = both.spliced,
        copied = both.copied,
        seconds = began.elapsed().as_secs_f64(),
        "relayed"
    );
}

/// For the log.
fn client(addresses: Option<ConnectionAddresses>) -> String {
    addresses.map_or_else(|| "unix".to_owned(), |addresses| addresses.client.to_string())
}
