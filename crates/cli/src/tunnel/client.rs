//! What the tunnel clients have in common: the server, the token, TLS, and signals.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use outflow_texts::console;
use outflow_tunnel::client::{self, RemoteTarget, TunnelClient, TunnelUrl};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::failure::Failure;
use crate::run::logging::LogArgs;

/// Variable with the token. There is no flag for it: all users of a machine can read flags.
const TOKEN_VARIABLE: &str = "OUTFLOW_TUNNEL_TOKEN";

/// Maximum length of a token, in bytes.
///
/// Bound: tunnels.
const MAX_TOKEN: u64 = 4096;

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Server")]
pub(crate) struct TunnelClientArgs {
    /// File with the user's token
    ///
    /// Or OUTFLOW_TUNNEL_TOKEN, with the token itself.
    #[arg(id = "tunnel_token_file", long = "token-file", value_name = "FILE", env)]
    pub(super) token_file: Option<PathBuf>,

    /// PEM file of a certificate authority to trust besides the system's
    #[arg(id = "tunnel_cacert", long = "cacert", value_name = "FILE", env)]
    pub(super) cacert: Vec<PathBuf>,

    /// Protocol of the tunnel; websocket gets through proxies that support nothing else
    #[arg(
        id = "tunnel_via",
        long = "via",
        value_enum,
        value_name = "PROTOCOL",
        env,
        default_value = "connect-tcp"
    )]
    pub(super) via: ViaArg,

    /// Resume a tunnel when its connection breaks, if the server allows it
    #[arg(long, default_value_t = true)]
    pub(super) resume: bool,

    #[command(flatten)]
    pub(super) log: LogArgs,
}

/// Values of `--via`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ViaArg {
    ConnectTcp,
    Websocket,
    Purr,
}

impl TunnelClientArgs {
    /// Makes a client for a server.
    pub(super) fn client(&self, address: &TunnelUrl) -> Result<TunnelClient, Failure> {
        let token = match &self.token_file {
            Some(path) => Some(read_token(path)?),
            None => std::env::var(TOKEN_VARIABLE).ok().filter(|token| !token.is_empty()),
        };
        let roots = || client::tls_config(&self.cacert);
        let tls = if self.cacert.is_empty() { None } else { Some(roots().context("--cacert")?) };
        let options = client::TunnelClientOptions {
            protocol: match self.via {
                ViaArg::ConnectTcp => client::UpgradeProtocol::ConnectTcp,
                ViaArg::Websocket => client::UpgradeProtocol::WebSocket,
                ViaArg::Purr => client::UpgradeProtocol::Purr,
            },
            token,
            tls,
            resume: self.resume,
            ..client::TunnelClientOptions::default()
        };
        Ok(TunnelClient::new(address.clone(), options).map_err(anyhow::Error::from)?)
    }
}

fn read_token(path: &Path) -> anyhow::Result<String> {
    let read = || {
        let length = std::fs::metadata(path)?.len();
        anyhow::ensure!(length <= MAX_TOKEN, console!(file_longer_than, limit = MAX_TOKEN));
        let token = std::fs::read_to_string(path)?.trim().to_owned();
        anyhow::ensure!(!token.is_empty(), console!(file_is_empty));
        Ok(token)
    };
    read().with_context(|| console!(cannot_use_token_file, path = %path.display()))
}

/// The server and the target behind it.
#[derive(Args, Clone, Debug)]
pub(crate) struct ServerAndTarget {
    /// Server, such as https://example.org, or an address from `outflow tunnel link`
    ///
    /// It may also be a template with {target_host} and {target_port}.
    #[arg(value_name = "URL")]
    pub(super) url: TunnelUrl,

    /// Host of the target, resolved by the server; not for an address for one target
    #[arg(value_name = "HOST", requires = "port")]
    pub(super) host: Option<String>,

    /// Port of the target
    #[arg(value_name = "PORT")]
    pub(super) port: Option<u16>,
}

impl ServerAndTarget {
    /// The target that is named.
    pub(super) fn target(&self) -> Result<Option<RemoteTarget>, Failure> {
        let (Some(host), Some(port)) = (&self.host, self.port) else { return Ok(None) };
        RemoteTarget::new(host, port).map(Some).map_err(|error| Failure::Usage(error.into()))
    }

    /// The target for `client`; a usage error when one is needed and none is named.
    pub(super) fn target_of(&self, client: &TunnelClient) -> Result<Option<RemoteTarget>, Failure> {
        let target = self.target()?;
        if target.is_none() && !client.is_bound() {
            return Err(Failure::Usage(anyhow::anyhow!(console!(tunnel_leads_to_many, url = %self.url))));
        }
        Ok(target)
    }
}

/// Counts signals: after the first, tunnels may end by themselves; the second ends them.
#[derive(Clone)]
pub(super) struct SignalCount(watch::Receiver<u32>);

impl SignalCount {
    /// From now on SIGINT, SIGTERM and SIGHUP are counted and have no other effect.
    pub(super) fn listen() -> anyhow::Result<SignalCount> {
        let (count, counted) = watch::channel(0);
        let count = Arc::new(count);
        for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
            let mut signal = signal(kind).context(console!(cannot_wait_for_signals))?;
            let count = Arc::clone(&count);
            tokio::spawn(async move {
                while signal.recv().await.is_some() {
                    count.send_modify(|count| *count += 1);
                }
            });
        }
        Ok(SignalCount(counted))
    }

    /// Whether a signal has arrived.
    pub(super) fn arrived(&self) -> bool {
        *self.0.borrow() > 0
    }

    /// Waits until `count` signals have arrived.
    pub(super) async fn wait(mut self, count: u32) {
        if self.0.wait_for(|counted| *counted >= count).await.is_err() {
            // The counting tasks have ended, which is not a signal.
            std::future::pending::<()>().await;
        }
    }
}
