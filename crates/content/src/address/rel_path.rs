//! Paths below a folder, checked once, so that nothing that handles them has to check again.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;

use crate::printable;

/// A path below a folder, the root: components of raw bytes joined by `/`, none of them empty, `.`
/// or `..`, none with a NUL. The empty path is the root itself.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RelPath(Arc<[u8]>);

/// Why bytes are not a [`RelPath`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPath {
    /// A component is empty: `//`, or a slash at the start or the end.
    #[error("the path has an empty component")]
    Empty,
    /// A component is `.` or `..`.
    #[error("the path has a component \".\" or \"..\"")]
    Dots,
    /// There is a NUL byte.
    #[error("the path has a NUL byte")]
    Nul,
}

impl RelPath {
    /// The root itself.
    #[must_use]
    pub fn root() -> RelPath {
        RelPath(Arc::from([]))
    }

    /// Checks `bytes`, without a slash at either end.
    ///
    /// # Errors
    /// [`BadPath`].
    pub fn new(bytes: &[u8]) -> Result<RelPath, BadPath> {
        if bytes.is_empty() {
            return Ok(RelPath::root());
        }
        if bytes.contains(&0) {
            return Err(BadPath::Nul);
        }
        for component in bytes.split(|byte| *byte == b'/') {
            match component {
                b"" => return Err(BadPath::Empty),
                b"." | b".." => return Err(BadPath::Dots),
                _ => {}
            }
        }
        Ok(RelPath(Arc::from(bytes)))
    }

    /// `rest` below this path.
    ///
    /// # Errors
    /// [`BadPath`] if `rest` is none.
    pub fn join(&self, rest: &[u8]) -> Result<RelPath, BadPath> {
        let rest = RelPath::new(rest)?;
        if self.is_root() {
            return Ok(rest);
        }
        if rest.is_root() {
            return Ok(self.clone());
        }
        Ok(RelPath([&self.0, b"/".as_slice(), &rest.0].concat().into()))
    }

    /// True for the root itself.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The raw bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The raw bytes as the system takes them.
    #[must_use]
    pub fn as_os_str(&self) -> &OsStr {
        OsStr::from_bytes(&self.0)
    }

    /// The components, from the root down. None for the root itself.
    pub fn components(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|byte| *byte == b'/').filter(|component| !component.is_empty())
    }

    /// The last component; empty for the root itself.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        self.0.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
    }

    /// Whether a component begins with a dot.
    #[must_use]
    pub fn is_hidden(&self) -> bool {
        self.0.first() == Some(&b'.') || self.0.windows(2).any(|pair| pair == b"/.")
    }

    /// Sorts `paths` and removes duplicates and everything below another one of them.
    #[must_use]
    pub fn without_overlap(mut paths: Vec<RelPath>) -> Vec<RelPath> {
        paths.sort_unstable();
        paths.dedup();
        let all: HashSet<&[u8]> = paths.iter().map(RelPath::as_bytes).collect();
        let is_below = |path: &RelPath| {
            let bytes = path.as_bytes();
            (0..bytes.len()).any(|at| bytes[at] == b'/' && all.contains(&bytes[..at]))
        };
        let keep: Vec<bool> = paths.iter().map(|path| !is_below(path)).collect();
        let mut keep = keep.into_iter();
        paths.retain(|_| keep.next().unwrap_or(true));
        paths
    }
}

impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&printable(&self.0))
    }
}

impl fmt::Debug for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_components_pass() {
        for (bytes, expected) in [
            (b"a/b".as_slice(), None),
            (b"", None),
            (b"...", None),
            (b"a/..b", None),
            (b"\xff\xfe/x", None),
            (b"..", Some(BadPath::Dots)),
            (b"a/../b", Some(BadPath::Dots)),
            (b"a/.", Some(BadPath::Dots)),
            (b"/a", Some(BadPath::Empty)),
            (b"a/", Some(BadPath::Empty)),
            (b"a//b", Some(BadPath::Empty)),
            (b"a\0", Some(BadPath::Nul)),
        ] {
            assert_eq!(RelPath::new(bytes).err(), expected, "{bytes:?}");
        }
    }

    #[test]
    fn hidden_is_a_dot_at_the_start_of_any_component() {
        for (bytes, hidden) in [(".git/x", true), ("a/.b", true), ("a.b/c.d", false), ("", false)] {
            assert_eq!(RelPath::new(bytes.as_bytes()).unwrap().is_hidden(), hidden, "{bytes}");
        }
    }

    #[test]
    fn a_name_cannot_forge_a_log_line() {
        let path = RelPath::new(b"a\n2026 INFO all is well\x1b[2J\xff").unwrap();
        assert_eq!(path.to_string(), "a\\n2026 INFO all is well\\u{1b}[2J\u{fffd}");
    }
}
