//! `outflow link show`: the terms of a link, and whether it is valid.

use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context as _, anyhow};
use clap::Args;
use outflow_ledger::LinkState;
use outflow_links::{LinkError, LinkKeys, Terms, unverified};
use outflow_texts::{ConsoleText, console};
use serde::Serialize;

use super::keys::{KeyFileArgs, read_keys};
use super::terms::{PrintedTerms, rfc3339, token_of};
use crate::failure::{Failure, print};
use crate::labels::LabelTable;
use crate::ledger::access::{LedgerArgs, wait};

#[derive(Args, Debug)]
pub(crate) struct LinkShowArgs {
    /// The link: its URL, or the token alone
    #[arg(value_name = "URL")]
    link: String,

    #[command(flatten)]
    keys: KeyFileArgs,

    /// Ledger to query for receipts and whether the link was revoked
    #[arg(long, value_name = "LEDGER", env)]
    ledger: Option<String>,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct PrintedLink<'a> {
    valid: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    #[serde(flatten)]
    terms: PrintedTerms<'a>,
    /// Number of receipts, when a ledger was queried.
    #[serde(skip_serializing_if = "Option::is_none")]
    receipts: Option<u32>,
}

/// Exit code 1 if the link is not valid.
pub(crate) fn show(options: LinkShowArgs) -> Result<(), Failure> {
    let keys = read_keys(&options.keys.link_keys)?;
    let token = token_of(&options.link);
    let Some(terms) = unverified(token) else {
        return Err(anyhow!(console!(link_expected)).into());
    };
    let usage = match &options.ledger {
        Some(address) => Some(usage(&LedgerArgs::at(address), &terms.id)?),
        None => None,
    };
    let receipts = usage.as_ref().map(|usage| usage.receipts);
    let why = refused_by_keys(&keys, token, &terms, &options.keys.link_keys)
        .or_else(|| refused_by_ledger(&terms, usage.as_ref()?));
    if options.json {
        let shown = PrintedLink {
            valid: why.is_none(),
            why: why.as_ref().map(ToString::to_string),
            terms: PrintedTerms::of(&terms),
            receipts,
        };
        print(&(serde_json::to_string(&shown).context(console!(cannot_write_json))? + "\n"))?;
    } else {
        print(&text(&terms, receipts))?;
    }
    match why {
        None => Ok(()),
        Some(why) => Err(anyhow!(console!(link_is_not_valid, %why)).into()),
    }
}

/// Why the keys refuse a link. Their owner may see the exact reason.
fn refused_by_keys(keys: &LinkKeys, token: &str, terms: &Terms, file: &Path) -> Option<ConsoleText> {
    let link = match keys.verify(token) {
        Ok(link) => link,
        Err(LinkError::Invalid(why)) => return Some(console!(link_is_invalid, %why)),
        Err(_) if keys.ids().all(|id| id != terms.key) => {
            return Some(console!(link_key_unknown, key = &terms.key, file = %file.display()));
        }
        Err(_) => return Some(console!(link_signature_wrong)),
    };
    link.expiry(SystemTime::now()).map(|_| console!(link_has_expired))
}

/// Why the ledger refuses a link.
fn refused_by_ledger(terms: &Terms, usage: &LinkState) -> Option<ConsoleText> {
    if usage.revoked.is_some() {
        return Some(console!(link_was_revoked));
    }
    let max = terms.max_downloads.filter(|max| usage.receipts >= *max)?;
    Some(console!(link_is_exhausted, receipts = %usage.receipts, max))
}

fn text(terms: &Terms, receipts: Option<u32>) -> String {
    // The signature may be wrong, so nothing in the terms is trusted.
    let clean = |text: &str| {
        text.chars()
            .flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] })
            .collect::<String>()
    };
    let mut table = LabelTable::default();
    let mut row = |label: ConsoleText, value: &str| table.row(&label, &clean(value));
    row(console!(label_id), &terms.id);
    let anybody = console!(anybody).to_string();
    row(console!(label_recipient), terms.recipient.as_ref().unwrap_or(&anybody));
    row(console!(label_scope), &terms.scope);
    for file in &terms.files {
        row(console!(label_file), file);
    }
    let expires = terms.expires.map_or_else(|| Some(console!(never).to_string()), rfc3339);
    row(console!(label_expires), &expires.unwrap_or_default());
    let downloads = terms.max_downloads.map(|max| max.to_string());
    row(console!(label_downloads), &downloads.unwrap_or_else(|| console!(any_number).to_string()));
    if let Some(receipts) = receipts {
        row(console!(label_receipts), &receipts.to_string());
    }
    let yes_or_no = |is_so: bool| if is_so { console!(yes) } else { console!(no) }.to_string();
    row(console!(label_password), &yes_or_no(terms.password.is_some()));
    if terms.operator {
        row(console!(label_operator), &yes_or_no(true));
    }
    row(console!(label_key), &terms.key);
    table.to_string()
}

/// How a link has been used.
fn usage(ledger: &LedgerArgs, id: &str) -> anyhow::Result<LinkState> {
    let ledger = ledger.open()?;
    wait(ledger.link(id))?.with_context(|| console!(cannot_query_link, id))
}
