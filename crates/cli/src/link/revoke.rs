//! `outflow link-revoke`: a link that nobody can use any more.

use std::path::Path;

use anyhow::{Context as _, anyhow, ensure};
use clap::Args;
use outflow_ledger::{Ledger, LinkState, Options};
use outflow_server::link::{is_link_id, unverified};

use super::show::token_of;
use crate::Failure;

#[derive(Args, Debug)]
pub(crate) struct RevokeOptions {
    /// The link: its URL, or its name
    #[arg(value_name = "URL|ID")]
    link: String,

    /// The ledger of the servers that the link is for
    #[arg(long, value_name = "LEDGER", env = "OUTFLOW_LEDGER")]
    ledger: String,
}

pub(crate) fn revoke(options: RevokeOptions) -> Result<(), Failure> {
    // A link's payload says its name; whether it is genuine does not matter to somebody who refuses it.
    let id = match unverified(token_of(&options.link)) {
        Some(terms) if is_link_id(&terms.id) => terms.id,
        _ if is_link_id(&options.link) => options.link,
        _ => {
            return Err(Failure::Usage(anyhow!("this is neither a link nor a link's name, or not all of it")));
        }
    };
    let ledger = open(&options.ledger)?;
    wait(ledger.revoke(&id))?.with_context(|| format!("cannot take the link {id} back"))?;
    eprintln!("revoked {id}: servers with this ledger refuse it within a second");
    Ok(())
}

/// How a link has been used.
pub(super) fn state(ledger: &str, id: &str) -> anyhow::Result<LinkState> {
    let ledger = open(ledger)?;
    wait(ledger.link(id))?.with_context(|| format!("cannot ask how the link {id} was used"))
}

/// Opens a ledger that is there: a name with a mistake in it must not become a new one.
fn open(address: &str) -> anyhow::Result<Ledger> {
    if !address.starts_with("postgres") {
        let path = address.strip_prefix("sqlite:").unwrap_or(address);
        let path = path.strip_prefix("//").unwrap_or(path);
        ensure!(Path::new(path).exists(), "there is no ledger {path}: name the one that outflow serve has");
    }
    Ok(Ledger::open(address, Options::default())?)
}

fn wait<T>(asked: impl Future<Output = T>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    Ok(runtime.context("cannot start a runtime")?.block_on(asked))
}
