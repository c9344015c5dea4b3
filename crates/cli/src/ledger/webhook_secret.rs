//! `outflow webhook-secret`: a secret that the sender and the receiver of a webhook share.

use clap::Args;

use crate::failure::Failure;

#[derive(Args, Debug)]
pub(crate) struct WebhookSecretArgs {
    /// Make an ed25519 key pair (v1a): the receiver verifies with the public key and cannot sign
    #[arg(long)]
    ed25519: bool,
}

pub(crate) fn run(options: WebhookSecretArgs) -> Result<(), Failure> {
    if options.ed25519 {
        let secret = outflow_ledger::new_signing_secret();
        let public = outflow_ledger::webhook_public_key(&secret).map_err(anyhow::Error::msg)?;
        println!("{secret}");
        eprintln!("The receiver needs the public key: {public}");
    } else {
        println!("{}", outflow_ledger::new_webhook_secret());
    }
    Ok(())
}
