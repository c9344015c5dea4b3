//! To come.
pub mod access;
pub mod allow;
pub mod capability;
mod refusal;
