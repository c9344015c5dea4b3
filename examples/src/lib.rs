//! Outflow's crates at work in small programs: they are in `src/bin/`.
//!
//! The code of `docs/embedding.md` is compiled here, as doc tests.

#![forbid(unsafe_code)]

/// The page, for its examples.
#[cfg(doctest)]
#[doc = include_str!("../../docs/embedding.md")]
pub struct EmbeddingPage;
