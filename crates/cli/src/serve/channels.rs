//! Options of `outflow serve` about channels.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use outflow_channels::{ChannelSettings, ChannelTokens, Channels, SubscribePolicy};
use outflow_metrics::MetricRegistry;
use serde::Deserialize;

/// Every key is optional; without a file of tokens there are no channels.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct ChannelArgs {
    /// File of tokens for channels at /channels/NAME, with lines "publish TOKEN" or "subscribe
    /// TOKEN"; without it there are no channels
    #[arg(
        id = "channel_tokens",
        long = "channel-tokens",
        value_name = "FILE",
        env = "OUTFLOW_CHANNEL_TOKENS"
    )]
    tokens: Option<PathBuf>,

    /// Subscribe without a token (open), or with one only (token) [default: token]
    #[arg(
        id = "channel_subscribe",
        long = "channel-subscribe",
        value_name = "WHO",
        env = "OUTFLOW_CHANNEL_SUBSCRIBE"
    )]
    subscribe: Option<SubscribeWith>,

    /// Events of each channel that are kept for subscribers that reconnect [default: 100]
    #[arg(
        id = "channel_history",
        long = "channel-history",
        value_name = "N",
        env = "OUTFLOW_CHANNEL_HISTORY",
        value_parser = clap::value_parser!(u16).range(..=10_000)
    )]
    history: Option<u16>,

    /// Maximum number of subscribers from one address [default: 1000]
    #[arg(
        id = "channel_per_address",
        long = "channel-per-address",
        value_name = "N",
        env = "OUTFLOW_CHANNEL_PER_ADDRESS"
    )]
    per_address: Option<u32>,

    /// Maximum number of subscribers with one token [default: 1000000]
    #[arg(
        id = "channel_per_token",
        long = "channel-per-token",
        value_name = "N",
        env = "OUTFLOW_CHANNEL_PER_TOKEN"
    )]
    per_token: Option<u32>,

    /// Maximum number of subscribers of one channel [default: 1000000]
    #[arg(
        id = "channel_per_channel",
        long = "channel-per-channel",
        value_name = "N",
        env = "OUTFLOW_CHANNEL_PER_CHANNEL"
    )]
    per_channel: Option<u32>,

    /// Seconds after which a subscriber has to reconnect, for most a little earlier; 0 for never
    /// [default: 600]
    #[arg(
        id = "channel_lifetime",
        long = "channel-lifetime",
        value_name = "SECONDS",
        env = "OUTFLOW_CHANNEL_LIFETIME",
        value_parser = clap::value_parser!(u32).range(..=31_536_000)
    )]
    lifetime: Option<u32>,

    /// Origins whose pages may subscribe besides the server's own: https://HOST, or * for all;
    /// separated by commas
    #[arg(
        id = "channel_origin",
        long = "channel-origin",
        value_name = "ORIGIN",
        env = "OUTFLOW_CHANNEL_ORIGIN",
        value_delimiter = ','
    )]
    origins: Vec<String>,
}

/// What a subscriber needs.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, ValueEnum)]
#[serde(rename_all = "lowercase")]
enum SubscribeWith {
    Open,
    Token,
}

impl ChannelArgs {
    /// Takes each option from `self`, or from `weaker` where `self` has none.
    pub(crate) fn or(self, weaker: ChannelArgs) -> ChannelArgs {
        ChannelArgs {
            tokens: self.tokens.or(weaker.tokens),
            subscribe: self.subscribe.or(weaker.subscribe),
            history: self.history.or(weaker.history),
            per_address: self.per_address.or(weaker.per_address),
            per_token: self.per_token.or(weaker.per_token),
            per_channel: self.per_channel.or(weaker.per_channel),
            lifetime: self.lifetime.or(weaker.lifetime),
            origins: if self.origins.is_empty() { weaker.origins } else { self.origins },
        }
    }

    /// Makes relative paths of a configuration file relative to its folder.
    pub(crate) fn resolve_paths(&mut self, folder: &Path) {
        if let Some(tokens) = &mut self.tokens {
            *tokens = folder.join(&*tokens);
        }
    }

    /// Starts channels, if there are tokens.
    pub(crate) fn start(&self, metrics: &MetricRegistry) -> anyhow::Result<Option<Channels>> {
        let Some(path) = &self.tokens else {
            anyhow::ensure!(
                self.subscribe.is_none() && self.history.is_none() && self.origins.is_empty(),
                "channels need --channel-tokens: name the file with the tokens that may publish"
            );
            return Ok(None);
        };
        let default = ChannelSettings::default();
        let settings = ChannelSettings {
            tokens: ChannelTokens::load(path)?,
            subscribe: match self.subscribe {
                Some(SubscribeWith::Open) => SubscribePolicy::Open,
                Some(SubscribeWith::Token) | None => SubscribePolicy::Token,
            },
            history: self.history.map_or(default.history, usize::from),
            per_address: self.per_address.unwrap_or(default.per_address),
            per_token: self.per_token.unwrap_or(default.per_token),
            per_channel: self.per_channel.unwrap_or(default.per_channel),
            lifetime: self.lifetime.map_or(default.lifetime, |seconds| Duration::from_secs(seconds.into())),
            origins: self.origins.clone(),
            metrics: metrics.clone(),
            ..default
        };
        Channels::start(settings).context("cannot start the threads of channels").map(Some)
    }
}
