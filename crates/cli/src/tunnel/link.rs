//! `outflow tunnel link`: an address that opens tunnels to one target.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use outflow_tunnel::server::CapabilityKeys;
use outflow_tunnel::server::TunnelTarget;

use crate::args::duration::DurationArg;
use crate::failure::Failure;

#[derive(Args, Clone, Debug)]
pub(crate) struct TunnelLinkArgs {
    /// URL of the tunnel server, such as https://example.org
    #[arg(value_name = "URL")]
    url: String,

    /// Host of the target, resolved by the server
    #[arg(value_name = "HOST")]
    host: String,

    /// Port of the target
    #[arg(value_name = "PORT")]
    port: u16,

    /// File with the key, the same as the server's --link-key; `openssl rand -base64 48` makes one
    #[arg(long, value_name = "FILE", env = "OUTFLOW_TUNNEL_LINK_KEY")]
    link_key: PathBuf,

    /// How long the address is valid
    #[arg(long, value_name = "TIME", default_value = "10m")]
    expires: DurationArg,

    /// Allow any number of tunnels, not only one
    #[arg(long)]
    many: bool,
}

pub(crate) fn run(options: &TunnelLinkArgs) -> Result<(), Failure> {
    let target = TunnelTarget::new(&options.host, options.port).ok_or_else(|| {
        Failure::Usage(anyhow::anyhow!("{}:{} is not a host and a port", options.host, options.port))
    })?;
    if options.expires.0 < Duration::from_secs(1) {
        return Err(Failure::Usage(anyhow::anyhow!("--expires is too short; at least 1s is needed")));
    }
    let path = CapabilityKeys::sign(&options.link_key, &target, options.expires.0, options.many)
        .context("--link-key")?;
    println!("{}{path}", options.url.trim_end_matches('/'));
    Ok(())
}
