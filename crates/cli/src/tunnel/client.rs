//! What the clients have in common: where the server is, who asks, and when to stop.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use outflow_tunnel::client::{self, Address, Client, Target};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::Failure;
use crate::serve::options::{LogFormat, LogLevel};

/// Where a token is looked for besides `--token-file`. Not a flag: everybody on the machine can read those.
const TOKEN: &str = "OUTFLOW_TUNNEL_TOKEN";

/// A token that is longer is none, in bytes.
const LONGEST_TOKEN: u64 = 4096;

/// What each of them can be told.
#[derive(Args, Clone, Debug)]
pub(crate) struct ClientOptions {
    /// File with the token that says who asks [or OUTFLOW_TUNNEL_TOKEN, with the token itself]
    #[arg(long, value_name = "FILE", env = "OUTFLOW_TUNNEL_TOKEN_FILE")]
    pub(super) token_file: Option<PathBuf>,

    /// PEM file of a certificate authority to believe, besides the system's
    #[arg(long, value_name = "FILE", env = "OUTFLOW_TUNNEL_CACERT")]
    pub(super) cacert: Vec<PathBuf>,

    /// How tunnels are asked for; websocket gets through proxies that know nothing else
    #[arg(
        long,
        value_enum,
        value_name = "PROTOCOL",
        env = "OUTFLOW_TUNNEL_VIA",
        default_value = "connect-tcp"
    )]
    pub(super) via: Via,

    /// Come back to a tunnel when its connection is lost, if the server lets us [default]
    #[arg(long, overrides_with = "no_resume")]
    resume: bool,

    /// End a tunnel when its connection is lost
    #[arg(long, overrides_with = "resume")]
    pub(super) no_resume: bool,

    /// How it is logged, on stderr
    #[arg(long, value_name = "FORMAT", env = "OUTFLOW_LOG_FORMAT", default_value = "text")]
    pub(super) log_format: LogFormat,

    /// How much is logged [default: warn, for those that listen info]
    #[arg(long, value_name = "LEVEL", env = "OUTFLOW_LOG_LEVEL")]
    pub(super) log_level: Option<LogLevel>,
}

/// As the flag names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Via {
    ConnectTcp,
    Websocket,
    Purr,
}

impl ClientOptions {
    /// The client for a server.
    pub(super) fn client(&self, address: &Address) -> Result<Client, Failure> {
        let token = match &self.token_file {
            Some(path) => Some(read_token(path)?),
            None => std::env::var(TOKEN).ok().filter(|token| !token.is_empty()),
        };
        let roots = || client::roots(&self.cacert);
        let tls = if self.cacert.is_empty() { None } else { Some(roots().context("--cacert")?) };
        let options = client::Options {
            via: match self.via {
                Via::ConnectTcp => client::Via::ConnectTcp,
                Via::Websocket => client::Via::WebSocket,
                Via::Purr => client::Via::Purr,
            },
            token,
            tls,
            resume: !self.no_resume,
            ..client::Options::default()
        };
        Ok(Client::new(address.clone(), options).map_err(anyhow::Error::from)?)
    }
}

fn read_token(path: &Path) -> anyhow::Result<String> {
    let read = || {
        let length = std::fs::metadata(path)?.len();
        anyhow::ensure!(length <= LONGEST_TOKEN, "it is longer than {LONGEST_TOKEN} bytes");
        let token = std::fs::read_to_string(path)?.trim().to_owned();
        anyhow::ensure!(!token.is_empty(), "it is empty");
        Ok(token)
    };
    read().with_context(|| format!("the file of the token {} cannot be used", path.display()))
}

/// Where a tunnel leads to.
#[derive(Args, Clone, Debug)]
pub(crate) struct ServerAndTarget {
    /// The server, such as https://example.org; a template with {target_host} and {target_port}; or an address for one
    /// target, as `outflow tunnel link` makes them
    #[arg(value_name = "URL")]
    pub(super) url: Address,

    /// Host of the target, as the server knows it; an address for one target needs none
    #[arg(value_name = "HOST", requires = "port")]
    pub(super) host: Option<String>,

    /// Port of the target
    #[arg(value_name = "PORT")]
    pub(super) port: Option<u16>,
}

impl ServerAndTarget {
    /// The target, if one is named.
    pub(super) fn target(&self) -> Result<Option<Target>, Failure> {
        let (Some(host), Some(port)) = (&self.host, self.port) else { return Ok(None) };
        Target::new(host, port).map(Some).map_err(|error| Failure::Usage(error.into()))
    }

    /// The target that `client` needs.
    pub(super) fn target_of(&self, client: &Client) -> Result<Option<Target>, Failure> {
        let target = self.target()?;
        if target.is_none() && !client.is_bound() {
            return Err(Failure::Usage(anyhow::anyhow!(
                "where to? {} leads to many targets: name a HOST and a PORT",
                self.url
            )));
        }
        Ok(target)
    }
}

/// Counts signals: after the first, what is under way may end by itself; after the second it may not.
#[derive(Clone)]
pub(super) struct Signals(watch::Receiver<u32>);

impl Signals {
    /// From now on SIGINT, SIGTERM and SIGHUP are counted, and do nothing else.
    pub(super) fn listen() -> anyhow::Result<Signals> {
        let (count, counted) = watch::channel(0);
        let count = Arc::new(count);
        for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
            let mut signal = signal(kind).context("cannot wait for signals")?;
            let count = Arc::clone(&count);
            tokio::spawn(async move {
                while signal.recv().await.is_some() {
                    count.send_modify(|count| *count += 1);
                }
            });
        }
        Ok(Signals(counted))
    }

    /// Whether there has been one.
    pub(super) fn arrived(&self) -> bool {
        *self.0.borrow() > 0
    }

    /// Waits until there have been so many.
    pub(super) async fn wait(mut self, count: u32) {
        if self.0.wait_for(|counted| *counted >= count).await.is_err() {
            // Nobody counts any more, which is no signal.
            std::future::pending::<()>().await;
        }
    }
}
