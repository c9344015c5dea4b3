//! From an object's key to its path in a store.

use object_store::path::Path;

use crate::error::StoreErrorKind;

/// Where `key` is for the clients; the empty key is the `prefix` itself.
pub(crate) fn path_of(prefix: &Path, key: &str) -> Result<Path, StoreErrorKind> {
    let invalid = || {
        StoreErrorKind::Misconfigured(
            "it has an empty component, \".\", \"..\" or a control character".to_owned(),
        )
    };
    let path = Path::parse(key).ok().filter(|path| path.as_ref() == key).ok_or_else(invalid)?;
    match (prefix.is_root(), path.is_root()) {
        (true, _) => Ok(path),
        (_, true) => Ok(prefix.clone()),
        _ => Path::parse(format!("{prefix}/{path}")).map_err(|_| invalid()),
    }
}
