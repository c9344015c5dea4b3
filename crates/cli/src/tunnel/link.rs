//! `outflow tunnel link`: an address that opens tunnels to one target.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use outflow_texts::console;
use outflow_tunnel::server::CapabilityKeys;
use outflow_tunnel::server::TunnelTarget;

use crate::args::duration::{self, DurationArg};
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

    /// File with the key, the same as the server's; `openssl rand -base64 48` makes one
    #[arg(id = "tunnel_link_key", long = "link-key", value_name = "FILE", env)]
    link_key: PathBuf,

    /// How long the address is valid
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = duration::non_zero)]
    expires: DurationArg,

    /// Allow any number of tunnels, not only one
    #[arg(long)]
    many: bool,
}

pub(crate) fn run(options: &TunnelLinkArgs) -> Result<(), Failure> {
    let target = TunnelTarget::new(&options.host, options.port).ok_or_else(|| {
        Failure::Usage(anyhow::anyhow!(
            console!(tunnel_bad_target, host = &options.host, port = %options.port)
        ))
    })?;
    let path = CapabilityKeys::sign(&options.link_key, &target, options.expires.0, options.many)
        .context("--link-key")?;
    println!("{}{path}", options.url.trim_end_matches('/'));
    Ok(())
}
