//! The address of a request: percent-decoded once, and refused when it could mean more than one thing.

use outflow_catalog::{BadPath, RelPath};
use outflow_web::address::{encode_path, hex};

/// What a request's path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) path: RelPath,
    /// The address ends in a slash: a folder is meant.
    pub(crate) folder: bool,
}

/// Why an address names nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadTarget {
    /// It could never be an address of ours: 400. The text says what is wrong with it.
    Malformed(&'static str),
    /// There is no such thing: 404.
    NoSuchThing,
}

impl Target {
    /// Reads an address's path, percent-encoded, from the slash on that stands for the collection's top.
    pub(crate) fn of(address: &str) -> Result<Target, BadTarget> {
        let Some(path) = address.as_bytes().strip_prefix(b"/") else {
            return Err(BadTarget::Malformed("the path does not begin with a slash"));
        };
        let mut path = decode(path)?;
        let folder = path.is_empty() || path.last() == Some(&b'/');
        if folder {
            path.pop();
        }
        match RelPath::new(&path) {
            // "//" is the empty path with a slash after it.
            Ok(path) if path.is_root() && address.len() > 1 => Err(BadTarget::NoSuchThing),
            Ok(path) => Ok(Target { path, folder }),
            Err(BadPath::Empty) => Err(BadTarget::NoSuchThing),
            Err(BadPath::Dots) => Err(BadTarget::Malformed("the path has a component \".\" or \"..\"")),
            Err(BadPath::Nul) => Err(BadTarget::Malformed("the path has a NUL byte")),
        }
    }
}

/// Decodes a path, once. What could be taken for a separator by somebody else is refused.
fn decode(path: &[u8]) -> Result<Vec<u8>, BadTarget> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut bytes = path.iter();
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            b'%' => match (hex(bytes.next()), hex(bytes.next())) {
                (Some(high), Some(low)) => match high << 4 | low {
                    0 => return Err(BadTarget::Malformed("the path has a NUL byte")),
                    b'/' => return Err(BadTarget::Malformed("the path has an encoded slash")),
                    byte => byte,
                },
                _ => return Err(BadTarget::Malformed("the path has a % without two hexadecimal digits")),
            },
            byte => *byte,
        };
        if byte == b'\\' {
            return Err(BadTarget::Malformed("the path has a backslash"));
        }
        decoded.push(byte);
    }
    Ok(decoded)
}

/// The address of a path below the root, without a slash at the end; empty for the root.
pub(crate) fn address(path: &RelPath) -> String {
    if path.is_root() {
        return String::new();
    }
    format!("/{}", encode_path(path.as_bytes()))
}

#[cfg(test)]
mod tests {
    use http::Uri;
    use outflow_web::address::encode;

    use super::*;

    fn target(path: &str) -> Result<(String, bool), BadTarget> {
        let uri = path.parse::<Uri>().unwrap();
        Target::of(uri.path()).map(|target| (target.path.to_string(), target.folder))
    }

    #[test]
    fn addresses_become_paths() {
        for (address, path, folder) in [
            ("/", "", true),
            ("/a", "a", false),
            ("/a/", "a", true),
            ("/a/b%20c", "a/b c", false),
            ("/a+b", "a+b", false),
            ("/%61", "a", false),
            ("/%252e%252e", "%2e%2e", false),
            ("/%2541", "%41", false),
            ("/a%0ab", "a\\nb", false),
            ("/%F0%9F%98%80", "😀", false),
            ("/...", "...", false),
            ("/a%3Fb%23", "a?b#", false),
            ("http://host/a?b", "a", false),
        ] {
            assert_eq!(target(address), Ok((path.to_owned(), folder)), "{address}");
        }
    }

    #[test]
    fn traps_are_refused() {
        use BadTarget::{Malformed, NoSuchThing};
        for (address, no_such_thing) in [
            ("/..", false),
            ("/../etc/passwd", false),
            ("/a/..", false),
            ("/a/../b", false),
            ("/./a", false),
            ("/%2e%2e/a", false),
            ("/.%2E/a", false),
            ("/%2e", false),
            ("/a%2fb", false),
            ("/a%2Fb", false),
            ("/a%00b", false),
            ("/a%5cb", false),
            ("/..%5c..", false),
            ("/a%", false),
            ("/a%4", false),
            ("/a%zz", false),
            ("/a%+1", false),
            ("//", true),
            ("///", true),
            ("//a", true),
            ("/a//b", true),
            ("/a//", true),
        ] {
            let refused = target(address).unwrap_err();
            assert_eq!(refused == NoSuchThing, no_such_thing, "{address}: {refused:?}");
            assert_eq!(matches!(refused, Malformed(_)), !no_such_thing, "{address}");
        }
    }

    #[test]
    fn what_is_encoded_comes_back() {
        for name in [&b"a b"[..], b"%2e", b"\xff\xfe", b"\n\"<&>'", "é😀".as_bytes(), b"a:b", b"-_.~"] {
            let address = format!("/{}", encode(name)).parse::<Uri>().unwrap();
            assert_eq!(Target::of(address.path()).unwrap().path.as_bytes(), name);
        }
        assert_eq!(address(&RelPath::new(b"a b/c").unwrap()), "/a%20b/c");
        assert_eq!(address(&RelPath::root()), "");
    }
}
