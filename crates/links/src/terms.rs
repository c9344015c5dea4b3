//! What a link says.

use std::ops::Deref;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use outflow_content::{BadUrlPath, RelPath, UrlPath, address_of};
use serde::{Deserialize, Serialize};

use super::LinkError;

/// Longest recipient, in bytes.
const RECIPIENT: usize = 256;
/// Most files that a link names.
const FILES: usize = 100;
/// The end of the year 9999, in seconds since 1970: later there is no way to write a date.
const LATEST: i64 = 253_402_300_799;

/// The payload of a token. Unknown members are refused: whatever a later version means by them, it is no permission
/// that this one knows of, or a limit that it would not keep.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// Which key signed it.
    pub key: String,
    /// Tells the link from all others: for receipts, and for revoking it. 1 to 64 letters, digits, `-` and `_`.
    pub id: String,
    /// What it is for: the address's path, percent-encoded. A folder, with a slash at the end, stands for everything
    /// below it; anything else for itself.
    pub scope: String,
    /// Whom it is for: up to 256 bytes without control characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipient: Option<String>,
    /// From when on it is not good any more, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<i64>,
    /// After how many receipts it is exhausted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_downloads: Option<u32>,
    /// Files and folders below the scope, as they are called (not percent-encoded), and nothing else of it; empty:
    /// everything. Up to 100.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
    /// What a password is compared with: [`Keys::lock`](super::Keys::lock) makes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// Whoever holds it may see everybody's progress below the scope.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub operator: bool,
}

/// Why terms make no link.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadTerms(pub(crate) String);

/// Terms that make sense.
#[derive(Debug, PartialEq, Eq)]
pub struct Link {
    terms: Terms,
    target: UrlPath,
    /// Selected paths below the server's top, sorted and without overlap; empty: everything in the scope.
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
    /// [`BadTerms`] says what is wrong with them.
    pub fn new(terms: Terms) -> Result<Link, BadTerms> {
        for (name, text) in [("key", &terms.key), ("id", &terms.id)] {
            ensure(is_link_id(text), || {
                format!("\"{name}\" has to be 1 to 64 letters, digits, \"-\" and \"_\"")
            })?;
        }
        let target = target_of(&terms.scope)?;
        if let Some(recipient) = &terms.recipient {
            let is_good =
                (1..=RECIPIENT).contains(&recipient.len()) && !recipient.chars().any(char::is_control);
            ensure(is_good, || {
                format!("\"recipient\" has to have 1 to {RECIPIENT} bytes and no control characters")
            })?;
        }
        ensure(terms.expires.is_none_or(|expires| (0..=LATEST).contains(&expires)), || {
            format!("\"expires\" has to be in seconds since 1970, 0 to {LATEST}")
        })?;
        ensure(terms.max_downloads != Some(0), || "\"max_downloads\" has to be at least 1".to_owned())?;
        let selected = selected(&terms, &target)?;
        let verifier = terms.password.as_deref().map(verifier).transpose()?;
        Ok(Link { terms, target, selected, verifier })
    }

    /// Whether `path`, percent-encoded and without the link's own part, is in the scope. False as well for what is
    /// no address. Which files are selected is not asked here: [`Link::selected_below`] says that.
    #[must_use]
    pub fn covers(&self, path: &str) -> bool {
        let Ok(asked) = UrlPath::parse(path) else { return false };
        if !self.target.folder {
            return asked == self.target;
        }
        let mut below = asked.path.components();
        let is_inside = self.target.path.components().all(|component| below.next() == Some(component));
        // Without the slash it is another address, which may be a file's.
        is_inside && (asked.folder || below.next().is_some())
    }

    /// The scope, percent-encoded where it has to be.
    #[must_use]
    pub fn address(&self) -> String {
        let slash = if self.target.folder { "/" } else { "" };
        format!("{}{slash}", address_of(&self.target.path))
    }

    /// Where `path` should have led: the scope, percent-encoded, if `path` has nothing, only a slash, or the scope's
    /// folder without the slash at its end. `None` for all else.
    #[must_use]
    pub fn leads_to(&self, path: &str) -> Option<String> {
        let scope = self.address();
        let is_short = match UrlPath::parse(path) {
            Ok(asked) if asked.path.is_root() => scope != "/",
            Ok(asked) => self.target.folder && !asked.folder && asked.path == self.target.path,
            Err(_) => path.is_empty(),
        };
        is_short.then_some(scope)
    }

    /// The selected files and folders of the folder whose address is `base` (percent-encoded, without a slash at its end):
    /// paths below it, sorted, none of them in another one. `None` if the link selects all of it.
    #[must_use]
    pub fn selected_below(&self, base: &str) -> Option<Vec<RelPath>> {
        if self.selected.is_empty() {
            return None;
        }
        let base = UrlPath::parse(base).map_or_else(|_| RelPath::root(), |base| base.path);
        below(&self.selected, &base)
    }

    /// Whether it asks for a password.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        self.verifier.is_some()
    }

    /// How many folders lie between `base` (the address of a folder, percent-encoded, without a slash at its end) and the
    /// scope.
    #[must_use]
    pub fn levels_below(&self, base: &str) -> usize {
        let above = UrlPath::parse(base).map_or(0, |base| base.path.components().count());
        self.target.path.components().count().saturating_sub(above)
    }

    /// Since when it is not good any more, if it is not at `now`. Times before 1970 count as 1970.
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

/// Whether `text` can be a link's id, or a key's: 1 to 64 letters, digits, `-` and `_`.
#[must_use]
pub fn is_link_id(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

fn ensure(is_good: bool, why: impl FnOnce() -> String) -> Result<(), BadTerms> {
    if is_good { Ok(()) } else { Err(BadTerms(why())) }
}

fn target_of(scope: &str) -> Result<UrlPath, BadTerms> {
    let bad = |why: &str| BadTerms(format!("\"scope\" has to be the path of an address: {why}"));
    if !scope.starts_with('/') {
        return Err(bad("it does not begin with a slash"));
    }
    if scope.contains(['?', '#']) || scope.chars().any(char::is_control) {
        return Err(bad("\"?\", \"#\" and control characters have to be percent-encoded"));
    }
    UrlPath::parse(scope).map_err(|refused| match refused {
        BadUrlPath::Malformed(why) => bad(why),
        BadUrlPath::NotFound => bad("a part of it is empty"),
    })
}

fn selected(terms: &Terms, target: &UrlPath) -> Result<Vec<RelPath>, BadTerms> {
    ensure(terms.files.len() <= FILES, || format!("\"files\" may name up to {FILES}; link to their folder"))?;
    ensure(terms.files.is_empty() || target.folder, || {
        "\"files\" are for a \"scope\" that is a folder, with a slash at its end".to_owned()
    })?;
    let mut selected = Vec::with_capacity(terms.files.len());
    for file in &terms.files {
        let path = file.strip_suffix('/').unwrap_or(file);
        let path = target.path.join(path.as_bytes()).ok().filter(|_| !path.is_empty());
        let path =
            path.ok_or_else(|| BadTerms(format!("{file:?} in \"files\" is no path below the scope")))?;
        selected.push(path);
    }
    Ok(RelPath::without_overlap(selected))
}

/// What of `selected` lies below `base`, relative to it. `None` if all of `base` is selected.
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

fn verifier(text: &str) -> Result<[u8; 32], BadTerms> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    bytes.ok_or_else(|| BadTerms("\"password\" has to be 32 bytes in base64url without padding".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(scope: &str, files: &[&str]) -> Result<Link, BadTerms> {
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
            let base = UrlPath::parse(base).map_or_else(|_| RelPath::root(), |target| target.path);
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
            |terms| terms.expires = Some(LATEST + 1),
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
