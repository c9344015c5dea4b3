//! Options of `outflow serve`.

use std::path::{Path, PathBuf};

use clap::Args;
use outflow_catalog::store_examples;

use crate::args::duration::RetentionArg;
use crate::args::network::NetworkArg;
use crate::args::size::SizeArg;
use crate::args::words::{self, SecretArg};
use crate::run::limits::ServerLimitArgs;
use crate::run::listen::{ListenAddress, ListenArgs};
use crate::run::logging::LogArgs;
use crate::run::tls::TlsArgs;
use crate::serve::channels::ChannelArgs;
use crate::serve::endpoints::WebhookArgs;
use crate::tunnel::settings::TunnelArgs;

#[derive(Args, Clone, Debug)]
pub(crate) struct ServeArgs {
    /// Folder, file or store to serve
    #[arg(env, default_value = ".", long_help = path_help())]
    pub(crate) path: PathBuf,

    /// TOML file with any of these options as keys
    ///
    /// Flags override environment variables, which override the file.
    #[arg(short, long, value_name = "FILE", env, help_heading = "Configuration")]
    pub(crate) config: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) listen: ListenArgs,

    /// Address for the Prometheus endpoint (/metrics)
    ///
    /// It has no authentication: bind it to an address that only you can reach.
    #[arg(long, value_name = "ADDR", env, help_heading = "Listening")]
    pub(crate) metrics: Option<ListenAddress>,

    #[command(flatten)]
    pub(crate) files: FilesArgs,

    #[command(flatten)]
    pub(crate) store: StoreArgs,

    #[command(flatten)]
    pub(crate) links: LinkCheckArgs,

    #[command(flatten)]
    pub(crate) ledger: RecordArgs,

    #[command(flatten)]
    pub(crate) events: EventArgs,

    #[command(flatten)]
    pub(crate) proxies: ProxyArgs,

    #[command(flatten)]
    pub(crate) tls: TlsArgs,

    #[command(flatten)]
    pub(crate) limits: ServerLimitArgs,

    #[command(flatten)]
    pub(crate) channels: ChannelArgs,

    #[command(flatten)]
    pub(crate) tunnel: TunnelArgs,

    #[command(flatten)]
    pub(crate) log: LogArgs,
}

/// What is served, and how.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Files")]
pub(crate) struct FilesArgs {
    /// Serve names that begin with a dot
    #[arg(long, env)]
    pub(crate) hidden: bool,

    /// Follow symbolic links that lead out of the folder
    #[arg(long, env)]
    pub(crate) follow_symlinks: bool,

    /// Serve the objects of a store as folders and files, instead of transfers
    #[arg(long, env)]
    pub(crate) plain: bool,

    /// Folder where CRC-32s of files are cached [default: outflow in the user's cache folder]
    #[arg(long, value_name = "DIR", env)]
    pub(crate) cache: Option<PathBuf>,

    /// Compute CRC-32s of files in archives in the background
    #[arg(long, env, default_value_t = true)]
    pub(crate) crc_background: bool,

    /// Send files by sendfile(2), and objects of plain HTTP stores by splice(2)
    ///
    /// --no-sendfile copies both through user space. That is slower, but verifies each object that
    /// is sent whole, and is safe when files are overwritten in place.
    #[arg(long, env, default_value_t = true)]
    pub(crate) sendfile: bool,
}

/// How a store is used.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Store")]
pub(crate) struct StoreArgs {
    /// Total memory for segments fetched but not yet sent, across all downloads
    #[arg(long, value_name = "SIZE", env, default_value = "256MiB")]
    pub(crate) segment_memory: SizeArg,

    /// Maximum number of connections to the store
    #[arg(long, value_name = "N", env, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) store_connections: u16,

    /// Send a second request when a download is about to run out of data
    #[arg(long, env)]
    pub(crate) hedge: bool,
}

/// Which links are accepted.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Links")]
pub(crate) struct LinkCheckArgs {
    /// File with the keys that sign links; `outflow link keygen` makes a key
    #[arg(long, value_name = "FILE", env)]
    pub(crate) link_keys: Option<PathBuf>,

    /// Serve nothing without a link
    #[arg(long, env)]
    pub(crate) require_links: bool,
}

/// Where downloads are recorded.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Ledger")]
pub(crate) struct RecordArgs {
    /// Database for downloads and receipts
    ///
    /// sqlite:PATH or postgres://USER@HOST/DATABASE; "none" turns recording off. [default:
    /// ledger.sqlite in the user's state folder]
    #[arg(long, value_name = "LEDGER", env)]
    pub(crate) ledger: Option<String>,

    /// How long downloads and events are kept, such as 90d, or forever
    #[arg(long, value_name = "TIME", env, default_value = "90d")]
    pub(crate) ledger_keep: RetentionArg,

    /// Record files fetched without a link only from this size on
    ///
    /// Smaller ones are counted by file and day, which costs next to nothing. Downloads by a link,
    /// from a transfer, or that a webhook, a program or a listener is waiting for are always
    /// recorded. Archives are recorded as long as the ledger keeps up.
    #[arg(long, value_name = "SIZE", env, default_value = "1MiB")]
    pub(crate) ledger_min_size: SizeArg,

    /// Maximum number of changes that wait in memory while the ledger cannot be written
    ///
    /// Once it is reached, new downloads that must be recorded are refused; others are only
    /// counted.
    #[arg(long, value_name = "N", env, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(2..))]
    pub(crate) ledger_backlog: u32,
}

/// Who receives events.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Events")]
pub(crate) struct EventArgs {
    /// URL that receives events by POST (Standard Webhooks)
    ///
    /// Repeat the option, or separate values with spaces.
    #[arg(long, value_name = "URL", env, value_delimiter = ' ', value_parser = words::element)]
    pub(crate) webhook: Vec<String>,

    /// Secret that signs the events for --webhook; `outflow endpoint keygen` makes one
    ///
    /// Repeat the option, or separate values with spaces. Each event is then signed by all of
    /// them.
    #[arg(long, value_name = "SECRET", env, value_delimiter = ' ')]
    pub(crate) webhook_secret: Vec<SecretArg>,

    /// Allow the URLs of --webhook to be in private networks
    #[arg(long, env)]
    pub(crate) webhook_allow_private: bool,

    /// Webhooks with filters and secrets of their own: `[[webhooks]]` in the configuration file.
    #[arg(long, value_name = "JSON", hide = true, value_parser = WebhookArgs::parse)]
    pub(crate) webhooks: Vec<WebhookArgs>,

    /// Program to run for each event; it receives the event as JSON on standard input
    #[arg(long, value_name = "PROGRAM", env)]
    pub(crate) on_event: Option<PathBuf>,

    /// Emit an event each time another 10% of a download has arrived (download.progress)
    #[arg(long, env)]
    pub(crate) progress_events: bool,
}

/// Proxies in front of the server.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Proxies")]
pub(crate) struct ProxyArgs {
    /// Networks of proxies whose Forwarded and X-Forwarded-For fields are trusted
    ///
    /// Repeat the option, or separate values with commas.
    #[arg(long, value_name = "NET", env, value_delimiter = ',')]
    pub(crate) trusted_proxies: Vec<NetworkArg>,

    /// Expect a PROXY header (version 1 or 2) from the trusted proxies
    #[arg(long, env)]
    pub(crate) proxy_protocol: bool,
}

fn path_help() -> String {
    format!("Folder, file or store to serve\n\nA store is an address such as {}.", store_examples())
}

/// The path as an address, if it has a scheme.
pub(crate) fn store_address(path: &Path) -> Option<&str> {
    let text = path.to_str()?;
    let (scheme, _) = text.split_once("://")?;
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    is_scheme.then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_scheme() {
        for (path, is_address) in [
            ("s3://bucket/prefix", true),
            ("file:///srv", true),
            ("HTTPS://host/", true),
            ("/srv/files", false),
            ("a b://c", false),
            ("://x", false),
            ("./s3://bucket", false),
            ("s3:/bucket", false),
        ] {
            assert_eq!(store_address(Path::new(path)).is_some(), is_address, "{path}");
        }
    }
}
