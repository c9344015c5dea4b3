//! `outflow webhook-secret`: what a webhook's sender and receiver share.

use clap::Args;

use crate::Failure;

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Make a key pair (ed25519, v1a): the receiver can check with the public half, but not sign
    #[arg(long)]
    ed25519: bool,
}

pub(crate) fn run(options: Options) -> Result<(), Failure> {
    if options.ed25519 {
        let secret = outflow_ledger::new_signing_secret();
        let public = outflow_ledger::public_key(&secret).map_err(anyhow::Error::msg)?;
        println!("{secret}");
        eprintln!("The receiver needs the public key: {public}");
    } else {
        println!("{}", outflow_ledger::new_secret());
    }
    Ok(())
}
