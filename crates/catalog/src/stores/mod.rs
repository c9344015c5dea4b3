//! Stores as collections.
//!
//! ```text
//! open       the kinds of stores, and opening one by its address
//!   folder     a folder of this machine as a store: file://
//! transfer   objects under the names that a manifest gives them
//! plain      a part of a store as it lies there
//!   opener     objects as the files of a tree
//! ```

mod folder;
mod open;
mod opener;
mod plain;
mod transfer;

pub use open::{open_store, store_examples, store_kinds};
pub use plain::PlainStore;
pub use transfer::Transfer;
