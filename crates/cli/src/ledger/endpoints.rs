//! `outflow endpoint`: receivers of events.

use clap::{Args, Subcommand};
use outflow_texts::console;

use crate::failure::{Failure, print};
use crate::ledger::access::{LedgerArgs, wait};

#[derive(Debug, Subcommand)]
pub(crate) enum EndpointCommand {
    /// Enable an endpoint that was disabled
    Enable(EndpointEnableArgs),
    /// Print a new secret for --webhook-secret
    Keygen(EndpointKeygenArgs),
}

#[derive(Args, Debug)]
pub(crate) struct EndpointEnableArgs {
    /// Endpoint, as the event endpoint.disabled names it
    #[arg(value_name = "ID")]
    endpoint: String,

    #[command(flatten)]
    ledger: LedgerArgs,
}

#[derive(Args, Debug)]
pub(crate) struct EndpointKeygenArgs {
    /// Make an ed25519 key pair (v1a): the receiver verifies with the public key and cannot sign
    #[arg(long)]
    ed25519: bool,
}

pub(crate) fn run(command: EndpointCommand) -> Result<(), Failure> {
    let text = match command {
        EndpointCommand::Enable(enable) => enable.text()?,
        EndpointCommand::Keygen(keygen) => keygen.text()?,
    };
    Ok(print(&text)?)
}

impl EndpointEnableArgs {
    fn text(self) -> anyhow::Result<String> {
        let endpoint = self.endpoint;
        let is_known = wait(self.ledger.open()?.enable_endpoint(&endpoint))??;
        anyhow::ensure!(is_known, console!(no_such_endpoint, endpoint));
        Ok(format!("{}\n", console!(endpoint_enabled, endpoint)))
    }
}

impl EndpointKeygenArgs {
    fn text(self) -> anyhow::Result<String> {
        if !self.ed25519 {
            return Ok(format!("{}\n", outflow_ledger::new_webhook_secret()));
        }
        let secret = outflow_ledger::new_signing_secret();
        let public = outflow_ledger::webhook_public_key(&secret).map_err(anyhow::Error::msg)?;
        eprintln!("{}", console!(webhook_public_key, key = public));
        Ok(format!("{secret}\n"))
    }
}
