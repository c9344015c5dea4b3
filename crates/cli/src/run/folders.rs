//! The user's folders for cache and state (XDG Base Directory Specification, 0.8).

use std::path::PathBuf;

/// For data that can be computed again. `None` when neither XDG_CACHE_HOME nor HOME names a folder.
pub(crate) fn cache() -> Option<PathBuf> {
    of("XDG_CACHE_HOME", ".cache")
}

/// For data that must persist on this machine. `None` when neither XDG_STATE_HOME nor HOME names a
/// folder.
pub(crate) fn state() -> Option<PathBuf> {
    of("XDG_STATE_HOME", ".local/state")
}

/// The specification has relative paths in these variables ignored.
fn of(variable: &str, below_home: &str) -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute(variable).or_else(|| absolute("HOME").map(|home| home.join(below_home)))?;
    Some(base.join("outflow"))
}
