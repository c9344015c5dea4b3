//! A folder of this machine as a store: `file:///path`.
//!
//! The client for stores lists, reads and writes it. The bytes of its objects leave as those of
//! local files, from a root that nothing leads out of.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use object_store::local::LocalFileSystem;
use outflow_content::Source;
use outflow_fs::{ExpectedFile, RelPath, Root, RootOptions};
use outflow_objects::{Backend, ConnectionUse, Object, ObjectBytes, StoreAddress, StoreErrorKind, StoreKind};
use url::Url;

pub(crate) static FOLDER: StoreKind = StoreKind {
    scheme: "file",
    example: "file:///path",
    parse,
    open,
    // A file has no place for its type.
    keeps_media_types: false,
};

fn parse(address: &str) -> Result<StoreAddress, String> {
    path_of(address)
        .ok_or("a folder's address has three slashes and an absolute path: file:///srv/transfers")?;
    let text = address.trim_end_matches('/').to_owned();
    Ok(StoreAddress { place: address.to_owned(), prefix: object_store::path::Path::ROOT, text })
}

fn path_of(address: &str) -> Option<PathBuf> {
    Url::parse(address).ok()?.to_file_path().ok()
}

fn open(address: &StoreAddress, _: ConnectionUse) -> Result<Backend, StoreErrorKind> {
    let path = path_of(&address.place).unwrap_or_default();
    let client = LocalFileSystem::new_with_prefix(&path).map_err(|_| {
        StoreErrorKind::Misconfigured(format!(
            "there is no folder {}, or it cannot be read; create it, or correct the address",
            path.display()
        ))
    })?;
    let backend = Backend::new(Arc::new(client.with_automatic_cleanup(true)));
    Ok(backend.with_bytes(Arc::new(FolderBytes { path, root: OnceLock::new() })))
}

struct FolderBytes {
    path: PathBuf,
    /// Opened when first needed. None: it cannot be.
    root: OnceLock<Option<Arc<Root>>>,
}

impl ObjectBytes for FolderBytes {
    fn source(&self, object: &Object) -> Option<Arc<dyn Source>> {
        let root = Arc::clone(self.root.get_or_init(|| open_root(&self.path)).as_ref()?);
        let path = RelPath::new(object.key.as_bytes()).ok()?;
        let micros = object.etag.as_deref().and_then(micros_of);
        Some(Arc::new(ExpectedFile::without_inode(root, path, object.size, micros)))
    }
}

fn open_root(path: &Path) -> Option<Arc<Root>> {
    let root = Root::new(path, RootOptions { follow_symlinks: false, hidden: true });
    root.inspect_err(
        |error| tracing::warn!(folder = %path.display(), %error, "the store's folder cannot be opened"),
    )
    .ok()
    .map(Arc::new)
}

/// The modified time in a tag, in microseconds since 1970. The client for stores makes tags of the
/// form `"inode-mtime-size"`, in hexadecimal.
fn micros_of(etag: &str) -> Option<u64> {
    u64::from_str_radix(etag.trim_matches('"').split('-').nth(1)?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_name_a_folder() {
        let parsed = parse("file:///srv/files/").unwrap();
        assert_eq!((parsed.text.as_str(), parsed.prefix.as_ref()), ("file:///srv/files", ""));
        assert_eq!(path_of("file:///srv/a%20b"), Some(PathBuf::from("/srv/a b")));
        let error = parse("file://relative/path").unwrap_err();
        assert!(error.contains("three slashes"), "{error}");
    }
}
