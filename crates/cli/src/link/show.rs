//! `outflow link-show`: what a link allows.

use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context as _, anyhow};
use clap::Args;
use outflow_ledger::LinkState;
use outflow_server::link::{Keys, LinkError, Terms, split, unverified};
use serde::Serialize;

use super::{KeyFile, Said, print, read_keys, revoke, time};
use crate::Failure;
use crate::ledger::LedgerOption;

#[derive(Args, Debug)]
pub(crate) struct ShowOptions {
    /// The link: its URL, or the token alone
    #[arg(value_name = "URL")]
    link: String,

    #[command(flatten)]
    keys: KeyFile,

    /// The ledger, to say as well how often the link was used and whether it was taken back
    #[arg(long, value_name = "LEDGER", env = "OUTFLOW_LEDGER")]
    ledger: Option<String>,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Shown<'a> {
    valid: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'a str>,
    #[serde(flatten)]
    said: Said<'a>,
    /// How many receipts there are, if the ledger was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    receipts: Option<u32>,
}

/// Exit code 1 if the link is not valid.
pub(crate) fn show(options: ShowOptions) -> Result<(), Failure> {
    let keys = read_keys(&options.keys.link_keys)?;
    let token = token_of(&options.link);
    let Some(terms) = unverified(token) else {
        return Err(anyhow!("this is no link, or not all of it").into());
    };
    let used = match &options.ledger {
        Some(address) => Some(revoke::state(&LedgerOption::at(address), &terms.id)?),
        None => None,
    };
    let receipts = used.as_ref().map(|used| used.receipts);
    let why = why_not(&keys, token, &terms, &options.keys.link_keys).or_else(|| over(&terms, used.as_ref()?));
    if options.json {
        let shown = Shown { valid: why.is_none(), why: why.as_deref(), said: Said::of(&terms), receipts };
        print(&serde_json::to_string(&shown).context("cannot write JSON")?)?;
    } else {
        print(&text(&terms, receipts))?;
    }
    match why {
        None => Ok(()),
        Some(why) => Err(anyhow!("the link is not valid: {why}").into()),
    }
}

/// The token of a URL, of an address or by itself.
pub(super) fn token_of(link: &str) -> &str {
    let path = match link.split_once("://") {
        Some((_, rest)) => &rest[rest.find('/').unwrap_or(rest.len())..],
        None => link,
    };
    let path = &path[..path.find(['?', '#']).unwrap_or(path.len())];
    // Behind a proxy there may be more in front.
    let links = path.match_indices("/l/").find_map(|(at, _)| split(&path[at..]));
    links.map_or(path, |addressed| addressed.token)
}

/// Whoever has the keys may know exactly.
fn why_not(keys: &Keys, token: &str, terms: &Terms, file: &Path) -> Option<String> {
    let link = match keys.verify(token) {
        Ok(link) => link,
        Err(LinkError::Nonsense(why)) => return Some(format!("it makes no sense: {why}")),
        Err(_) if keys.ids().all(|id| id != terms.key) => {
            return Some(format!("there is no key {} in {}", terms.key, file.display()));
        }
        Err(_) => return Some("the signature is wrong: it was altered, or signed by another key".to_owned()),
    };
    link.expiry(SystemTime::now()).map(|_| "it has expired".to_owned())
}

/// What the ledger has against it.
fn over(terms: &Terms, used: &LinkState) -> Option<String> {
    if used.revoked.is_some() {
        return Some("it was taken back".to_owned());
    }
    let max = terms.max_downloads.filter(|max| used.receipts >= *max)?;
    Some(format!("it is exhausted: {} of {max} downloads are done", used.receipts))
}

fn text(terms: &Terms, receipts: Option<u32>) -> String {
    // What is shown may not have been checked.
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
        terms.expires.map_or(Some("never".to_owned()), time).unwrap_or_default()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_found_wherever_it_is() {
        let token = format!("eyJ9.{}", "A".repeat(43));
        for link in [
            format!("https://h/l/{token}/t/abc/?zip"),
            format!("https://h/files/l/{token}/t/abc/"),
            format!("https://h/l/x/l/{token}#x"),
            format!("/l/{token}"),
            token.clone(),
        ] {
            assert_eq!(token_of(&link), token, "{link}");
        }
    }
}
