//! Links as this server shows them: texts of their errors, and collections of which a link shows
//! only some files.

mod selected;
mod text;

pub(crate) use outflow_links::{Addressed, Link, LinkChecker as Links, LinkError, split, without_token};
pub use selected::Selected;
pub(crate) use selected::narrow;
pub(crate) use text::{LinkErrorText, seconds};
