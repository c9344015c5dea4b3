//! The file of keys that sign links, and `outflow link keygen`.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use outflow_links::{LinkKeys, is_link_id};
use outflow_texts::{ConsoleText, console};

use crate::failure::{Failure, print};

/// Which file has the keys.
#[derive(Args, Debug)]
pub(super) struct KeyFileArgs {
    /// File with the keys that sign links; the first one signs
    #[arg(long, value_name = "FILE", env)]
    pub(super) link_keys: PathBuf,
}

#[derive(Args, Debug)]
pub(crate) struct LinkKeyArgs {
    /// Name of the key, which its links carry [default: the date and four random letters]
    #[arg(long, value_name = "ID", value_parser = link_id)]
    id: Option<String>,
}

/// Prints a new line for a file of keys.
pub(crate) fn print_new_key(options: LinkKeyArgs) -> Result<(), Failure> {
    let make = || {
        let random = LinkKeys::new_link_id()?;
        let letters =
            random.bytes().filter(u8::is_ascii_alphanumeric).map(|byte| byte.to_ascii_lowercase() as char);
        let date = jiff::Timestamp::now().strftime("%Y-%m-%d").to_string();
        let id = options.id.unwrap_or_else(|| format!("{date}-{}", letters.take(4).collect::<String>()));
        LinkKeys::new_line(&id)
    };
    let line = make().context(console!(cannot_make_key))?;
    Ok(print(&format!("{line}\n"))?)
}

/// Reads the keys, and warns when other users can read them, too.
pub(super) fn read_keys(path: &Path) -> anyhow::Result<LinkKeys> {
    let keys = LinkKeys::load(path)?;
    if keys.is_exposed() {
        eprintln!("{}", console!(link_keys_exposed, path = %path.display()));
    }
    Ok(keys)
}

pub(super) fn link_id(text: &str) -> Result<String, ConsoleText> {
    if is_link_id(text) {
        return Ok(text.to_owned());
    }
    Err(console!(link_id_wrong))
}
