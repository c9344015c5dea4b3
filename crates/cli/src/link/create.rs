//! `outflow link create`: makes a signed address.

use anyhow::{Context as _, anyhow};
use clap::Args;
use outflow_content::UnixTime;
use outflow_links::{Link, LinkKeys, Terms};
use outflow_texts::console;
use serde::Serialize;

use super::address::LinkAddress;
use super::keys::{KeyFileArgs, link_id, read_keys};
use super::password::PasswordSource;
use super::terms::PrintedTerms;
use crate::args::expiry::ExpiryArg;
use crate::failure::{Failure, print};

#[derive(Args, Debug)]
pub(crate) struct LinkCreateArgs {
    /// URL of a folder or file on the server, its path, or the name of a transfer
    #[arg(value_name = "URL|ID")]
    what: String,

    #[command(flatten)]
    keys: KeyFileArgs,

    /// Recipient's name or email address, as shown in receipts and events
    #[arg(long, value_name = "WHO")]
    recipient: String,

    /// When the link expires: 12h or 7d from now, or a time [default: never]
    ///
    /// 30m, 12h, 7d, 2w from now, or a time such as 2026-12-24T18:00:00Z.
    #[arg(long, value_name = "WHEN", value_parser = ExpiryArg::parse)]
    expires: Option<ExpiryArg>,

    /// Maximum number of complete downloads; broken ones do not count [default: no limit]
    ///
    /// A download is complete when a receipt is recorded for it.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_downloads: Option<u32>,

    /// Limit the link to this file or folder below URL; may be given up to 100 times
    #[arg(long = "file", value_name = "NAME")]
    files: Vec<String>,

    /// Protect the link with a password (prompts for it)
    ///
    /// --password=- reads it from standard input, --password=@FILE from a file.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "", value_name = "-|@FILE", value_parser = PasswordSource::parse)]
    password: Option<PasswordSource>,

    /// Name of the link, for receipts and for revoking it [default: random]
    #[arg(long, value_name = "ID", value_parser = link_id)]
    id: Option<String>,

    /// Let the link's holder see the progress of all recipients
    #[arg(long)]
    operator: bool,

    /// Server URL, needed if the argument is a path or a transfer's ID
    #[arg(long, value_name = "URL", env)]
    base_url: Option<String>,

    /// Print one JSON object instead of the URL
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct PrintedNewLink<'a> {
    url: &'a str,
    #[serde(flatten)]
    terms: PrintedTerms<'a>,
}

pub(crate) fn create(options: LinkCreateArgs) -> Result<(), Failure> {
    let keys = read_keys(&options.keys.link_keys)?;
    let wanted = LinkAddress::parse(&options.what, options.base_url.as_deref()).map_err(Failure::Usage)?;
    let now = UnixTime::now().nanos();
    let expires = options.expires.map(|expiry| expiry.from(now));
    if expires.is_some_and(|expires| expires <= now) {
        return Err(Failure::Usage(anyhow!(console!(link_expires_in_past))));
    }
    let mut terms = Terms {
        id: match options.id {
            Some(id) => id,
            None => LinkKeys::new_link_id().context(console!(cannot_name_link))?,
        },
        scope: wanted.path,
        recipient: Some(options.recipient),
        // Links have whole seconds: rounded up, so that the link does not end early.
        expires: expires.map(|nanos| nanos.div_euclid(1_000_000_000) + i64::from(nanos % 1_000_000_000 > 0)),
        max_downloads: options.max_downloads,
        files: options.files,
        operator: options.operator,
        ..Terms::default()
    };
    let wrong = |error| Failure::Usage(anyhow!(console!(cannot_make_link, %error)));
    // Validated before the prompt for a password; signed below.
    terms.key = keys.ids().next().unwrap_or_default().to_owned();
    terms.scope = Link::new(terms.clone()).map_err(wrong)?.address();
    if wanted.selects && terms.files.is_empty() {
        eprintln!("{}", console!(link_for_all, address = &terms.scope));
    }
    if let Some(password) = options.password {
        let password = password.read()?;
        keys.lock(&mut terms, &password).map_err(wrong)?;
    }
    let token = keys.sign(terms.clone()).map_err(wrong)?;
    let url = format!("{}/l/{token}{}{}", wanted.base, terms.scope, wanted.query);
    if options.json {
        let made = PrintedNewLink { url: &url, terms: PrintedTerms::of(&terms) };
        print(&(serde_json::to_string(&made).context(console!(cannot_write_json))? + "\n"))?;
    } else {
        print(&format!("{url}\n"))?;
    }
    Ok(())
}
