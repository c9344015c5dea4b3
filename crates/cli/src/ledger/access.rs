//! How commands that query the ledger find and open it.

use std::future::Future;
use std::path::Path;

use anyhow::Context as _;
use clap::Args;
use outflow_ledger::Ledger;
use outflow_texts::console;

use crate::run::folders;

/// Which ledger a command queries.
#[derive(Args, Clone, Debug)]
pub(crate) struct LedgerArgs {
    /// The ledger [default: the one that `outflow serve` uses]
    ///
    /// sqlite:PATH or postgres://USER@HOST/DATABASE.
    #[arg(long, value_name = "LEDGER", env)]
    ledger: Option<String>,
}

impl LedgerArgs {
    /// The ledger at this address.
    pub(crate) fn at(address: &str) -> LedgerArgs {
        LedgerArgs { ledger: Some(address.to_owned()) }
    }

    /// Opens an existing ledger.
    pub(crate) fn open(&self) -> anyhow::Result<Ledger> {
        let address = match &self.ledger {
            Some(address) => address.clone(),
            None => default_address().context(console!(ledger_no_folder))?,
        };
        if let Some(path) = file_of(&address) {
            // A query must not create an empty ledger.
            anyhow::ensure!(
                path.try_exists().unwrap_or(true),
                console!(ledger_missing, path = %path.display())
            );
        }
        Ok(Ledger::open(&address, outflow_ledger::LedgerOptions::default())?)
    }
}

/// Runs a query on a runtime of its own.
pub(crate) fn wait<T>(query: impl Future<Output = T>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    Ok(runtime.context(console!(cannot_start_runtime))?.block_on(query))
}

/// Whether a text is the address of a ledger, or a path, and not a word by mistake.
pub(crate) fn is_address(text: &str) -> bool {
    text == "none" || text.starts_with("sqlite:") || text.contains("://") || text.contains('/')
}

/// The ledger in the user's state folder.
pub(crate) fn default_address() -> Option<String> {
    Some(format!("sqlite:{}", folders::state()?.join("ledger.sqlite").to_str()?))
}

/// The file of a SQLite ledger.
fn file_of(address: &str) -> Option<&Path> {
    match address.strip_prefix("sqlite:") {
        Some(path) => Some(Path::new(path.strip_prefix("//").unwrap_or(path))),
        None => (!address.contains("://")).then(|| Path::new(address)),
    }
}
