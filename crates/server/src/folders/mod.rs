//! folders

pub(crate) mod form;
pub(crate) mod listing;
pub(crate) mod page;
