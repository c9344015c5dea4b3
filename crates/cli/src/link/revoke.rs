//! `outflow link-revoke`: a link that nobody can use any more.

use anyhow::{Context as _, anyhow};
use clap::Args;
use outflow_ledger::LinkState;
use outflow_server::link::{is_link_id, unverified};

use super::show::token_of;
use crate::Failure;
use crate::ledger::{LedgerOption, wait};

#[derive(Args, Debug)]
pub(crate) struct RevokeOptions {
    /// The link: its URL, or its name
    #[arg(value_name = "URL|ID")]
    link: String,

    #[command(flatten)]
    ledger: LedgerOption,
}

pub(crate) fn revoke(options: RevokeOptions) -> Result<(), Failure> {
    // A link's payload says its name; whether it is genuine does not matter to somebody who refuses it.
    let id = match unverified(token_of(&options.link)) {
        Some(terms) if is_link_id(&terms.id) => terms.id,
        _ if is_link_id(&options.link) => options.link,
        _ => {
            return Err(Failure::Usage(anyhow!(
                "this is neither a link nor a link's name, or not all of it"
            )));
        }
    };
    let ledger = options.ledger.open()?;
    wait(ledger.revoke(&id))?.with_context(|| format!("cannot take the link {id} back"))?;
    eprintln!("revoked {id}: servers with this ledger refuse it within a second");
    Ok(())
}

/// How a link has been used.
pub(super) fn state(ledger: &LedgerOption, id: &str) -> anyhow::Result<LinkState> {
    let ledger = ledger.open()?;
    wait(ledger.link(id))?.with_context(|| format!("cannot ask how the link {id} was used"))
}
