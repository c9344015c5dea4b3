//! What is counted of channels.

use outflow_metrics::{Counter, CounterBy, Gauge, labels, metrics};

labels! {
    /// A limit of channels.
    pub enum ChannelLimit: "limit" {
        /// Subscribers from one address.
        Address = "address",
        /// Subscribers with one token.
        Token = "token",
        /// Subscribers of one channel.
        Channel = "channel",
        /// Channels.
        Channels = "channels",
    }
}

metrics! {
    /// What channels do.
    pub struct ChannelMetrics {
        /// Channels that exist.
        channels: Gauge = "outflow_channels",
        /// Subscribers that are connected.
        subscribers: Gauge = "outflow_channel_subscribers",
        /// Memory of events that channels keep.
        memory: Gauge = "outflow_channel_events_bytes",
        /// Events that were published.
        published: Counter = "outflow_channel_events_total",
        /// Events that were refused because subscribers did not keep up.
        congested: Counter = "outflow_channel_events_refused_total",
        /// Publishers and subscribers that were refused because a limit was reached.
        refused: CounterBy<ChannelLimit> = "outflow_channel_refused_total",
    }
}
