//! Options of a tunnel server, for `outflow tunnel serve` and `[tunnel]` in the configuration file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use outflow_tunnel::carry::TunnelTimeouts;
use outflow_tunnel::server::AllowList;
use outflow_tunnel::server::CapabilityKeys;
use outflow_tunnel::server::{TunnelLimits, TunnelSettings};
use outflow_tunnel::server::{User, Users};
use serde::Deserialize;

use crate::args::duration::DurationArg;
use crate::failure::Failure;
use crate::run::limits;

/// Maximum size of the file of users, in bytes.
///
/// Bound: tunnels.
const MAX_USERS_FILE: u64 = 16 << 20;

/// Every key is optional; without `allow` no target can be reached.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct TunnelArgs {
    /// Allowed targets: HOST:PORT, *.DOMAIN:PORT, ADDRESS:PORT, NETWORK/BITS:PORT, with PORT a
    /// number, FIRST-LAST or *; private addresses must be listed as addresses, even if an allowed
    /// name resolves to them
    #[arg(long, value_name = "HOST:PORT", env = "OUTFLOW_TUNNEL_ALLOW", value_delimiter = ',')]
    #[serde(default)]
    pub(crate) allow: Vec<String>,

    /// Addresses of this server on which clients may listen (outflow tunnel listen --reverse)
    #[arg(long, value_name = "ADDRESS:PORT", env = "OUTFLOW_TUNNEL_ALLOW_LISTEN", value_delimiter = ',')]
    #[serde(default)]
    pub(crate) allow_listen: Vec<String>,

    /// TOML file of users: [[user]] with name, token, and optionally allow, listen, tunnels
    #[arg(long, value_name = "FILE", env = "OUTFLOW_TUNNEL_USERS")]
    pub(crate) users: Option<PathBuf>,

    /// File with the key that signs addresses for one target; `outflow tunnel link` makes these
    #[arg(long, value_name = "FILE", env = "OUTFLOW_TUNNEL_LINK_KEY")]
    pub(crate) link_key: Option<PathBuf>,

    /// Accept all clients without a token
    #[arg(long, env = "OUTFLOW_TUNNEL_OPEN", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) open: Option<bool>,

    /// With --open: origins of pages that may open tunnels, such as https://example.org
    #[arg(long, value_name = "ORIGIN", env = "OUTFLOW_TUNNEL_ORIGIN", value_delimiter = ',')]
    #[serde(default)]
    pub(crate) origin: Vec<String>,

    /// How long a tunnel whose connection broke waits for its client to reconnect; 0s for not at
    /// all [default: 60s]
    #[arg(long, value_name = "TIME", env = "OUTFLOW_TUNNEL_RESUME")]
    pub(crate) resume: Option<DurationArg>,

    /// Time for a target to accept a connection [default: 10s]
    #[arg(long, value_name = "TIME", env = "OUTFLOW_TUNNEL_CONNECT_TIMEOUT")]
    pub(crate) connect_timeout: Option<DurationArg>,

    /// Time without a byte that ends a tunnel; 0s for no limit [default: 1h]
    #[arg(long, value_name = "TIME", env = "OUTFLOW_TUNNEL_IDLE_TIMEOUT")]
    pub(crate) idle_timeout: Option<DurationArg>,

    /// Maximum number of tunnels of one user [default: 64]
    #[arg(long, value_name = "N", env = "OUTFLOW_TUNNEL_PER_USER", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) tunnels_per_user: Option<u32>,

    /// Maximum number of tunnels [default: 4096, or an eighth of the limit of open files if that is
    /// less]
    #[arg(long, value_name = "N", env = "OUTFLOW_TUNNEL_MAX", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_tunnels: Option<u32>,
}

/// The file of users.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TunnelUsersFile {
    #[serde(default)]
    user: Vec<User>,
}

impl TunnelArgs {
    /// Makes relative paths of a configuration file relative to its folder.
    pub(crate) fn resolve_paths(&mut self, folder: &Path) {
        for path in [&mut self.users, &mut self.link_key].into_iter().flatten() {
            *path = folder.join(&*path);
        }
    }

    /// The settings of the server; usage errors for options that contradict each other.
    pub(crate) fn settings(&self) -> Result<TunnelSettings, Failure> {
        let usage = |error: String| Failure::Usage(anyhow::anyhow!(error));
        let list = |rules: &[String]| AllowList::parse(rules.iter().map(String::as_str));
        let allow = list(&self.allow).map_err(|error| usage(format!("--allow {error}")))?;
        let listen = list(&self.allow_listen).map_err(|error| usage(format!("--allow-listen {error}")))?;
        let open = self.open.unwrap_or(false);
        let users = self.users.as_deref().map(read_users).transpose()?.unwrap_or_default();
        let keys = self.link_key.as_deref().map(CapabilityKeys::open).transpose();
        let keys = keys.context("--link-key")?;
        if users.is_empty() && keys.is_none() && !open {
            return Err(usage(
                "no client could use this tunnel: name a file of users with --users, a key for links with --link-key, or \
                 accept all clients with --open"
                    .to_owned(),
            ));
        }
        if allow.is_empty() && listen.is_empty() && !users.have_own_lists() {
            return Err(usage(
                "no target can be reached through this tunnel; list targets with --allow HOST:PORT"
                    .to_owned(),
            ));
        }
        if !self.origin.is_empty() && !open {
            return Err(usage("--origin needs --open: pages have no token".to_owned()));
        }
        let default = TunnelSettings::default();
        let limits = TunnelLimits {
            tunnels: self.max_tunnels.map_or_else(default_max_tunnels, |n| n as usize),
            per_owner: self.tunnels_per_user.map_or(default.limits.per_owner, |n| n as usize),
            ..default.limits
        };
        let idle = self.idle_timeout.map_or(default.timeouts.idle, |time| non_zero(time.0));
        Ok(TunnelSettings {
            allow,
            listen,
            users,
            open,
            origins: self.origin.clone(),
            keys,
            limits,
            connect_timeout: self.connect_timeout.map_or(default.connect_timeout, |time| time.0),
            timeouts: TunnelTimeouts { idle, ..default.timeouts },
            resume: self.resume.map_or(default.resume, |time| non_zero(time.0)),
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

/// Zero stands for no limit.
fn non_zero(time: Duration) -> Option<Duration> {
    (!time.is_zero()).then_some(time)
}

fn read_users(path: &Path) -> anyhow::Result<Users> {
    let read = || -> anyhow::Result<Users> {
        if std::fs::metadata(path)?.len() > MAX_USERS_FILE {
            bail!("it is larger than {} MiB", MAX_USERS_FILE >> 20);
        }
        // Only the message: an error of TOML quotes the line, which may contain a token.
        let file: TunnelUsersFile = toml::from_str(&std::fs::read_to_string(path)?)
            .map_err(|error: toml::de::Error| anyhow::anyhow!("{}", error.message()))?;
        let users = Users::new(file.user).map_err(|error| anyhow::anyhow!(error))?;
        if users.is_empty() {
            bail!("it has no user; add [[user]] with name = \"anna\" and token = \"…\"");
        }
        Ok(users)
    };
    read().with_context(|| format!("cannot use the file of users {}", path.display()))
}
