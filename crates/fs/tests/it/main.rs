//! The crate from outside: files that change, folders that cannot be left.
#![allow(clippy::unwrap_used)]

mod files;

use std::path::Path;
use std::sync::Arc;

use outflow_fs::{RelPath, Root, RootOptions};

fn root(folder: &Path) -> Arc<Root> {
    Arc::new(Root::new(folder, RootOptions::default()).unwrap())
}

fn path(text: &str) -> RelPath {
    RelPath::new(text.as_bytes()).unwrap()
}
