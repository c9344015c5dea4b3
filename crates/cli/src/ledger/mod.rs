//! Where the ledger is, how it is opened, and who is told of its events.

pub(crate) mod downloads;
pub(crate) mod events;
pub(crate) mod webhook_secret;

use std::future::Future;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use outflow_ledger::{Endpoint, Filter, Kind, Ledger, Target};
use serde::Deserialize;

/// How a command that asks the ledger finds it.
#[derive(Args, Clone, Debug)]
pub(crate) struct LedgerOption {
    /// The ledger: sqlite:PATH or postgres://USER@HOST/DATABASE [default: the one that `outflow serve` uses]
    #[arg(long, value_name = "LEDGER", env = "OUTFLOW_LEDGER")]
    ledger: Option<String>,
}

impl LedgerOption {
    /// The one at this address.
    pub(crate) fn at(address: &str) -> LedgerOption {
        LedgerOption { ledger: Some(address.to_owned()) }
    }

    /// Opens a ledger that is there already, to ask it.
    pub(crate) fn open(&self) -> anyhow::Result<Ledger> {
        let address = match &self.ledger {
            Some(address) => address.clone(),
            None => default_address()
                .context("neither XDG_STATE_HOME nor HOME says where the ledger is; --ledger does")?,
        };
        if let Some(path) = file_of(&address) {
            // Asking is no reason to make one.
            anyhow::ensure!(
                path.try_exists().unwrap_or(true),
                "there is no ledger at {}: no server has been run with it yet, or --ledger has to name another one",
                path.display()
            );
        }
        Ok(Ledger::open(&address, outflow_ledger::Options::default())?)
    }
}

/// Runs a question to its end.
pub(crate) fn wait<T>(question: impl Future<Output = T>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    Ok(runtime.context("cannot make a runtime")?.block_on(question))
}

/// Where the ledger is if nobody says so.
pub(crate) fn default_address() -> Option<String> {
    Some(format!("sqlite:{}", state_folder()?.join("ledger.sqlite").to_str()?))
}

/// The user's folder for what is to persist, but is not worth being carried to another machine (XDG Base Directory, 0.8).
pub(crate) fn state_folder() -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state =
        absolute("XDG_STATE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/state")))?;
    Some(state.join("outflow"))
}

/// The file that an address names, if it is SQLite's.
fn file_of(address: &str) -> Option<&Path> {
    match address.strip_prefix("sqlite:") {
        Some(path) => Some(Path::new(path.strip_prefix("//").unwrap_or(path))),
        None => (!address.contains("://")).then(|| Path::new(address)),
    }
}

/// `[[webhooks]]` in the configuration file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Webhook {
    /// Tells it from the others for ever.
    id: Option<String>,
    url: String,
    secrets: Vec<String>,
    #[serde(default)]
    events: Vec<String>,
    path: Option<String>,
    transfer: Option<String>,
    recipient: Option<String>,
    #[serde(default)]
    allow_private: bool,
}

impl Webhook {
    /// One that was named by flags.
    pub(crate) fn of(url: String, secrets: Vec<String>, allow_private: bool) -> Webhook {
        Webhook {
            id: None,
            url,
            secrets,
            events: Vec::new(),
            path: None,
            transfer: None,
            recipient: None,
            allow_private,
        }
    }

    fn endpoint(self) -> anyhow::Result<Endpoint> {
        let kinds = self.events.iter().map(|name| {
            Kind::of(name).with_context(|| {
                let known: Vec<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
                format!("there is no event {name:?}; there are {}", known.join(", "))
            })
        });
        let filter = Filter {
            kinds: kinds.collect::<anyhow::Result<_>>()?,
            path: self.path,
            transfer: self.transfer,
            recipient: self.recipient,
        };
        let id = self.id.unwrap_or_else(|| id_of(&self.url));
        let target =
            Target::Webhook { url: self.url, secrets: self.secrets, allow_private: self.allow_private };
        Ok(Endpoint { id, filter, target })
    }
}

/// What stands for an endpoint that has no name: host and port, and a hash of the rest, which may be secret.
fn id_of(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = host.rsplit('@').next().unwrap_or_default();
    format!("{host}-{}", &blake3::hash(url.as_bytes()).to_hex()[..8])
}

/// Everybody who is to be told.
pub(crate) fn endpoints(webhooks: Vec<Webhook>, command: Option<PathBuf>) -> anyhow::Result<Vec<Endpoint>> {
    let mut endpoints = webhooks.into_iter().map(Webhook::endpoint).collect::<anyhow::Result<Vec<_>>>()?;
    endpoints.extend(command.map(|program| Endpoint {
        id: "on-event".to_owned(),
        filter: Filter::default(),
        target: Target::Command { program },
    }));
    outflow_ledger::check(&endpoints).map_err(anyhow::Error::msg)?;
    Ok(endpoints)
}
