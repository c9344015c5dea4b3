//! `outflow link list`: the links that were used or revoked.

use std::fmt::Write as _;

use anyhow::Context as _;
use clap::Args;
use outflow_texts::console;
use serde::Serialize;

use crate::failure::{Failure, print};
use crate::ledger::access::{LedgerArgs, wait};

#[derive(Args, Debug)]
pub(crate) struct LinkListArgs {
    #[command(flatten)]
    ledger: LedgerArgs,

    /// Maximum number of links
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    limit: u32,

    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct LinkRow<'a> {
    id: &'a str,
    receipts: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked: Option<String>,
}

pub(crate) fn list(options: &LinkListArgs) -> Result<(), Failure> {
    let ledger = options.ledger.open()?;
    let links = wait(ledger.links(options.limit))?.context(console!(cannot_list_links))?;
    let mut text = String::new();
    for (id, state) in &links {
        let revoked = state.revoked.map(|time| time.to_string());
        if options.json {
            let row = LinkRow { id, receipts: state.receipts, revoked };
            let _ = writeln!(text, "{}", serde_json::to_string(&row).context(console!(cannot_write_json))?);
            continue;
        }
        let _ = write!(text, "{id}  {}", console!(link_downloads, count = state.receipts));
        let revoked = revoked.map(|time| format!("  {}", console!(link_revoked_at, time)));
        let _ = writeln!(text, "{}", revoked.unwrap_or_default());
    }
    if links.is_empty() && !options.json {
        let _ = writeln!(text, "{}", console!(no_links));
    }
    Ok(print(&text)?)
}
