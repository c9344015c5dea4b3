//! The path of a URL: percent-decoded once, and rejected when it is ambiguous.

use std::fmt;

use super::encoding::{encode_path, hex};
use super::rel_path::{BadPath, RelPath};

/// What the path of a URL names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UrlPath {
    /// The path below the folder that is served.
    pub path: RelPath,
    /// Whether the URL ends in a slash, and so names a folder.
    pub folder: bool,
}

/// Why the path of a URL names nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadUrlPath {
    /// It cannot be valid: 400.
    Malformed(MalformedUrlPath),
    /// Nothing can have this path: 404.
    NotFound,
}

/// What is wrong with the path of a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MalformedUrlPath {
    /// It does not begin with a slash.
    NoSlash,
    /// A component is `.` or `..`.
    Dots,
    /// It has a NUL byte.
    Nul,
    /// It has an encoded slash.
    EncodedSlash,
    /// It has a `%` without two hexadecimal digits.
    Percent,
    /// It has a backslash.
    Backslash,
}

impl fmt::Display for MalformedUrlPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            MalformedUrlPath::NoSlash => "the path does not begin with a slash",
            MalformedUrlPath::Dots => "the path has a component \".\" or \"..\"",
            MalformedUrlPath::Nul => "the path has a NUL byte",
            MalformedUrlPath::EncodedSlash => "the path has an encoded slash",
            MalformedUrlPath::Percent => "the path has a % without two hexadecimal digits",
            MalformedUrlPath::Backslash => "the path has a backslash",
        })
    }
}

impl UrlPath {
    /// Parses a percent-encoded path, from the slash on that stands for the root.
    ///
    /// # Errors
    /// [`BadUrlPath`].
    pub fn parse(address: &str) -> Result<UrlPath, BadUrlPath> {
        let Some(path) = address.as_bytes().strip_prefix(b"/") else {
            return Err(BadUrlPath::Malformed(MalformedUrlPath::NoSlash));
        };
        let mut path = decode(path)?;
        let folder = path.is_empty() || path.last() == Some(&b'/');
        if folder {
            path.pop();
        }
        match RelPath::new(&path) {
            // "//" is the empty path with a slash after it.
            Ok(path) if path.is_root() && address.len() > 1 => Err(BadUrlPath::NotFound),
            Ok(path) => Ok(UrlPath { path, folder }),
            Err(BadPath::Empty) => Err(BadUrlPath::NotFound),
            Err(BadPath::Dots) => Err(BadUrlPath::Malformed(MalformedUrlPath::Dots)),
            Err(BadPath::Nul) => Err(BadUrlPath::Malformed(MalformedUrlPath::Nul)),
        }
    }
}

/// Decodes a path once. Rejects what another program could take for a separator.
fn decode(path: &[u8]) -> Result<Vec<u8>, BadUrlPath> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut bytes = path.iter();
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            b'%' => match (hex(bytes.next()), hex(bytes.next())) {
                (Some(high), Some(low)) => match high << 4 | low {
                    0 => return Err(BadUrlPath::Malformed(MalformedUrlPath::Nul)),
                    b'/' => return Err(BadUrlPath::Malformed(MalformedUrlPath::EncodedSlash)),
                    byte => byte,
                },
                _ => return Err(BadUrlPath::Malformed(MalformedUrlPath::Percent)),
            },
            byte => *byte,
        };
        if byte == b'\\' {
            return Err(BadUrlPath::Malformed(MalformedUrlPath::Backslash));
        }
        decoded.push(byte);
    }
    Ok(decoded)
}

/// The percent-encoded path of a URL for `path`, without a slash at the end; empty for the root.
#[must_use]
pub fn address_of(path: &RelPath) -> String {
    if path.is_root() {
        return String::new();
    }
    format!("/{}", encode_path(path.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::super::encoding::encode;
    use super::*;
    use http::Uri;

    fn parse(path: &str) -> Result<(String, bool), BadUrlPath> {
        let uri = path.parse::<Uri>().unwrap();
        UrlPath::parse(uri.path()).map(|url| (url.path.to_string(), url.folder))
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
            assert_eq!(parse(address), Ok((path.to_owned(), folder)), "{address}");
        }
    }

    #[test]
    fn traps_are_rejected() {
        use BadUrlPath::{Malformed, NotFound};
        for (address, not_found) in [
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
            let rejected = parse(address).unwrap_err();
            assert_eq!(rejected == NotFound, not_found, "{address}: {rejected:?}");
            assert_eq!(matches!(rejected, Malformed(_)), !not_found, "{address}");
        }
    }

    #[test]
    fn what_is_encoded_comes_back() {
        for name in [&b"a b"[..], b"%2e", b"\xff\xfe", b"\n\"<&>'", "é😀".as_bytes(), b"a:b", b"-_.~"] {
            let address = format!("/{}", encode(name)).parse::<Uri>().unwrap();
            assert_eq!(UrlPath::parse(address.path()).unwrap().path.as_bytes(), name);
        }
        assert_eq!(address_of(&RelPath::new(b"a b/c").unwrap()), "/a%20b/c");
        assert_eq!(address_of(&RelPath::root()), "");
    }
}
