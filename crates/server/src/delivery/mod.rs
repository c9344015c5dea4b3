//! delivery

pub(crate) mod ledger_entry;
pub(crate) mod observer;
