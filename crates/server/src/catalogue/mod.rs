//! catalogue

pub(crate) mod expiries;
pub(crate) mod manifests;
pub(crate) mod transfers;
