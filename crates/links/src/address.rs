//! Where the token is in an address.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::terms::Terms;

/// What the paths of links begin with.
pub(crate) const PREFIX: &str = "/l/";
/// Length of a link's token, in bytes. A request head can hold it together with a long selection.
///
/// Bound: links.
pub(crate) const MAX_TOKEN: usize = 8 << 10;
/// Length of a token's signature: 32 bytes in base64url.
const SIGNATURE_LEN: usize = 43;
/// `{"` in base64url, as far as it does not depend on the next byte.
const JSON_START: &str = "ey";
/// Minimum length of a name that counts as a truncated token, if it begins like a payload.
const MIN_RECOGNISED: usize = 40;

/// The path of an address within a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addressed<'a> {
    /// The token, unchecked.
    pub token: &'a str,
    /// The path without the link: from the slash after the token on; empty if there is none.
    pub rest: &'a str,
}

impl<'a> Addressed<'a> {
    /// The link's part of `path`, the whole path of the address: `/l/TOKEN`.
    #[must_use]
    pub fn base(&self, path: &'a str) -> &'a str {
        &path[..path.len() - self.rest.len()]
    }
}

/// Finds the token in the path of an address. `None` if it has none: a folder may be called `l`.
#[must_use]
pub fn split(path: &str) -> Option<Addressed<'_>> {
    let after = path.strip_prefix(PREFIX)?;
    let (token, rest) = after.split_at(after.find('/').unwrap_or(after.len()));
    is_token_like(token).then_some(Addressed { token, rest })
}

/// The terms in a token without a check of its signature: for display only.
#[must_use]
pub fn unverified(token: &str) -> Option<Terms> {
    let payload = token.split('.').next().filter(|_| token.len() <= MAX_TOKEN)?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
}

/// `path` for logs, without the token: a token permits everyone who has it.
#[must_use]
pub fn without_token(path: &str) -> Cow<'_, str> {
    match split(path) {
        Some(Addressed { rest, .. }) => Cow::Owned(format!("{PREFIX}…{rest}")),
        None => Cow::Borrowed(path),
    }
}

/// Whether `token` is a token, or the beginning of one that a mail program has cut off. For the
/// latter, "the link is incomplete" helps more than "not found".
fn is_token_like(token: &str) -> bool {
    let is_base64url =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    let is_whole = token.rsplit_once('.').is_some_and(|(payload, signature)| {
        !payload.is_empty()
            && is_base64url(payload)
            && signature.len() == SIGNATURE_LEN
            && is_base64url(signature)
    });
    is_whole || (token.starts_with(JSON_START) && token.len() >= MIN_RECOGNISED)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(path: &str) -> Option<(&str, &str)> {
        split(path).map(|addressed| {
            assert_eq!(addressed.base(path), format!("/l/{}", addressed.token));
            (addressed.token, addressed.rest)
        })
    }

    #[test]
    fn a_token_is_told_from_a_name() {
        let signature = "A".repeat(43);
        let token = format!("eyJ9.{signature}");
        for rest in ["/", "/t/abc/", "//", "/a%2fb", ""] {
            assert_eq!(parts(&format!("/l/{token}{rest}")), Some((token.as_str(), rest)));
        }
        let cut = "eyJrZXkiOiIyMDI2LTExIiwiaWQiOiJhYmMiLCJzY29wZSI6Ii90L2FiYy8i";
        assert_eq!(parts(&format!("/l/{cut}")), Some((cut, "")));
        assert_eq!(parts(&format!("/l/{cut}.A%0a/x")), Some((format!("{cut}.A%0a").as_str(), "/x")));
        for name in [
            "/l/",
            "/l",
            "/l/readme.txt",
            "/l/a/b",
            &format!("/l/.{signature}"),
            &format!("/l/a b.{signature}"),
            &format!("/l/a.{signature}A"),
            &format!("/l/a.b.{signature}"),
            &format!("/x/{token}/"),
            &format!("/l//{token}/"),
            &format!("/L/{token}/"),
            &format!("l/{token}/"),
        ] {
            assert_eq!(split(name), None, "{name}");
        }
    }

    #[test]
    fn a_token_is_not_written_down() {
        let token = format!("eyJ9.{}", "A".repeat(43));
        assert_eq!(without_token(&format!("/l/{token}/t/abc/")), "/l/…/t/abc/");
        assert_eq!(without_token(&format!("/l/{token}")), "/l/…");
        assert_eq!(without_token("/l/a/b"), "/l/a/b");
    }
}
