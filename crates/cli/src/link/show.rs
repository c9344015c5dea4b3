//! `outflow link show`: the terms of a link, and whether it is valid.

use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context as _, anyhow};
use clap::Args;
use outflow_ledger::LinkState;
use outflow_links::{LinkError, LinkKeys, Terms, unverified};
use outflow_texts::console;
use serde::Serialize;

use super::keys::{KeyFileArgs, read_keys};
use super::terms::{PrintedTerms, rfc3339, token_of};
use crate::failure::{Failure, print};
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
    why: Option<&'a str>,
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
            why: why.as_deref(),
            terms: PrintedTerms::of(&terms),
            receipts,
        };
        print(&(serde_json::to_string(&shown).context(console!(cannot_write_json))? + "\n"))?;
    } else {
        print(&(text(&terms, receipts) + "\n"))?;
    }
    match why {
        None => Ok(()),
        Some(why) => Err(anyhow!(console!(link_is_not_valid, why)).into()),
    }
}

/// Why the keys refuse a link. Their owner may see the exact reason.
fn refused_by_keys(keys: &LinkKeys, token: &str, terms: &Terms, file: &Path) -> Option<String> {
    let link = match keys.verify(token) {
        Ok(link) => link,
        Err(LinkError::Invalid(why)) => return Some(format!("it is invalid: {why}")),
        Err(_) if keys.ids().all(|id| id != terms.key) => {
            return Some(format!("the key {} is not in {}", terms.key, file.display()));
        }
        Err(_) => return Some("the signature is wrong: it was altered, or signed by another key".to_owned()),
    };
    link.expiry(SystemTime::now()).map(|_| "it has expired".to_owned())
}

/// Why the ledger refuses a link.
fn refused_by_ledger(terms: &Terms, usage: &LinkState) -> Option<String> {
    if usage.revoked.is_some() {
        return Some("it was revoked".to_owned());
    }
    let max = terms.max_downloads.filter(|max| usage.receipts >= *max)?;
    Some(format!("it is exhausted: {} of {max} downloads are complete", usage.receipts))
}

fn text(terms: &Terms, receipts: Option<u32>) -> String {
    // The signature may be wrong, so nothing in the terms is trusted.
    let clean = |text: &str| {
        text.chars()
            .flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] })
            .collect::<String>()
    };
    let mut lines = vec![
        format!("id          {}", clean(&terms.id)),
        format!("recipient   {}", clean(terms.recipient.as_deref().unwrap_or("anybody"))),
        format!("scope       {}", clean(&terms.scope)),
    ];
    lines.extend(terms.files.iter().map(|file| format!("file        {}", clean(file))));
    lines.push(format!(
        "expires     {}",
        terms.expires.map_or(Some("never".to_owned()), rfc3339).unwrap_or_default()
    ));
    lines.push(match terms.max_downloads {
        Some(max) => format!("downloads   {max}"),
        None => "downloads   any number".to_owned(),
    });
    lines.extend(receipts.map(|receipts| format!("receipts    {receipts}")));
    lines.push(format!("password    {}", if terms.password.is_some() { "yes" } else { "no" }));
    if terms.operator {
        lines.push("operator    yes".to_owned());
    }
    lines.push(format!("key         {}", clean(&terms.key)));
    lines.join("\n")
}

/// How a link has been used.
fn usage(ledger: &LedgerArgs, id: &str) -> anyhow::Result<LinkState> {
    let ledger = ledger.open()?;
    wait(ledger.link(id))?.with_context(|| console!(cannot_query_link, id))
}
