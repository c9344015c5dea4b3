//! The store of transfers, and the names of transfers in it.

use outflow_catalog::{Store, StoreOptions, is_transfer_id};
use outflow_texts::{ConsoleText, console};

use crate::failure::Failure;

/// Opens a store for up to `connections` requests at the same time.
pub(super) fn open_store(address: &str, connections: usize) -> Result<Store, Failure> {
    let options = StoreOptions { connections, ..StoreOptions::default() };
    outflow_catalog::open_store(address, &options).map_err(|error| Failure::Usage(error.into()))
}

/// Long help of an option that names a store.
pub(super) fn store_help(first: &str) -> String {
    format!("{first}\n\nThe store's address, for example {}.", outflow_catalog::store_examples())
}

pub(super) fn transfer_id(text: &str) -> Result<String, ConsoleText> {
    if is_transfer_id(text) {
        return Ok(text.to_owned());
    }
    Err(console!(transfer_id_wrong))
}
