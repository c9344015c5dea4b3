//! request

pub(crate) mod access_log;
pub(crate) mod context;
pub(crate) mod query;
pub(crate) mod target;
