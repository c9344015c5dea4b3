//! The kinds of stores, and opening one by its address.

use outflow_objects::{KINDS, Store, StoreError, StoreKind, StoreOptions, examples_of};

use crate::stores::folder::FOLDER;

/// Every kind of store: those behind a network, and folders of this machine.
#[must_use]
pub fn store_kinds() -> Vec<&'static StoreKind> {
    KINDS.iter().copied().chain([&FOLDER]).collect()
}

/// An address of each kind, for help texts and messages: `a, b or c`.
#[must_use]
pub fn store_examples() -> String {
    examples_of(&store_kinds())
}

/// Opens the store at `address`. Endpoint, region and credentials come from the usual environment.
/// Asks the store nothing.
///
/// # Errors
/// [`StoreError`] of the kind [`Misconfigured`](outflow_objects::StoreErrorKind::Misconfigured),
/// with what to do.
pub fn open_store(address: &str, options: &StoreOptions) -> Result<Store, StoreError> {
    Store::open_among(&store_kinds(), address, options)
}
