//! What a link permits, checked.

use std::ops::Deref;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use outflow_content::{BadUrlPath, RelPath, UrlPath, address_of};
use serde::{Deserialize, Serialize};

use crate::error::LinkError;

/// Length of a link's recipient, in bytes.
///
/// Bound: links.
const MAX_RECIPIENT: usize = 256;
/// Number of files and folders that a link names.
///
/// Bound: links.
const MAX_FILES: usize = 100;
/// The end of the year 9999, in seconds since 1970: dates cannot be written beyond it.
const LATEST_EXPIRY: i64 = 253_402_300_799;

/// The payload of a token. A token with an unknown member is rejected, because that could be a
/// limit of a later version that this one would not enforce.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// The id of the key that signed it.
    pub key: String,
    /// Identifies the link, in receipts and for revoking it: 1 to 64 letters, digits, `-` and `_`.
    pub id: String,
    /// The percent-encoded path that it is for. A folder, with a slash at the end, includes
    /// everything below it.
    pub scope: String,
    /// The recipient: up to 256 bytes without control characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipient: Option<String>,
    /// When it expires, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<i64>,
    /// The number of receipts after which it is exhausted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_downloads: Option<u32>,
    /// Files and folders below the scope that it is restricted to, not percent-encoded, up to 100;
    /// empty: everything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
    /// Verifies the password: made by [`LinkKeys::lock`](crate::LinkKeys::lock).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// Permits seeing all recipients' progress below the scope.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub operator: bool,
}

/// Why terms are invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidTerms(pub(crate) String);

/// Terms that were checked.
#[derive(Debug, PartialEq, Eq)]
pub struct Link {
    terms: Terms,
    target: UrlPath,
    /// Selected paths below the server's root, sorted and without overlap; empty: everything in the
    /// scope.
    selected: Vec<RelPath>,
    verifier: Option<[u8; 32]>,
}

impl Deref for Link {
    type Target = Terms;

    fn deref(&self) -> &Terms {
        &self.terms
    }
}

impl Link {
    /// Checks `terms`.
    ///
    /// # Errors
    /// [`InvalidTerms`] says what is wrong with them.
    pub fn new(terms: Terms) -> Result<Link, InvalidTerms> {
        for (name, text) in [("key", &terms.key), ("id", &terms.id)] {
            ensure(is_link_id(text), || {
                format!("\"{name}\" has to be 1 to 64 letters, digits, \"-\" and \"_\"")
            })?;
        }
        let target = target_of(&terms.scope)?;
        if let Some(recipient) = &terms.recipient {
            let is_valid =
                (1..=MAX_RECIPIENT).contains(&recipient.len()) && !recipient.chars().any(char::is_control);
            ensure(is_valid, || {
                format!("\"recipient\" has to have 1 to {MAX_RECIPIENT} bytes and no control characters")
            })?;
        }
        ensure(terms.expires.is_none_or(|expires| (0..=LATEST_EXPIRY).contains(&expires)), || {
            format!("\"expires\" has to be in seconds since 1970, 0 to {LATEST_EXPIRY}")
        })?;
        ensure(terms.max_downloads != Some(0), || "\"max_downloads\" has to be at least 1".to_owned())?;
        let selected = selected(&terms, &target)?;
        let verifier = terms.password.as_deref().map(verifier).transpose()?;
        Ok(Link { terms, target, selected, verifier })
    }

    /// Whether `path`, percent-encoded and without the link's part, is in the scope; false for an
    /// invalid path. Does not consider which files are selected: see [`Link::selected_below`].
    #[must_use]
    pub fn covers(&self, path: &str) -> bool {
        let Ok(requested) = UrlPath::parse(path) else { return false };
        if !self.target.folder {
            return requested == self.target;
        }
        let mut below = requested.path.components();
        let is_inside = self.target.path.components().all(|component| below.next() == Some(component));
        // Without the slash at its end, the path can be that of a file.
        is_inside && (requested.folder || below.next().is_some())
    }

    /// The scope, percent-encoded where necessary.
    #[must_use]
    pub fn address(&self) -> String {
        let slash = if self.target.folder { "/" } else { "" };
        format!("{}{slash}", address_of(&self.target.path))
    }

    /// Where to redirect `path`: to the scope, percent-encoded, if `path` is empty, `/`, or the
    /// scope's folder without the slash at its end. `None` for any other path.
    #[must_use]
    pub fn leads_to(&self, path: &str) -> Option<String> {
        let scope = self.address();
        let is_short = match UrlPath::parse(path) {
            Ok(requested) if requested.path.is_root() => scope != "/",
            Ok(requested) => self.target.folder && !requested.folder && requested.path == self.target.path,
            Err(_) => path.is_empty(),
        };
        is_short.then_some(scope)
    }

    /// The selected files and folders of the folder whose address is `base` (percent-encoded,
    /// without a slash at its end): paths below it, sorted, none of them in another one. `None` if
    /// the link selects all of it.
    #[must_use]
    pub fn selected_below(&self, base: &str) -> Option<Vec<RelPath>> {
        if self.selected.is_empty() {
            return None;
        }
        let base = UrlPath::parse(base).map_or_else(|_| RelPath::root(), |base| base.path);
        below(&self.selected, &base)
    }

    /// Whether it needs a password.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        self.verifier.is_some()
    }

    /// The number of folders between `base`, the address of a folder (percent-encoded, without a
    /// slash at its end), and the scope.
    #[must_use]
    pub fn levels_below(&self, base: &str) -> usize {
        let above = UrlPath::parse(base).map_or(0, |base| base.path.components().count());
        self.target.path.components().count().saturating_sub(above)
    }

    /// [`LinkError::Expired`] if it has expired at `now`. Times before 1970 count as 1970.
    #[must_use]
    pub fn expiry(&self, now: SystemTime) -> Option<LinkError> {
        let since_1970 = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = i64::try_from(since_1970.as_secs()).unwrap_or(i64::MAX);
        self.terms.expires.filter(|expires| now >= *expires).map(|since| LinkError::Expired { since })
    }

    pub(crate) fn verifier(&self) -> Option<&[u8; 32]> {
        self.verifier.as_ref()
    }
}

/// Whether `text` can be the id of a link or a key: 1 to 64 letters, digits, `-` and `_`.
#[must_use]
pub fn is_link_id(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

fn ensure(is_valid: bool, why: impl FnOnce() -> String) -> Result<(), InvalidTerms> {
    if is_valid { Ok(()) } else { Err(InvalidTerms(why())) }
}

fn target_of(scope: &str) -> Result<UrlPath, InvalidTerms> {
    let invalid = |why: &str| InvalidTerms(format!("\"scope\" has to be the path of an address: {why}"));
    if !scope.starts_with('/') {
        return Err(invalid("it does not begin with a slash"));
    }
    if scope.contains(['?', '#']) || scope.chars().any(char::is_control) {
        return Err(invalid("\"?\", \"#\" and control characters have to be percent-encoded"));
    }
    UrlPath::parse(scope).map_err(|error| match error {
        BadUrlPath::Malformed(why) => invalid(&why.to_string()),
        BadUrlPath::NotFound => invalid("a part of it is empty"),
    })
}

fn selected(terms: &Terms, target: &UrlPath) -> Result<Vec<RelPath>, InvalidTerms> {
    ensure(terms.files.len() <= MAX_FILES, || {
        format!("\"files\" may name up to {MAX_FILES}; link to their folder")
    })?;
    ensure(terms.files.is_empty() || target.folder, || {
        "\"files\" are for a \"scope\" that is a folder, with a slash at its end".to_owned()
    })?;
    let mut selected = Vec::with_capacity(terms.files.len());
    for file in &terms.files {
        let path = file.strip_suffix('/').unwrap_or(file);
        let path = target.path.join(path.as_bytes()).ok().filter(|_| !path.is_empty());
        let path =
            path.ok_or_else(|| InvalidTerms(format!("{file:?} in \"files\" is not a path below the scope")))?;
        selected.push(path);
    }
    Ok(RelPath::without_overlap(selected))
}

/// The parts of `selected` below `base`, relative to it. `None` if all of `base` is selected.
fn below(selected: &[RelPath], base: &RelPath) -> Option<Vec<RelPath>> {
    let mut inside = Vec::new();
    for path in selected {
        let (mut whole, mut top) = (path.components(), base.components());
        loop {
            match (top.next(), whole.next()) {
                (None, None) | (Some(_), None) => return None,
                (None, Some(_)) => {
                    let skip = if base.is_root() { 0 } else { base.as_bytes().len() + 1 };
                    inside.extend(RelPath::new(&path.as_bytes()[skip..]));
                    break;
                }
                (Some(one), Some(other)) if one == other => {}
                _ => break,
            }
        }
    }
    Some(inside)
}

fn verifier(text: &str) -> Result<[u8; 32], InvalidTerms> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    bytes.ok_or_else(|| {
        InvalidTerms("\"password\" has to be 32 bytes in base64url without padding".to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(scope: &str, files: &[&str]) -> Result<Link, InvalidTerms> {
        Link::new(Terms {
            key: "k".to_owned(),
            id: "i".to_owned(),
            scope: scope.to_owned(),
            files: files.iter().map(|file| (*file).to_owned()).collect(),
            ..Terms::default()
        })
    }

    #[test]
    fn a_folder_covers_what_is_below_and_a_file_itself() {
        for (scope, path, covered) in [
            ("/", "/", true),
            ("/", "/a", true),
            ("/", "/t/abc/", true),
            ("/t/abc/", "/t/abc/", true),
            ("/t/abc/", "/t/abc/x/y", true),
            ("/t/abc/", "/%74/ab%63/x", true),
            ("/t/%61bc/", "/t/abc/x", true),
            ("/t/abc/", "/t/abc", false),
            ("/t/abc/", "/t/abcd/", false),
            ("/t/abc/", "/t/abc%2fx", false),
            ("/t/abc/", "/t/abc/../abd/", false),
            ("/t/abc/", "/t/abc/%2e%2e/abd/", false),
            ("/t/abc/", "/t/abc//", false),
            ("/t/abc/", "/t/", false),
            ("/t/abc/", "/T/abc/", false),
            ("/t/abc/", "/l/x/t/abc/", false),
            ("/t/abc/", "", false),
            ("/t/abc/", "t/abc/", false),
            ("/t/abc/", "*", false),
            ("/a%20b/c.zip", "/a%20b/c.zip", true),
            ("/a b/c.zip", "/a%20b/c.zip", true),
            ("/a/c", "/a/c/", false),
            ("/a/c", "/a/c/d", false),
            ("/a/c", "/a/", false),
            ("/a/%252e", "/a/%252e", true),
            ("/%C3%A9/", "/é/x", true),
        ] {
            assert_eq!(link(scope, &[]).unwrap().covers(path), covered, "{scope} {path}");
        }
    }

    #[test]
    fn a_short_address_leads_to_the_scope() {
        for (scope, path, to) in [
            ("/t/abc/", "", Some("/t/abc/")),
            ("/t/abc/", "/", Some("/t/abc/")),
            ("/t/abc/", "/t/abc", Some("/t/abc/")),
            ("/t/abc/", "/t/abc/", None),
            ("/t/abc/", "/t/ab", None),
            ("/a/b c", "/", Some("/a/b%20c")),
            ("/a/b", "/a/b", None),
            ("/a/b", "/a/b/", None),
            ("/", "", Some("/")),
            ("/", "/", None),
            ("/", "/x", None),
        ] {
            assert_eq!(link(scope, &[]).unwrap().leads_to(path).as_deref(), to, "{scope} {path}");
        }
    }

    #[test]
    fn what_is_selected_is_said_from_each_collections_top() {
        let link = link("/t/", &["abc/x", "abc/y/", "abc/y/z", "abd"]).unwrap();
        let names = |base: &str| {
            let base = UrlPath::parse(base).map_or_else(|_| RelPath::root(), |base| base.path);
            below(&link.selected, &base).map(|paths| paths.iter().map(RelPath::to_string).collect::<Vec<_>>())
        };
        assert_eq!(names("").unwrap(), ["t/abc/x", "t/abc/y", "t/abd"]);
        assert_eq!(names("/t/abc").unwrap(), ["x", "y"]);
        assert_eq!(names("/t/abd"), None);
        assert_eq!(names("/t/abd/e"), None);
        assert_eq!(names("/t/ab").unwrap(), Vec::<String>::new());
    }

    #[test]
    fn terms_that_make_no_sense_are_refused() {
        for (scope, files) in [
            ("", &[][..]),
            ("t/abc/", &[]),
            ("/t/../x", &[]),
            ("/t/%2e%2e/x", &[]),
            ("/t//", &[]),
            ("/t/%2fx", &[]),
            ("/t/a\\b", &[]),
            ("/t/%00", &[]),
            ("/t/%", &[]),
            ("/t/?zip", &[]),
            ("/t/#x", &[]),
            ("/t/\n", &[]),
            ("/t/abc", &["a"]),
            ("/t/abc/", &[""]),
            ("/t/abc/", &["/"]),
            ("/t/abc/", &["/a"]),
            ("/t/abc/", &["a//"]),
            ("/t/abc/", &["../x"]),
            ("/t/abc/", &["a\0"]),
        ] {
            assert!(link(scope, files).is_err(), "{scope} {files:?}");
        }
        let good =
            Terms { key: "k".to_owned(), id: "i".to_owned(), scope: "/".to_owned(), ..Terms::default() };
        let wrong: [fn(&mut Terms); 14] = [
            |terms| terms.key.clear(),
            |terms| terms.id.clear(),
            |terms| terms.id = "a b".to_owned(),
            |terms| terms.id = "é".to_owned(),
            |terms| terms.id = "a".repeat(65),
            |terms| terms.recipient = Some(String::new()),
            |terms| terms.recipient = Some("a\nb".to_owned()),
            |terms| terms.recipient = Some("a".repeat(257)),
            |terms| terms.expires = Some(-1),
            |terms| terms.expires = Some(LATEST_EXPIRY + 1),
            |terms| terms.max_downloads = Some(0),
            |terms| terms.files = vec!["a".to_owned(); 101],
            |terms| terms.password = Some("secret".to_owned()),
            |terms| terms.password = Some("A".repeat(42) + "B"),
        ];
        assert!(Link::new(good.clone()).is_ok());
        for (at, change) in wrong.into_iter().enumerate() {
            let mut terms = good.clone();
            change(&mut terms);
            assert!(Link::new(terms).is_err(), "{at}");
        }
    }
}
