//! Reading from the ledger.
//!
//! ```text
//! counts       how often files were delivered, by day
//! downloads    downloads and their files
//! events       events and their sends
//!   conditions   the WHERE clause of a query
//! links        how links are used
//!   link_cache   the same, cached for a second
//! progress     progress of downloads under way, for subscribers
//! ```

mod conditions;
pub(crate) mod counts;
pub(crate) mod downloads;
pub(crate) mod events;
pub(crate) mod link_cache;
pub(crate) mod links;
pub(crate) mod progress;
