//! files

pub(crate) mod content;
pub(crate) mod open_file_cache;
