//! The crate from outside: walks, files that change, CRC-32s.
#![allow(clippy::unwrap_used)]

mod crcs;
mod files;
mod manifests;
mod stores;
mod walks;

use std::path::Path;
use std::sync::Arc;

use outflow_catalog::{RelPath, Root, RootOptions};

fn root(folder: &Path) -> Arc<Root> {
    Arc::new(Root::new(folder, RootOptions::default()).unwrap())
}

fn path(text: &str) -> RelPath {
    RelPath::new(text.as_bytes()).unwrap()
}
