//! archives

pub(crate) mod archive;
pub(crate) mod layout_memory;
pub(crate) mod plan;
pub(crate) mod plans;
pub(crate) mod prefetch;
pub(crate) mod rice;
pub(crate) mod selection;
