//! Outflow, a download server: files, and ZIP archives made on the fly, exact and resumable.
//!
//! ```text
//! serve     `outflow serve`
//! file      `outflow file`
//! publish   `outflow publish`, `transfers`, `unpublish`
//! link      `outflow link`, `link-show`, `link-revoke`, `link-key`
//! ledger    `outflow downloads`, `events`, `webhook-secret`
//! tunnel    `outflow tunnel …`
//! relay     `outflow relay`
//! run       what serving commands have in common
//! args      values of options
//! failure   exit codes: 0 done, 1 failed, 2 wrong usage
//! ```
#![forbid(unsafe_code)]
#![allow(
    rustdoc::bare_urls,
    rustdoc::broken_intra_doc_links,
    reason = "doc comments of options are help texts"
)]

mod args;
mod failure;
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
    /// Serve a folder, a file, or the transfers of a store
    Serve(Box<serve::ServeArgs>),
    /// Serve one content from memory: a file, several joined, or standard input
    File(file::FileArgs),
    /// Upload files to a store as a transfer and print its address
    Publish(publish::PublishArgs),
    /// List the transfers of a store
    Transfers(publish::TransfersArgs),
    /// Delete a transfer from a store
    Unpublish(publish::UnpublishArgs),
    /// Make a link: a signed address for one recipient, with limits
    Link(link::LinkArgs),
    /// Show the terms of a link and whether it is valid
    LinkShow(link::LinkShowArgs),
    /// Revoke a link
    LinkRevoke(link::LinkRevokeArgs),
    /// Print a new line for a file of link keys
    LinkKey(link::LinkKeyArgs),
    /// Show downloads that the ledger records
    #[command(subcommand)]
    Downloads(ledger::downloads::DownloadsCommand),
    /// Show events and their deliveries, and send them again
    #[command(subcommand)]
    Events(ledger::events::EventsCommand),
    /// Carry TCP through HTTP
    #[command(subcommand)]
    Tunnel(tunnel::TunnelCommand),
    /// Relay connections to TCP and Unix sockets
    Relay(relay::RelayArgs),
    /// Make a secret for --webhook-secret
    WebhookSecret(ledger::webhook_secret::WebhookSecretArgs),
}

fn main() -> ExitCode {
    // On wrong arguments clap prints a message and exits with 2; on --help and --version with 0.
    let cli = Cli::parse();
    let result = match cli.command {
        Command::Serve(options) => serve::run(*options),
        Command::File(options) => file::run(options),
        Command::Publish(options) => publish::publish(options),
        Command::Transfers(options) => publish::list(options),
        Command::Unpublish(options) => publish::unpublish(options),
        Command::Link(options) => link::make(options),
        Command::LinkShow(options) => link::show(options),
        Command::LinkRevoke(options) => link::revoke(options),
        Command::LinkKey(options) => link::print_new_key(options),
        Command::Downloads(command) => ledger::downloads::run(command),
        Command::Events(command) => ledger::events::run(command),
        Command::Tunnel(command) => tunnel::run(command),
        Command::Relay(options) => relay::run(options),
        Command::WebhookSecret(options) => ledger::webhook_secret::run(options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
