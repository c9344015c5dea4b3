//! Outflow, a download server: files, and ZIP archives made on the fly, exact and resumable.
//!
//! ```text
//! serve     `outflow serve`
//! file      `outflow file`
//! publish   `outflow publish`, `outflow transfer`
//! link      `outflow link`
//! ledger    `outflow download`, `outflow event`, `outflow endpoint`
//! tunnel    `outflow tunnel`
//! relay     `outflow relay`
//! config    `outflow config`
//! options   each option once: flags, environment, configuration file; man pages, completions
//! run       what serving commands have in common
//! args      values of options
//! failure   exit codes: 0 done, 1 failed, 2 wrong usage
//! labels    labels and values that commands show
//! ```
#![forbid(unsafe_code)]
#![allow(
    rustdoc::bare_urls,
    rustdoc::broken_intra_doc_links,
    reason = "doc comments of options are help texts"
)]

mod args;
mod config;
mod failure;
mod file;
mod labels;
mod ledger;
mod link;
mod options;
mod publish;
mod relay;
mod run;
mod serve;
mod tunnel;

use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::failure::Failure;
use crate::options::reference;

/// A download server: serves the files of folders and stores, and each folder as a ZIP.
#[derive(Debug, Parser)]
#[command(name = "outflow", version, about, arg_required_else_help = true, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: CliCommand,
}

#[derive(Debug, Subcommand)]
enum CliCommand {
    /// Serve a folder, a file, or the transfers of a store
    Serve(Box<serve::ServeArgs>),
    /// Serve content from memory: one file, several joined, or standard input
    File(file::FileArgs),
    /// Upload files to a store as a transfer and print its address
    Publish(publish::PublishArgs),
    /// List and remove transfers
    #[command(subcommand)]
    Transfer(publish::TransferCommand),
    /// Create, show, list and revoke links
    #[command(subcommand)]
    Link(link::LinkCommand),
    /// Show recorded downloads
    #[command(subcommand)]
    Download(ledger::downloads::DownloadCommand),
    /// List events and their deliveries, and resend them
    #[command(subcommand)]
    Event(ledger::events::EventCommand),
    /// Re-enable event endpoints, and generate their secrets
    #[command(subcommand)]
    Endpoint(ledger::endpoints::EndpointCommand),
    /// Tunnel TCP over HTTP
    #[command(subcommand)]
    Tunnel(tunnel::TunnelCommand),
    /// Relay connections to TCP and Unix sockets
    Relay(relay::RelayArgs),
    /// Show and check the configuration of `outflow serve`
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Write the man pages to a folder
    Man(reference::ManArgs),
    /// Print the completions for a shell
    Completions(reference::CompletionArgs),
    /// Print a page of the reference: cli or config
    #[command(hide = true)]
    Reference(reference::ReferenceArgs),
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn run() -> Result<(), Failure> {
    let definition = definition();
    let line = options::parse(&definition, std::env::args_os().collect())?;
    let cli = Cli::from_arg_matches(&line.matches).map_err(anyhow::Error::from)?;
    match cli.command {
        CliCommand::Serve(options) => serve::run(*options),
        CliCommand::File(options) => file::run(options),
        CliCommand::Publish(options) => publish::publish(options),
        CliCommand::Transfer(command) => publish::run_transfers(command),
        CliCommand::Link(command) => link::run(command),
        CliCommand::Download(command) => ledger::downloads::run(command),
        CliCommand::Event(command) => ledger::events::run(command),
        CliCommand::Endpoint(command) => ledger::endpoints::run(command),
        CliCommand::Tunnel(command) => tunnel::run(command),
        CliCommand::Relay(options) => relay::run(options),
        CliCommand::Config(config::ConfigCommand::Show(options)) => {
            config::show(&options, &line, &definition)
        }
        CliCommand::Config(config::ConfigCommand::Check(options)) => config::check(&options, &definition),
        CliCommand::Man(options) => reference::write_man_pages(&definition, &options),
        CliCommand::Completions(options) => reference::print_completions(&definition, &options),
        CliCommand::Reference(options) => reference::print_page(&definition, &options),
    }
}

/// The definition of all commands and their options.
fn definition() -> clap::Command {
    options::complete(Cli::command())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_is_consistent() {
        super::definition().debug_assert();
    }
}
