//! Counters of tunnels, for monitoring.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use outflow_relay::flow::FlowCounters;
use parking_lot::Mutex;

/// Counts tunnels by carrier, rejections by status, and bytes.
#[derive(Default)]
pub(super) struct TunnelMetrics {
    counts: Mutex<TunnelCounts>,
    /// Bytes of tunnels without frames, by the path that they took.
    pub(super) flows: FlowCounters,
}

/// The maps are bounded by the number of carriers and of statuses.
#[derive(Default)]
struct TunnelCounts {
    tunnels: BTreeMap<&'static str, u64>,
    rejected: BTreeMap<u16, u64>,
    to_target: u64,
    from_target: u64,
}

impl TunnelMetrics {
    pub(super) fn add_rejected(&self, status: u16) {
        self.with(|counts| *counts.rejected.entry(status).or_default() += 1);
    }

    pub(super) fn add_begun(&self, carrier: &'static str) {
        self.with(|counts| *counts.tunnels.entry(carrier).or_default() += 1);
    }

    pub(super) fn add_bytes(&self, to_target: u64, from_target: u64) {
        self.with(|counts| {
            counts.to_target += to_target;
            counts.from_target += from_target;
        });
    }

    fn with(&self, change: impl FnOnce(&mut TunnelCounts)) {
        change(&mut self.counts.lock());
    }

    /// The text format of Prometheus, version 0.0.4.
    pub(super) fn text(&self, open: usize) -> String {
        let mut text = String::new();
        let mut family = |name: &str, kind: &str, help: &str, samples: &[(String, u64)]| {
            // Writing to a string does not fail.
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
            for (labels, value) in samples {
                let _ = writeln!(text, "{name}{labels} {value}");
            }
        };
        let plain = |value| [(String::new(), value)];
        let counts = self.counts.lock();
        family("outflow_tunnels", "gauge", "Tunnels that are open or being connected.", &plain(open as u64));
        let begun: Vec<_> =
            counts.tunnels.iter().map(|(name, n)| (format!("{{carrier=\"{name}\"}}"), *n)).collect();
        family("outflow_tunnels_total", "counter", "Tunnels that were granted.", &begun);
        let refused: Vec<_> =
            counts.rejected.iter().map(|(status, n)| (format!("{{status=\"{status}\"}}"), *n)).collect();
        family("outflow_tunnels_refused_total", "counter", "Tunnels that were refused.", &refused);
        let bytes = [("to_target", counts.to_target), ("from_target", counts.from_target)];
        let bytes = bytes.map(|(direction, n)| (format!("{{direction=\"{direction}\"}}"), n));
        family("outflow_tunnel_bytes_total", "counter", "Bytes of tunnels that have ended.", &bytes);
        let moved = self.flows.bytes();
        let moved = [("spliced", moved.spliced), ("copied", moved.copied)];
        let moved = moved.map(|(path, n)| (format!("{{path=\"{path}\"}}"), n));
        family("outflow_tunnel_raw_bytes_total", "counter", "Bytes of tunnels without frames.", &moved);
        text
    }
}
