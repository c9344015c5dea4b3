//! Outflow, a download server: files, and ZIP archives made on the fly, exact and resumable.
//!
//! One module for each command. Exit codes: 0 done, 1 failed, 2 wrong usage.
#![forbid(unsafe_code)]

mod args;
mod file;
mod ledger;
mod link;
mod publish;
mod relay;
mod run;
mod serve;
mod tunnel;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A download server: serves the files of folders and stores, and each folder as a ZIP.
#[derive(Debug, Parser)]
#[command(name = "outflow", version, about, arg_required_else_help = true, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves a folder, one file, or the transfers of a store, over HTTP.
    Serve(Box<serve::options::Options>),
    /// Serves one content from memory: a file, several, or standard input.
    File(file::Options),
    /// Uploads files to a store as a transfer, and prints its address.
    Publish(publish::Options),
    /// Lists the transfers of a store.
    Transfers(publish::transfers::ListOptions),
    /// Deletes a transfer: its manifest first, then its objects.
    Unpublish(publish::transfers::UnpublishOptions),
    /// Makes a link: a signed address for one recipient, with limits.
    Link(link::Options),
    /// Says what a link allows, and whether it is valid.
    LinkShow(link::ShowOptions),
    /// Takes a link back: from now on nobody can use it.
    LinkRevoke(link::RevokeOptions),
    /// Prints a new line for a file of link keys.
    LinkKey(link::KeyOptions),
    /// Shows what the ledger knows of downloads.
    #[command(subcommand)]
    Downloads(ledger::downloads::Command),
    /// Shows what happened and who was told, and tells it again.
    #[command(subcommand)]
    Events(ledger::events::Command),
    /// Carries TCP through HTTP.
    #[command(subcommand)]
    Tunnel(tunnel::Command),
    /// Relays connections to targets: TCP and Unix sockets, spliced by the kernel.
    Relay(relay::Options),
    /// Makes a secret for --webhook-secret.
    WebhookSecret(ledger::webhook_secret::Options),
}

/// Why a command did not do what it was asked to.
pub(crate) enum Failure {
    /// Exit code 1.
    Failed(anyhow::Error),
    /// Exit code 2.
    Usage(anyhow::Error),
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Failure {
        Failure::Failed(error)
    }
}

fn main() -> ExitCode {
    // Clap prints what is wrong with the arguments and exits with 2; with 0 after --help and --version.
    let cli = Cli::parse();
    let done = match cli.command {
        Command::Serve(options) => serve::run(*options),
        Command::File(options) => file::run(options),
        Command::Publish(options) => publish::run(options),
        Command::Transfers(options) => publish::transfers::list(options),
        Command::Unpublish(options) => publish::transfers::unpublish(options),
        Command::Link(options) => link::run(options),
        Command::LinkShow(options) => link::show(options),
        Command::LinkRevoke(options) => link::revoke(options),
        Command::LinkKey(options) => link::key(options),
        Command::Downloads(command) => ledger::downloads::run(command),
        Command::Events(command) => ledger::events::run(command),
        Command::Tunnel(command) => tunnel::run(command),
        Command::Relay(options) => relay::run(options),
        Command::WebhookSecret(options) => ledger::webhook_secret::run(options),
    };
    let (code, error) = match done {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Failed(error)) => (1, error),
        Err(Failure::Usage(error)) => (2, error),
    };
    // The chain in one line: what was tried, what happened.
    eprintln!("outflow: {error:#}");
    ExitCode::from(code)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
