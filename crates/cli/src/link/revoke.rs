//! `outflow link revoke`: ends the use of a link.

use anyhow::{Context as _, anyhow};
use clap::Args;
use outflow_links::{is_link_id, unverified};
use outflow_texts::console;

use super::terms::token_of;
use crate::failure::Failure;
use crate::ledger::access::{LedgerArgs, wait};

#[derive(Args, Debug)]
pub(crate) struct LinkRevokeArgs {
    /// The link: its URL, or its name
    #[arg(value_name = "URL|ID")]
    link: String,

    #[command(flatten)]
    ledger: LedgerArgs,
}

pub(crate) fn revoke(options: LinkRevokeArgs) -> Result<(), Failure> {
    // The name is taken from the payload unverified: revoking needs no valid signature.
    let id = match unverified(token_of(&options.link)) {
        Some(terms) if is_link_id(&terms.id) => terms.id,
        _ if is_link_id(&options.link) => options.link,
        _ => {
            return Err(Failure::Usage(anyhow!(console!(link_name_expected))));
        }
    };
    let ledger = options.ledger.open()?;
    wait(ledger.revoke(&id))?.with_context(|| console!(cannot_revoke_link, id = &id))?;
    eprintln!("{}", console!(link_revoked_now, id));
    Ok(())
}
