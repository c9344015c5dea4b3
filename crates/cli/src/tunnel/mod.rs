//! `outflow tunnel`: TCP through HTTP.
//!
//! ```text
//! serve     the server
//!   settings  what is allowed, and to whom
//! link      addresses for one target
//! ```

mod link;
mod serve;
mod settings;

use clap::Subcommand;

use crate::Failure;

pub(crate) use settings::TunnelOptions;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serves tunnels to the targets that are allowed.
    Serve(Box<serve::ServeOptions>),
    /// Makes an address that lets whoever has it reach one target.
    Link(link::LinkOptions),
}

pub(crate) fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Serve(options) => serve::run(*options),
        Command::Link(options) => link::run(&options),
    }
}
