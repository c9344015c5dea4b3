//! Options of `outflow serve` about channels.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use outflow_channels::{ChannelSettings, ChannelTokens, Channels, SubscribePolicy};
use outflow_metrics::MetricRegistry;
use outflow_texts::console;

use crate::args::duration::DurationArg;
use crate::args::words;

/// Channels; there are none without a file of tokens.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Channels")]
pub(crate) struct ChannelArgs {
    /// File of tokens for channels at /channels/NAME; without it there are no channels
    ///
    /// Each line is "publish TOKEN" or "subscribe TOKEN".
    #[arg(long, value_name = "FILE", env)]
    channel_tokens: Option<PathBuf>,

    /// Who may subscribe: anyone (open), or holders of a token (token)
    #[arg(long, value_name = "WHO", env, default_value = "token")]
    channel_subscribe: SubscribeWith,

    /// Number of events of each channel that are kept for subscribers that reconnect
    #[arg(long, value_name = "N", env, default_value_t = 100, value_parser = clap::value_parser!(u16).range(..=10_000))]
    channel_history: u16,

    /// Maximum number of subscribers from one address
    #[arg(long, value_name = "N", env, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    channel_per_address: u32,

    /// Maximum number of subscribers with one token
    #[arg(long, value_name = "N", env, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..))]
    channel_per_token: u32,

    /// Maximum number of subscribers of one channel
    #[arg(long, value_name = "N", env, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..))]
    channel_per_channel: u32,

    /// Time after which a subscriber has to reconnect; 0s disables it
    ///
    /// Most are asked to reconnect slightly earlier, to spread the load.
    #[arg(long, value_name = "TIME", env, default_value = "10m")]
    channel_lifetime: DurationArg,

    /// Origins whose pages may subscribe besides the server's own: https://HOST, or * for all
    #[arg(long, value_name = "ORIGIN", env, value_delimiter = ',', value_parser = words::element)]
    channel_origin: Vec<String>,
}

/// What a subscriber needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum SubscribeWith {
    Open,
    Token,
}

impl ChannelArgs {
    /// Refuses options of channels without the file that turns channels on.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let is_plain = self.channel_subscribe == SubscribeWith::Token && self.channel_origin.is_empty();
        anyhow::ensure!(self.channel_tokens.is_some() || is_plain, console!(channels_need_tokens));
        Ok(())
    }

    /// Starts channels, if there are tokens.
    pub(crate) fn start(&self, metrics: &MetricRegistry) -> anyhow::Result<Option<Channels>> {
        self.check()?;
        let Some(path) = &self.channel_tokens else { return Ok(None) };
        let settings = ChannelSettings {
            tokens: ChannelTokens::load(path)?,
            subscribe: match self.channel_subscribe {
                SubscribeWith::Open => SubscribePolicy::Open,
                SubscribeWith::Token => SubscribePolicy::Token,
            },
            history: self.channel_history.into(),
            per_address: self.channel_per_address,
            per_token: self.channel_per_token,
            per_channel: self.channel_per_channel,
            lifetime: self.channel_lifetime.0,
            origins: self.channel_origin.clone(),
            metrics: metrics.clone(),
            ..ChannelSettings::default()
        };
        Channels::start(settings).context(console!(cannot_start_channels)).map(Some)
    }
}
