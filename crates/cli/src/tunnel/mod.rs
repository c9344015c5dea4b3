//! `outflow tunnel`: TCP through HTTP.
//!
//! ```text
//! serve       the server
//!   settings  what is allowed, and to whom
//! link        addresses for one target
//! connect     the client, for one tunnel: standard input and output
//!   stdio       those, as a tunnel's far end
//! listen      the client, for as many as are asked for
//!   reverse     the other way round: what is here, at an address of the server
//! ssh_config  what to write into ssh's configuration
//! client      what those clients have in common
//! ```

mod client;
mod connect;
mod link;
mod listen;
mod reverse;
mod serve;
mod settings;
mod ssh_config;
mod stdio;

use clap::Subcommand;

use crate::Failure;

pub(crate) use settings::TunnelOptions;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serves tunnels to the targets that are allowed.
    Serve(Box<serve::ServeOptions>),
    /// Makes an address that lets whoever has it reach one target.
    Link(link::LinkOptions),
    /// Connects standard input and output to a target: ssh -o ProxyCommand='outflow tunnel connect URL %h %p' HOST.
    Connect(Box<connect::ConnectOptions>),
    /// Listens here for connections to a target; with --reverse, at the server for connections to something here.
    Listen(Box<listen::ListenOptions>),
    /// Prints what to write into ~/.ssh/config, so that ssh uses the tunnel by itself.
    SshConfig(ssh_config::SshConfigOptions),
}

pub(crate) fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Serve(options) => serve::run(*options),
        Command::Link(options) => link::run(&options),
        Command::Connect(options) => connect::run(&options),
        Command::Listen(options) => listen::run(&options),
        Command::SshConfig(options) => ssh_config::run(&options),
    }
}
