//! The crate from outside: walks, trees, stores, CRC-32s, collections of one's own.
#![allow(clippy::unwrap_used)]

mod collections;
mod crcs;
mod manifests;
mod stores;
mod trees;
mod walks;

use std::path::Path;
use std::sync::Arc;

use outflow_catalog::{Collection as _, RelPath, Root, RootOptions, Tree, WalkError, WalkLimits, WalkScope};

/// What a walk finds, as a tree.
fn walk(root: &Arc<Root>, base: &str, scope: &WalkScope, limits: WalkLimits) -> Result<Tree, WalkError> {
    Arc::clone(root).walk(&path(base), scope, limits)
}

fn root(folder: &Path) -> Arc<Root> {
    Arc::new(Root::new(folder, RootOptions::default()).unwrap())
}

fn path(text: &str) -> RelPath {
    RelPath::new(text.as_bytes()).unwrap()
}
