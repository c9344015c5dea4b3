//! Values of options, as people write them.

pub(crate) mod duration;
pub(crate) mod expiry;
pub(crate) mod network;
pub(crate) mod size;
