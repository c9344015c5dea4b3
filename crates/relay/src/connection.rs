//! One client: chooses a target, connects to it, sends the PROXY header, relays, and logs the
//! outcome.

use std::sync::Arc;
use std::time::Duration;

use outflow_net::proxy_header::{self, ConnectionAddresses};
use tokio::time::Instant;

use crate::address::TargetConnectError;
use crate::flow::{FlowCounters, FlowEnd, FlowSide, FlowSocket, flow};
use crate::listener::AcceptedClient;
use crate::options::RelayOptions;
use crate::targets::{TargetLease, Targets};

/// What all connections of a relay share.
pub(crate) struct RelayContext {
    pub(crate) options: RelayOptions,
    pub(crate) targets: Arc<Targets>,
    pub(crate) counters: Arc<FlowCounters>,
}

/// Serves one client until its connection ends.
pub(crate) async fn serve(context: Arc<RelayContext>, client: AcceptedClient) {
    let AcceptedClient { socket, addresses } = client;
    // Boxed, so that its memory is freed before the bytes flow: most connections are idle most of
    // the time.
    let Some((lease, target)) = Box::pin(connect(&context, addresses)).await else {
        // Without a reset the client could take this for an empty answer of the target.
        socket.reset_when_dropped();
        return;
    };
    relay(&context, socket, addresses, target, lease).await;
}

/// Connects to the first target that accepts.
async fn connect(
    context: &RelayContext,
    addresses: Option<ConnectionAddresses>,
) -> Option<(TargetLease, FlowSocket)> {
    let mut tried = Vec::new();
    while let Some(lease) = context.targets.choose(&tried) {
        match lease.address().connect_within(context.options.connect_timeout).await {
            Ok(socket) => {
                context.targets.succeeded(lease.index());
                return Some((lease, socket));
            }
            Err(TargetConnectError::Target(reason)) => {
                context.targets.failed(lease.index(), Duration::ZERO, &reason);
                tried.push(lease.index());
            }
            // Waiting would hold the client's descriptor, which the next connection to a target
            // needs.
            Err(TargetConnectError::Local(error)) => {
                tracing::warn!(client = name_of(addresses), %error, "client reset: this machine cannot open connections");
                return None;
            }
        }
    }
    let why = if tried.is_empty() { "every target is full" } else { "no target accepts connections" };
    tracing::warn!(client = name_of(addresses), why, "client reset");
    None
}

async fn relay(
    context: &RelayContext,
    socket: FlowSocket,
    addresses: Option<ConnectionAddresses>,
    target: FlowSocket,
    lease: TargetLease,
) {
    let began = Instant::now();
    let header = context.options.proxy_protocol.map(|version| proxy_header::encode(version, addresses));
    let header = header.unwrap_or_default();
    let flowed = flow(socket, target, &header, &context.options.timeouts, &context.counters).await;
    let both = flowed.up + flowed.down;
    let (end, error) = match &flowed.end {
        FlowEnd::Complete => ("complete", None),
        FlowEnd::Idle => ("idle", None),
        FlowEnd::Broken(FlowSide::Left, error) => ("client broken", Some(error)),
        FlowEnd::Broken(FlowSide::Right, error) => ("target broken", Some(error)),
    };
    tracing::info!(
        client = name_of(addresses),
        to = %lease.address(),
        end,
        error = error.map(tracing::field::display),
        up = flowed.up.total(),
        down = flowed.down.total(),
        spliced = both.spliced,
        copied = both.copied,
        seconds = began.elapsed().as_secs_f64(),
        "relayed"
    );
}

/// The client's address for the log.
fn name_of(addresses: Option<ConnectionAddresses>) -> String {
    addresses.map_or_else(|| "unix".to_owned(), |addresses| addresses.client.to_string())
}
