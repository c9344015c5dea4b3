//! Paths below a root, and names for messages: see `outflow_content`.

pub(crate) use outflow_content::printable;
pub use outflow_content::{BadPath, RelPath};
