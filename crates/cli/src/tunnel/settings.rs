//! Options of a tunnel server, for `outflow tunnel serve` and `[tunnel]` in the configuration file.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use outflow_texts::{ConsoleText, console};
use outflow_tunnel::carry::TunnelTimeouts;
use outflow_tunnel::server::AllowList;
use outflow_tunnel::server::CapabilityKeys;
use outflow_tunnel::server::{TunnelLimits, TunnelSettings};
use outflow_tunnel::server::{User, Users};
use serde::Deserialize;

use crate::args::duration::{self, DurationArg};
use crate::args::words;
use crate::failure::Failure;
use crate::run::limits;

/// Maximum size of the file of users, in bytes.
///
/// Bound: tunnels.
const MAX_USERS_FILE: u64 = 16 << 20;

/// In `outflow tunnel serve` the options are called without `tunnel-`.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Tunnels")]
pub(crate) struct TunnelArgs {
    /// Targets that clients may reach, such as db.example.org:22
    ///
    /// HOST:PORT, *.DOMAIN:PORT, ADDRESS:PORT or NETWORK/BITS:PORT. PORT is a number, FIRST-LAST or
    /// *. Private addresses must be listed as addresses, even if an allowed name resolves to them.
    /// Repeat the option, or separate values with commas.
    #[arg(long, value_name = "HOST:PORT", env, value_delimiter = ',', value_parser = words::element)]
    tunnel_allow: Vec<String>,

    /// Addresses of this server on which clients may listen
    ///
    /// ADDRESS:PORT, for `outflow tunnel listen --reverse`. Repeat the option, or separate
    /// values with commas.
    #[arg(long, value_name = "ADDR", env, value_delimiter = ',', value_parser = words::element)]
    tunnel_allow_listen: Vec<String>,

    /// TOML file of users and their tokens
    ///
    /// One [[user]] table per user: name, token, and optionally allow, listen and tunnels.
    #[arg(long, value_name = "FILE", env)]
    tunnel_users: Option<PathBuf>,

    /// File with the key that signs addresses for one target
    ///
    /// `outflow tunnel link` makes such addresses.
    #[arg(long, value_name = "FILE", env)]
    tunnel_link_key: Option<PathBuf>,

    /// Accept any client; no token required
    #[arg(long, env)]
    tunnel_open: bool,

    /// Origins of pages that may open tunnels without a token
    ///
    /// For example, https://example.org. Repeat the option, or separate values with commas.
    #[arg(long, value_name = "ORIGIN", env, value_delimiter = ',', value_parser = words::element)]
    tunnel_origin: Vec<String>,

    /// Time to reconnect after a break; 0s disables it
    ///
    /// A tunnel is closed if its client does not reconnect within this time.
    #[arg(long, value_name = "TIME", env, default_value = "60s")]
    tunnel_resume: DurationArg,

    /// Time for a target to accept a connection
    #[arg(long, value_name = "TIME", env, default_value = "10s", value_parser = duration::non_zero)]
    tunnel_connect_timeout: DurationArg,

    /// Idle time that ends a tunnel; 0s disables it
    #[arg(long, value_name = "TIME", env, default_value = "1h")]
    tunnel_idle_timeout: DurationArg,

    /// Maximum number of tunnels of one user
    #[arg(long, value_name = "N", env, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    tunnel_per_user: u32,

    /// Maximum number of tunnels [default: up to 4096]
    ///
    /// The default is 1/8 of the limit of open files if that is less than 4096.
    #[arg(long, value_name = "N", env, value_parser = clap::value_parser!(u32).range(1..))]
    tunnel_max: Option<u32>,
}

/// The file of users.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TunnelUsersFile {
    #[serde(default)]
    user: Vec<User>,
}

impl TunnelArgs {
    /// Whether an option asks `outflow serve` for a tunnel server beside the files.
    pub(crate) fn is_wanted(&self) -> bool {
        let lists = [&self.tunnel_allow, &self.tunnel_allow_listen, &self.tunnel_origin];
        let files = [&self.tunnel_users, &self.tunnel_link_key];
        self.tunnel_open
            || lists.iter().any(|list| !list.is_empty())
            || files.iter().any(|file| file.is_some())
    }

    /// The settings of the server; usage errors for options that contradict each other. Flags begin
    /// with `flag`: `--`, or `--tunnel-` in `outflow serve`.
    pub(crate) fn settings(&self, flag: &str) -> Result<TunnelSettings, Failure> {
        let usage = |text: ConsoleText| Failure::Usage(anyhow::anyhow!(text));
        let list = |rules: &[String]| AllowList::parse(rules.iter().map(String::as_str));
        let allow = list(&self.tunnel_allow)
            .map_err(|error| usage(console!(flag_value_error, flag = format!("{flag}allow"), %error)))?;
        let listen = list(&self.tunnel_allow_listen).map_err(|error| {
            usage(console!(flag_value_error, flag = format!("{flag}allow-listen"), %error))
        })?;
        let users = self.tunnel_users.as_deref().map(read_users).transpose()?.unwrap_or_default();
        let keys = self.tunnel_link_key.as_deref().map(CapabilityKeys::open).transpose();
        let keys = keys.with_context(|| format!("{flag}link-key"))?;
        if users.is_empty() && keys.is_none() && !self.tunnel_open {
            return Err(usage(console!(tunnel_without_clients, flag)));
        }
        if allow.is_empty() && listen.is_empty() && !users.have_own_lists() {
            return Err(usage(console!(tunnel_without_targets, flag)));
        }
        if !self.tunnel_origin.is_empty() && !self.tunnel_open {
            return Err(usage(console!(tunnel_origin_needs_open, flag)));
        }
        let default = TunnelSettings::default();
        let limits = TunnelLimits {
            tunnels: self.tunnel_max.map_or_else(default_max_tunnels, |n| n as usize),
            per_owner: self.tunnel_per_user as usize,
            ..default.limits
        };
        Ok(TunnelSettings {
            allow,
            listen,
            users,
            open: self.tunnel_open,
            origins: self.tunnel_origin.clone(),
            keys,
            limits,
            connect_timeout: self.tunnel_connect_timeout.0,
            timeouts: TunnelTimeouts { idle: self.tunnel_idle_timeout.limit(), ..default.timeouts },
            resume: self.tunnel_resume.limit(),
            ..default
        })
    }
}

/// One tunnel for this many open files of the limit, unless the operator sets a number.
///
/// Bound: tunnels. 1/8 of the limit of open files, at most 4,096
const OPEN_FILES_PER_TUNNEL: usize = 8;

/// Each tunnel has a second socket, for which the limit of connections leaves descriptors.
fn default_max_tunnels() -> usize {
    (limits::open_files() / OPEN_FILES_PER_TUNNEL).min(TunnelLimits::default().tunnels).max(1)
}

fn read_users(path: &Path) -> anyhow::Result<Users> {
    let read = || -> anyhow::Result<Users> {
        if std::fs::metadata(path)?.len() > MAX_USERS_FILE {
            bail!(console!(users_file_too_large, limit = MAX_USERS_FILE >> 20));
        }
        // Only the message: an error of TOML quotes the line, which may contain a token.
        let file: TunnelUsersFile = toml::from_str(&std::fs::read_to_string(path)?)
            .map_err(|error: toml::de::Error| anyhow::anyhow!("{}", error.message()))?;
        let users = Users::new(file.user).map_err(|error| anyhow::anyhow!(error))?;
        if users.is_empty() {
            bail!(console!(users_file_without_user));
        }
        Ok(users)
    };
    read().with_context(|| console!(cannot_use_users_file, path = %path.display()))
}
