//! The record of a tunnel when it ends: one line in the log, and its bytes in the metrics.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use outflow_relay::flow::FlowCounters;
use parking_lot::Mutex;

use super::metrics::{TunnelCarrier, TunnelDirection, TunnelMetrics};
use crate::carry::TunnelTotals;

/// Written to the log when the last handle is dropped, however the tunnel ends.
pub(super) struct TunnelRecord {
    pub(super) owner: Arc<str>,
    /// The target as it was requested.
    pub(super) target: String,
    /// The address it was reached at.
    address: SocketAddr,
    client: Option<SocketAddr>,
    carrier: &'static str,
    began: Instant,
    metrics: Arc<TunnelMetrics>,
    flows: Arc<FlowCounters>,
    outcome: Mutex<TunnelOutcome>,
}

#[derive(Default)]
struct TunnelOutcome {
    totals: TunnelTotals,
    end: String,
    legs: u32,
}

impl TunnelRecord {
    pub(super) fn new(
        owner: Arc<str>,
        (target, address): (String, SocketAddr),
        client: Option<SocketAddr>,
        (carrier, label): (&'static str, TunnelCarrier),
        (metrics, flows): (&Arc<TunnelMetrics>, &Arc<FlowCounters>),
    ) -> TunnelRecord {
        metrics.granted.of(label).inc();
        let end = "the client left before it began".to_owned();
        TunnelRecord {
            owner,
            target,
            address,
            client,
            carrier,
            began: Instant::now(),
            metrics: Arc::clone(metrics),
            flows: Arc::clone(flows),
            outcome: Mutex::new(TunnelOutcome { end, ..TunnelOutcome::default() }),
        }
    }

    /// Records the end of a leg: what the tunnel has carried so far, and why the leg ended.
    pub(super) fn leg_ended(&self, totals: TunnelTotals, end: String) {
        let mut outcome = self.outcome.lock();
        outcome.totals = totals;
        outcome.end = end;
        outcome.legs += 1;
        self.metrics.legs.inc();
    }

    /// Counters for a tunnel without frames.
    pub(super) fn flow_counters(&self) -> &FlowCounters {
        &self.flows
    }
}

impl Drop for TunnelRecord {
    fn drop(&mut self) {
        let TunnelOutcome { totals, end, legs } = self.outcome.get_mut();
        let (up, down, seconds) = (totals.to_far, totals.from_far, self.began.elapsed().as_secs_f64());
        self.metrics.carried.of(TunnelDirection::ToTarget).add(up);
        self.metrics.carried.of(TunnelDirection::FromTarget).add(down);
        tracing::info!(
            user = %self.owner, target = self.target, address = %self.address, client = self.client.map(tracing::field::display),
            carrier = self.carrier, up, down, legs = *legs, seconds, end = %end,
            "tunnel ended"
        );
    }
}
