//! Transfers in a store: publishing, listing, deleting.
//!
//! ```text
//! publish     `outflow publish`
//!   plan        which files, and under which names
//!   send        skips files that are in the store, uploads the others
//!   progress    a bar on a terminal, lines elsewhere
//! transfers   `outflow transfer`
//! journal     the object by which a later run continues a broken one
//! store       opening a store, names of transfers
//! ```

mod journal;
mod plan;
mod progress;
#[allow(clippy::module_inception, reason = "the command that names the folder")]
mod publish;
mod send;
mod store;
mod transfers;

pub(crate) use publish::{PublishArgs, publish};
pub(crate) use transfers::{TransferCommand, run as run_transfers};
