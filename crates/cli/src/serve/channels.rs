//! What `outflow serve` can be told about channels, and the channels that come of it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use outflow_server::channels::{Channels, Settings, Subscribe, Tokens};
use serde::Deserialize;

/// Every key is optional; without tokens there are no channels.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct ChannelOptions {
    /// File of tokens for channels at /channels/NAME: lines of the form "publish TOKEN" or "subscribe TOKEN"; without
    /// one there are no channels
    #[arg(
        id = "channel_tokens",
        long = "channel-tokens",
        value_name = "FILE",
        env = "OUTFLOW_CHANNEL_TOKENS"
    )]
    tokens: Option<PathBuf>,

    /// Who may subscribe: whoever knows a channel's name, or whoever has a token [default: token]
    #[arg(
        id = "channel_subscribe",
        long = "channel-subscribe",
        value_name = "WHO",
        env = "OUTFLOW_CHANNEL_SUBSCRIBE"
    )]
    subscribe: Option<Who>,

    /// Events of a channel that are kept for those who ask for the earliest [default: 100]
    #[arg(
        id = "channel_history",
        long = "channel-history",
        value_name = "N",
        env = "OUTFLOW_CHANNEL_HISTORY",
        value_parser = clap::value_parser!(u16).range(..=10_000)
    )]
    history: Option<u16>,

    /// Subscribers from one address [default: 1000]
    #[arg(
        id = "channel_per_address",
        long = "channel-per-address",
        value_name = "N",
        env = "OUTFLOW_CHANNEL_PER_ADDRESS"
    )]
    per_address: Option<u32>,

    /// Subscribers with one token [default: 1000000]
    #[arg(
        id = "channel_per_token",
        long = "channel-per-token",
        value_name = "N",
        env = "OUTFLOW_CHANNEL_PER_TOKEN"
    )]
    per_token: Option<u32>,

    /// Subscribers of one channel [default: 1000000]
    #[arg(
        id = "channel_per_channel",
        long = "channel-per-channel",
        value_name = "N",
        env = "OUTFLOW_CHANNEL_PER_CHANNEL"
    )]
    per_channel: Option<u32>,

    /// Seconds after which a subscriber is asked to come again, for most a little earlier; 0: never [default: 600]
    #[arg(
        id = "channel_lifetime",
        long = "channel-lifetime",
        value_name = "SECONDS",
        env = "OUTFLOW_CHANNEL_LIFETIME",
        value_parser = clap::value_parser!(u32).range(..=31_536_000)
    )]
    lifetime: Option<u32>,

    /// Whose pages may subscribe besides the server's own: https://HOST, or * for everybody's; separated by commas
    #[arg(
        id = "channel_origin",
        long = "channel-origin",
        value_name = "ORIGIN",
        env = "OUTFLOW_CHANNEL_ORIGIN",
        value_delimiter = ','
    )]
    origins: Vec<String>,
}

/// Who may subscribe.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, ValueEnum)]
#[serde(rename_all = "lowercase")]
enum Who {
    Open,
    Token,
}

impl ChannelOptions {
    /// `self` where it says something, `weaker` elsewhere.
    pub(crate) fn or(self, weaker: ChannelOptions) -> ChannelOptions {
        ChannelOptions {
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

    /// Relative paths in a configuration file start where the file is.
    pub(crate) fn start_at(&mut self, folder: &Path) {
        if let Some(tokens) = &mut self.tokens {
            *tokens = folder.join(&*tokens);
        }
    }

    /// Starts the channels that are asked for.
    pub(crate) fn start(&self) -> anyhow::Result<Option<Channels>> {
        let Some(path) = &self.tokens else {
            anyhow::ensure!(
                self.subscribe.is_none() && self.history.is_none() && self.origins.is_empty(),
                "without --channel-tokens there are no channels: name the file of the tokens that may publish"
            );
            return Ok(None);
        };
        let default = Settings::default();
        let settings = Settings {
            tokens: Tokens::load(path)?,
            subscribe: match self.subscribe {
                Some(Who::Open) => Subscribe::Open,
                Some(Who::Token) | None => Subscribe::Token,
            },
            history: self.history.map_or(default.history, usize::from),
            per_address: self.per_address.unwrap_or(default.per_address),
            per_token: self.per_token.unwrap_or(default.per_token),
            per_channel: self.per_channel.unwrap_or(default.per_channel),
            lifetime: self.lifetime.map_or(default.lifetime, |seconds| Duration::from_secs(seconds.into())),
            origins: self.origins.clone(),
            ..default
        };
        Channels::start(settings).context("no thread for channels").map(Some)
    }
}
