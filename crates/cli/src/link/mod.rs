//! `outflow link`, `link-show`, `link-revoke` and `link-key`: signed addresses for those who are to download.
//!
//! ```text
//! address    what a link is to be for: a URL, an address, a transfer's name
//! password   from a terminal, a file or the standard input
//! show       what a link allows, and how it was used
//! revoke     taking it back
//! ```

mod address;
mod password;
mod revoke;
mod show;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, anyhow};
use clap::Args;
use outflow_catalog::nanos_of;
use outflow_server::link::{Keys, Link, Terms, is_link_id};
use serde::Serialize;

use crate::Failure;
use crate::args::expiry::Expiry;
use address::Wanted;
use password::Password;
pub(crate) use revoke::{RevokeOptions, revoke};
pub(crate) use show::{ShowOptions, show};

/// Where the keys are.
#[derive(Args, Debug)]
struct KeyFile {
    /// File of the keys that sign links; the first one signs
    #[arg(long, value_name = "FILE", env = "OUTFLOW_LINK_KEYS")]
    link_keys: PathBuf,
}

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// What it is for: the URL of a folder or a file on the server, its path alone, or a transfer's name
    #[arg(value_name = "URL|ID")]
    what: String,

    #[command(flatten)]
    keys: KeyFile,

    /// Whom it is for: a name or an address that receipts and events will say
    #[arg(long, value_name = "WHO")]
    recipient: String,

    /// When it ends: 30m, 12h, 7d, 2w from now, or a time such as 2026-12-24T18:00:00Z [default: never]
    #[arg(long, value_name = "WHEN", value_parser = Expiry::parse)]
    expires: Option<Expiry>,

    /// After how many receipts it is exhausted; what breaks off uses nothing up [default: no limit]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_downloads: Option<u32>,

    /// A file or folder below URL, and nothing else of it; may be given up to 100 times
    #[arg(long = "file", value_name = "NAME")]
    files: Vec<String>,

    /// Asks for a password; - reads it from the standard input, @FILE from a file [default: no password]
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "", value_name = "-|@FILE", value_parser = Password::parse)]
    password: Option<Password>,

    /// The link's name, for receipts and for revoking it [default: a random one]
    #[arg(long, value_name = "ID", value_parser = link_id)]
    id: Option<String>,

    /// Lets everybody's progress be seen, not only the recipient's own
    #[arg(long)]
    operator: bool,

    /// Where the server can be reached, if URL does not say it
    #[arg(long, value_name = "URL", env = "OUTFLOW_BASE_URL")]
    base_url: Option<String>,

    /// Print one JSON object instead of the URL
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct KeyOptions {
    /// The key's name, which links will say [default: the date and four random letters]
    #[arg(long, value_name = "ID", value_parser = link_id)]
    id: Option<String>,
}

/// What a link says, as `--json` prints it.
#[derive(Serialize)]
struct Said<'a> {
    id: &'a str,
    key: &'a str,
    scope: &'a str,
    recipient: Option<&'a str>,
    expires: Option<String>,
    max_downloads: Option<u32>,
    files: &'a [String],
    password: bool,
    operator: bool,
}

impl Said<'_> {
    fn of(terms: &Terms) -> Said<'_> {
        Said {
            id: &terms.id,
            key: &terms.key,
            scope: &terms.scope,
            recipient: terms.recipient.as_deref(),
            expires: terms.expires.and_then(time),
            max_downloads: terms.max_downloads,
            files: &terms.files,
            password: terms.password.is_some(),
            operator: terms.operator,
        }
    }
}

#[derive(Serialize)]
struct Made<'a> {
    url: &'a str,
    #[serde(flatten)]
    said: Said<'a>,
}

pub(crate) fn run(options: Options) -> Result<(), Failure> {
    let keys = read_keys(&options.keys.link_keys)?;
    let wanted = Wanted::parse(&options.what, options.base_url.as_deref()).map_err(Failure::Usage)?;
    let now = nanos_of(SystemTime::now());
    let expires = options.expires.map(|expiry| expiry.from(now));
    if expires.is_some_and(|expires| expires <= now) {
        return Err(Failure::Usage(anyhow!("--expires is in the past: nobody could use the link")));
    }
    let mut terms = Terms {
        id: match options.id {
            Some(id) => id,
            None => Keys::new_link_id().context("cannot make a name for the link")?,
        },
        scope: wanted.path,
        recipient: Some(options.recipient),
        // To the second, and not earlier than was said.
        expires: expires.map(|nanos| nanos.div_euclid(1_000_000_000) + i64::from(nanos % 1_000_000_000 > 0)),
        max_downloads: options.max_downloads,
        files: options.files,
        operator: options.operator,
        ..Terms::default()
    };
    let wrong = |error| Failure::Usage(anyhow!("there can be no such link: {error}"));
    // Signed below; for now, to have it looked at before a password is asked for.
    terms.key = keys.ids().next().unwrap_or_default().to_owned();
    terms.scope = Link::new(terms.clone()).map_err(wrong)?.address();
    if wanted.selects && terms.files.is_empty() {
        eprintln!("outflow: the link is for all of {}; --file limits it to what is selected", terms.scope);
    }
    if let Some(password) = options.password {
        let password = password.read()?;
        keys.lock(&mut terms, &password).map_err(wrong)?;
    }
    let token = keys.sign(terms.clone()).map_err(wrong)?;
    let url = format!("{}/l/{token}{}{}", wanted.base, terms.scope, wanted.query);
    if options.json {
        let made = Made { url: &url, said: Said::of(&terms) };
        print(&serde_json::to_string(&made).context("cannot write JSON")?)
    } else {
        print(&url)
    }
}

pub(crate) fn key(options: KeyOptions) -> Result<(), Failure> {
    let make = || {
        let random = Keys::new_link_id()?;
        let letters =
            random.bytes().filter(u8::is_ascii_alphanumeric).map(|byte| byte.to_ascii_lowercase() as char);
        let date = jiff::Timestamp::now().strftime("%Y-%m-%d").to_string();
        let id = options.id.unwrap_or_else(|| format!("{date}-{}", letters.take(4).collect::<String>()));
        Keys::new_line(&id)
    };
    print(&make().context("cannot make a key")?)
}

/// Reads the keys; says so if others can read them, too.
fn read_keys(path: &Path) -> anyhow::Result<Keys> {
    let keys = Keys::load(path)?;
    if keys.is_exposed() {
        eprintln!(
            "outflow: others may read or change the link keys, and so make links: chmod 600 {}",
            path.display()
        );
    }
    Ok(keys)
}

fn print(line: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{line}").and_then(|()| stdout.flush()).context("cannot print")?;
    Ok(())
}

/// Seconds since 1970 as RFC 3339 writes them.
fn time(seconds: i64) -> Option<String> {
    jiff::Timestamp::from_second(seconds).ok().map(|time| time.to_string())
}

fn link_id(text: &str) -> Result<String, String> {
    if is_link_id(text) {
        return Ok(text.to_owned());
    }
    Err("a name has 1 to 64 letters, digits, hyphens and underscores".to_owned())
}
