//! How channels are configured.

use std::time::Duration;

use outflow_metrics::MetricRegistry;

use crate::tokens::ChannelTokens;

/// Who may subscribe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SubscribePolicy {
    /// Every client that knows a channel's name.
    Open,
    /// Clients with a token for the channel.
    #[default]
    Token,
}

/// Permissions and limits of channels.
#[derive(Clone, Debug)]
pub struct ChannelSettings {
    /// Tokens for publishing and subscribing.
    pub tokens: ChannelTokens,
    /// Whether subscribing needs a token.
    pub subscribe: SubscribePolicy,
    /// Number of recent events that a subscriber who starts with the earliest one receives.
    pub history: usize,
    /// Number of subscribers from one IPv4 address, or from one IPv6 network of 64 bits.
    ///
    /// Bound: channels. 1,000 by default
    pub per_address: u32,
    /// Number of subscribers with one token.
    ///
    /// Bound: channels. 1,000,000 by default
    pub per_token: u32,
    /// Number of subscribers of one channel.
    ///
    /// Bound: channels. 1,000,000 by default
    pub per_channel: u32,
    /// Number of channels that exist at the same time.
    ///
    /// Bound: channels. 100,000 by default
    pub channels: usize,
    /// Duration of a subscription, after which the server asks the subscriber to reconnect; a
    /// random part of up to a fifth is taken off. Zero: unlimited.
    ///
    /// Bound: channels. 8 to 10 minutes by default
    pub lifetime: Duration,
    /// Interval of heartbeats to idle subscribers.
    pub heartbeat: Duration,
    /// Other origins whose pages may subscribe: `https://host`, or `*` for all.
    pub origins: Vec<String>,
    /// Where channels count. Several with the same registry are counted together.
    pub metrics: MetricRegistry,
}

impl Default for ChannelSettings {
    fn default() -> ChannelSettings {
        ChannelSettings {
            tokens: ChannelTokens::default(),
            subscribe: SubscribePolicy::default(),
            history: 100,
            per_address: 1_000,
            per_token: 1_000_000,
            per_channel: 1_000_000,
            channels: 100_000,
            lifetime: Duration::from_secs(600),
            heartbeat: Duration::from_secs(15),
            origins: Vec::new(),
            metrics: MetricRegistry::default(),
        }
    }
}
