//! What an operator allows.

use std::time::Duration;

use outflow_metrics::MetricRegistry;

use super::access::{AllowList, CapabilityKeys, Users};
use super::dial::{NameResolver, system_resolver};
use super::quota::TunnelLimits;
use crate::carry::TunnelTimeouts;

/// How long a target may take to accept, including the resolution of its name, by default.
///
/// Bound: tunnels.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// What an operator allows.
pub struct TunnelSettings {
    /// Targets that may be reached, except by users with a list of their own.
    pub allow: AllowList,
    /// Addresses of the server that clients may listen on, likewise.
    pub listen: AllowList,
    /// Users, by their tokens.
    pub users: Users,
    /// Whether clients without a token are admitted.
    pub open: bool,
    /// Web pages that may open tunnels without a token, by their origins, such as
    /// `https://example.org`. Without this check any page in a browser near the server could reach
    /// what the server can.
    pub origins: Vec<String>,
    /// Keys that sign addresses for one target.
    pub keys: Option<CapabilityKeys>,
    /// How many tunnels.
    pub limits: TunnelLimits,
    /// How long a target may take to accept, including the resolution of its name. 10 seconds.
    pub connect_timeout: Duration,
    /// When a tunnel is given up.
    pub timeouts: TunnelTimeouts,
    /// How long a tunnel that has lost its client waits for it to reconnect; `None`: not at all. 60
    /// seconds.
    pub resume: Option<Duration>,
    /// Resolves the names of targets.
    pub resolver: NameResolver,
    /// Where tunnels count. Several with the same registry are counted together.
    pub metrics: MetricRegistry,
}

impl Default for TunnelSettings {
    fn default() -> TunnelSettings {
        TunnelSettings {
            allow: AllowList::default(),
            listen: AllowList::default(),
            users: Users::default(),
            open: false,
            origins: Vec::new(),
            keys: None,
            limits: TunnelLimits::default(),
            connect_timeout: CONNECT_TIMEOUT,
            timeouts: TunnelTimeouts::default(),
            resume: Some(Duration::from_secs(60)),
            resolver: system_resolver(),
            metrics: MetricRegistry::default(),
        }
    }
}
