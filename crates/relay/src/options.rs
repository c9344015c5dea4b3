//! What an operator can set.

use std::time::Duration;

use outflow_net::proxy_header::ProxyVersion;

use crate::flow::FlowTimeouts;

/// How a target is chosen among those that are neither full nor resting after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BalancePolicy {
    /// One after the other.
    RoundRobin,
    /// The target with the fewest clients; among equals, one after the other.
    LeastConnections,
}

/// Clients of one relay at the same time, by default.
///
/// Bound: relay.
const DEFAULT_MAX_CONNECTIONS: usize = 10_000;

/// What an operator can set.
#[derive(Clone, Copy, Debug)]
pub struct RelayOptions {
    /// Which target gets the next client.
    pub policy: BalancePolicy,
    /// Clients at the same time. Further clients wait in the kernel's queue until others leave.
    /// 10,000.
    pub max_connections: usize,
    /// Clients of one target at the same time. When all targets are full, further clients are
    /// reset. No limit.
    pub max_per_target: usize,
    /// How long a target may take to accept a connection before it counts as failed and the next
    /// one is tried. 5 seconds.
    pub connect_timeout: Duration,
    /// How often each target is connected to as a health check. `None`, the default: never.
    pub health_interval: Option<Duration>,
    /// Sends each target a PROXY header with the client's address.
    pub proxy_protocol: Option<ProxyVersion>,
    /// How long a client and its target may both be silent.
    pub timeouts: FlowTimeouts,
}

impl Default for RelayOptions {
    fn default() -> RelayOptions {
        RelayOptions {
            policy: BalancePolicy::RoundRobin,
            max_connections: DEFAULT_MAX_CONNECTIONS,
            max_per_target: usize::MAX,
            connect_timeout: Duration::from_secs(5),
            health_interval: None,
            proxy_protocol: None,
            timeouts: FlowTimeouts::default(),
        }
    }
}
