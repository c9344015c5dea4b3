//! `outflow tunnel`: TCP through HTTP.
//!
//! ```text
//! serve       the server
//!   settings    its targets and users, for `outflow serve` as well
//! link        addresses for one target
//! connect     the client for one tunnel, from standard input and output
//!   stdio       these, as a tunnel's far end
//! listen      the client that listens, for any number of tunnels
//!   reverse     the server listens, and tunnels lead to a target here
//! ssh_config  the stanza for ssh's configuration
//! client      what these clients have in common
//! connection  the connections that tunnels carry
//! ```

mod client;
mod connect;
mod connection;
mod link;
mod listen;
mod reverse;
mod serve;
pub(crate) mod settings;
mod ssh_config;
mod stdio;

use clap::Subcommand;

use crate::failure::Failure;

#[derive(Debug, Subcommand)]
pub(crate) enum TunnelCommand {
    /// Serve tunnels to allowed targets
    Serve(Box<serve::TunnelServeArgs>),
    /// Create a URL that gives access to one target without a token
    Link(link::TunnelLinkArgs),
    /// Connect standard input and output to a target, as in ssh -o ProxyCommand='outflow tunnel
    /// connect URL %h %p' HOST
    Connect(Box<connect::TunnelConnectArgs>),
    /// Listen here for connections to a target; with --reverse, at the server for connections to a
    /// target here
    Listen(Box<listen::TunnelListenArgs>),
    /// Print an ~/.ssh/config entry that uses the tunnel
    SshConfig(ssh_config::SshConfigArgs),
}

pub(crate) fn run(command: TunnelCommand) -> Result<(), Failure> {
    match command {
        TunnelCommand::Serve(options) => serve::run(*options),
        TunnelCommand::Link(options) => link::run(&options),
        TunnelCommand::Connect(options) => connect::run(&options),
        TunnelCommand::Listen(options) => listen::run(&options),
        TunnelCommand::SshConfig(options) => ssh_config::run(&options),
    }
}
