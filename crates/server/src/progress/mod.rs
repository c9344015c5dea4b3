//! progress

pub(crate) mod broadcast;
pub(crate) mod listener;
