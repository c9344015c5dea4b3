//! What a tunnel's server is told: one definition for `outflow tunnel serve` and the `[tunnel]` of a configuration file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use outflow_tunnel::carry::Limits;
use outflow_tunnel::server::Allow;
use outflow_tunnel::server::Keys;
use outflow_tunnel::server::{Most, Settings};
use outflow_tunnel::server::{User, Users};
use serde::Deserialize;

use crate::args::duration::Period;
use crate::{Failure, run::limits as running};

/// A file of users that is larger than this is none, in bytes.
const LARGEST_USERS: u64 = 16 << 20;

/// Every key is optional, but nobody gets anywhere without `allow`.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct TunnelOptions {
    /// Targets that may be reached: HOST:PORT, *.DOMAIN:PORT, ADDRESS:PORT, NETWORK/BITS:PORT; a PORT may be FIRST-LAST or *;
    /// private addresses only if they are listed as such, also when a listed name leads to them
    #[arg(long, value_name = "HOST:PORT", env = "OUTFLOW_TUNNEL_ALLOW", value_delimiter = ',')]
    #[serde(default)]
    pub(crate) allow: Vec<String>,

    /// Addresses of this server that clients may have something listen at (outflow tunnel listen --reverse)
    #[arg(long, value_name = "ADDRESS:PORT", env = "OUTFLOW_TUNNEL_ALLOW_LISTEN", value_delimiter = ',')]
    #[serde(default)]
    pub(crate) allow_listen: Vec<String>,

    /// File of those who may use the tunnel, in TOML: [[user]] with name, token, and maybe allow, listen, tunnels
    #[arg(long, value_name = "FILE", env = "OUTFLOW_TUNNEL_USERS")]
    pub(crate) users: Option<PathBuf>,

    /// File with the key that addresses for one target are signed with; `outflow tunnel link` makes them
    #[arg(long, value_name = "FILE", env = "OUTFLOW_TUNNEL_LINK_KEY")]
    pub(crate) link_key: Option<PathBuf>,

    /// Let everybody in who can reach this server, without a token
    #[arg(long, env = "OUTFLOW_TUNNEL_OPEN", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) open: Option<bool>,

    /// With --open: web pages that may open tunnels, such as https://example.org
    #[arg(long, value_name = "ORIGIN", env = "OUTFLOW_TUNNEL_ORIGIN", value_delimiter = ',')]
    #[serde(default)]
    pub(crate) origin: Vec<String>,

    /// For how long a tunnel whose client was lost waits for it to come back; 0s: not at all [default: 60s]
    #[arg(long, value_name = "TIME", env = "OUTFLOW_TUNNEL_RESUME")]
    pub(crate) resume: Option<Period>,

    /// Time for a target to answer [default: 10s]
    #[arg(long, value_name = "TIME", env = "OUTFLOW_TUNNEL_CONNECT_TIMEOUT")]
    pub(crate) connect_timeout: Option<Period>,

    /// A tunnel through which nothing goes for so long is ended; 0s: never [default: 1h]
    #[arg(long, value_name = "TIME", env = "OUTFLOW_TUNNEL_IDLE_TIMEOUT")]
    pub(crate) idle_timeout: Option<Period>,

    /// Tunnels of one user at the same time [default: 64]
    #[arg(long, value_name = "N", env = "OUTFLOW_TUNNEL_PER_USER", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) tunnels_per_user: Option<u32>,

    /// Tunnels of all at the same time [default: 4096, or an eighth of the limit of open files if that is less]
    #[arg(long, value_name = "N", env = "OUTFLOW_TUNNEL_MAX", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_tunnels: Option<u32>,
}

/// What a file of users has.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UsersFile {
    #[serde(default)]
    user: Vec<User>,
}

impl TunnelOptions {
    /// Relative paths in a configuration file start where the file is.
    pub(crate) fn start_at(&mut self, folder: &Path) {
        for path in [&mut self.users, &mut self.link_key].into_iter().flatten() {
            *path = folder.join(&*path);
        }
    }

    /// What the server is to be made with.
    pub(crate) fn settings(&self) -> Result<Settings, Failure> {
        let usage = |error: String| Failure::Usage(anyhow::anyhow!(error));
        let list = |rules: &[String]| Allow::parse(rules.iter().map(String::as_str));
        let allow = list(&self.allow).map_err(|error| usage(format!("--allow {error}")))?;
        let listen = list(&self.allow_listen).map_err(|error| usage(format!("--allow-listen {error}")))?;
        let open = self.open.unwrap_or(false);
        let users = self.users.as_deref().map(read_users).transpose()?.unwrap_or_default();
        let keys = self.link_key.as_deref().map(Keys::open).transpose();
        let keys = keys.context("--link-key")?;
        if users.is_empty() && keys.is_none() && !open {
            return Err(usage(
                "nobody may use this tunnel: name a file of users with --users, or one with a key for links with \
                 --link-key, or let everybody in with --open"
                    .to_owned(),
            ));
        }
        if allow.is_empty() && listen.is_empty() && !users.have_own() {
            return Err(usage(
                "nothing may be reached through this tunnel: list targets with --allow HOST:PORT".to_owned(),
            ));
        }
        if !self.origin.is_empty() && !open {
            return Err(usage(
                "--origin is about --open: pages without a token are let in by that alone".to_owned(),
            ));
        }
        let default = Settings::default();
        let most = Most {
            tunnels: self.max_tunnels.map_or_else(most_tunnels, |n| n as usize),
            of_one: self.tunnels_per_user.map_or(default.most.of_one, |n| n as usize),
            ..default.most
        };
        let idle = self.idle_timeout.map_or(default.limits.idle, |time| some(time.0));
        Ok(Settings {
            allow,
            listen,
            users,
            open,
            origins: self.origin.clone(),
            keys,
            most,
            connect_timeout: self.connect_timeout.map_or(default.connect_timeout, |time| time.0),
            limits: Limits { idle, ..default.limits },
            resume: self.resume.map_or(default.resume, |time| some(time.0)),
            ..default
        })
    }
}

/// Each tunnel has a second socket, for which connections leave room.
fn most_tunnels() -> usize {
    (running::open_files() / 8).min(Most::default().tunnels).max(1)
}

/// No time at all stands for none.
fn some(time: Duration) -> Option<Duration> {
    (!time.is_zero()).then_some(time)
}

fn read_users(path: &Path) -> anyhow::Result<Users> {
    let read = || -> anyhow::Result<Users> {
        if std::fs::metadata(path)?.len() > LARGEST_USERS {
            bail!("it is larger than {} MiB", LARGEST_USERS >> 20);
        }
        // An error of TOML quotes the line it is about, and that may have a token in it.
        let file: UsersFile = toml::from_str(&std::fs::read_to_string(path)?)
            .map_err(|error: toml::de::Error| anyhow::anyhow!("{}", error.message()))?;
        let users = Users::new(file.user).map_err(|error| anyhow::anyhow!(error))?;
        if users.is_empty() {
            bail!("it names nobody: [[user]], name = \"anna\", token = \"…\"");
        }
        Ok(users)
    };
    read().with_context(|| format!("the file of users {} cannot be used", path.display()))
}
