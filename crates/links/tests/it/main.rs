//! Links as their holders and their forgers see them.
#![allow(clippy::unwrap_used)]

mod links;
