//! `outflow link`: signed addresses for recipients.
//!
//! ```text
//! create     makes a link
//!   address    the URL, path or transfer that a link is for
//!   password   a password from the terminal, a file or standard input
//! show       the terms of a link, and whether it is valid
//! list       the links that were used or revoked
//! revoke     ends the use of a link
//! keys       the file of keys, and `outflow link keygen`
//! terms      a link's terms and token, as commands print and read them
//! ```

mod address;
mod create;
mod keys;
mod list;
mod password;
mod revoke;
mod show;
mod terms;

use clap::Subcommand;

use crate::failure::Failure;

#[derive(Debug, Subcommand)]
pub(crate) enum LinkCommand {
    /// Create a link: a signed address for one recipient, with limits
    Create(create::LinkCreateArgs),
    /// Show the terms of a link and whether it is valid
    Show(show::LinkShowArgs),
    /// List the links that were used or revoked
    List(list::LinkListArgs),
    /// Revoke a link
    Revoke(revoke::LinkRevokeArgs),
    /// Print a new line for a file of link keys
    Keygen(keys::LinkKeyArgs),
}

pub(crate) fn run(command: LinkCommand) -> Result<(), Failure> {
    match command {
        LinkCommand::Create(options) => create::create(options),
        LinkCommand::Show(options) => show::show(options),
        LinkCommand::List(options) => list::list(&options),
        LinkCommand::Revoke(options) => revoke::revoke(options),
        LinkCommand::Keygen(options) => keys::print_new_key(options),
    }
}
