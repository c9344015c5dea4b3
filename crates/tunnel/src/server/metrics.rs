//! What is counted of tunnels.

use http::StatusCode;
use outflow_metrics::{Counter, CounterBy, Gauge, labels, metrics};

labels! {
    /// The way in which a tunnel was requested.
    pub enum TunnelCarrier: "carrier" {
        /// `connect-tcp`, with capsules.
        Capsules = "connect-tcp",
        /// WebSocket.
        WebSocket = "websocket",
        /// Purr.
        Purr = "purr",
        /// `CONNECT`.
        Connect = "connect",
    }
}

labels! {
    /// The status of a refusal.
    pub enum RefusalStatus: "status" {
        /// The request is malformed.
        BadRequest = "400",
        /// No token, or an unknown one.
        Unauthorized = "401",
        /// The target is not allowed.
        Forbidden = "403",
        /// There is no such tunnel.
        NotFound = "404",
        /// A method other than those of tunnels.
        MethodNotAllowed = "405",
        /// No token, in a `CONNECT`.
        ProxyUnauthorized = "407",
        /// The session or address is in use.
        Conflict = "409",
        /// The client did not ask for an upgrade.
        UpgradeRequired = "426",
        /// The target could not be reached.
        BadGateway = "502",
        /// A limit is reached.
        Unavailable = "503",
        /// The target did not answer in time.
        GatewayTimeout = "504",
        /// Any other status.
        Other = "other",
    }
}

labels! {
    /// Which way bytes go.
    pub enum TunnelDirection: "direction" {
        /// From the client to the target.
        ToTarget = "to_target",
        /// From the target to the client.
        FromTarget = "from_target",
    }
}

metrics! {
    /// What a tunnel server does.
    pub struct TunnelMetrics {
        /// Tunnels that are open or being connected.
        open: Gauge = "outflow_tunnels_open",
        /// Tunnels that were granted.
        granted: CounterBy<TunnelCarrier> = "outflow_tunnels_total",
        /// Tunnels that were refused.
        refused: CounterBy<RefusalStatus> = "outflow_tunnels_refused_total",
        /// Legs of tunnels that have ended; a tunnel that reconnects has several.
        legs: Counter = "outflow_tunnel_legs_total",
        /// Bytes of tunnels that have ended.
        carried: CounterBy<TunnelDirection> = "outflow_tunnel_carried_bytes_total",
    }
}

impl From<StatusCode> for RefusalStatus {
    fn from(status: StatusCode) -> RefusalStatus {
        match status {
            StatusCode::BAD_REQUEST => RefusalStatus::BadRequest,
            StatusCode::UNAUTHORIZED => RefusalStatus::Unauthorized,
            StatusCode::FORBIDDEN => RefusalStatus::Forbidden,
            StatusCode::NOT_FOUND => RefusalStatus::NotFound,
            StatusCode::METHOD_NOT_ALLOWED => RefusalStatus::MethodNotAllowed,
            StatusCode::PROXY_AUTHENTICATION_REQUIRED => RefusalStatus::ProxyUnauthorized,
            StatusCode::CONFLICT => RefusalStatus::Conflict,
            StatusCode::UPGRADE_REQUIRED => RefusalStatus::UpgradeRequired,
            StatusCode::BAD_GATEWAY => RefusalStatus::BadGateway,
            StatusCode::SERVICE_UNAVAILABLE => RefusalStatus::Unavailable,
            StatusCode::GATEWAY_TIMEOUT => RefusalStatus::GatewayTimeout,
            _ => RefusalStatus::Other,
        }
    }
}
