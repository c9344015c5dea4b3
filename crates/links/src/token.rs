//! Where a token lies in an address.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::Terms;

/// What the addresses of links begin with.
pub(crate) const BEGIN: &str = "/l/";
/// Longest token, in bytes: a request's head has room for it beside a long selection.
pub(crate) const LONGEST: usize = 8 << 10;
/// The last part of a token: 32 bytes in base64url.
const SIGNATURE: usize = 43;
/// `{"` in base64url, as far as it does not depend on what follows.
const JSON: &str = "ey";
/// What begins like a payload and is at least as long was meant to be a token, even if the end was cut off.
const MEANT: usize = 40;

/// An address that lies in a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addressed<'a> {
    /// The token, not checked yet.
    pub token: &'a str,
    /// The usual address: from the slash behind the token on; empty if there is none.
    pub rest: &'a str,
}

impl<'a> Addressed<'a> {
    /// The link's part of `path`, which is the whole path of the address: `/l/TOKEN`.
    #[must_use]
    pub fn base(&self, path: &'a str) -> &'a str {
        &path[..path.len() - self.rest.len()]
    }
}

/// Finds the token in an address's path. `None` if there is nothing like one: a folder may be called `l`.
#[must_use]
pub fn split(path: &str) -> Option<Addressed<'_>> {
    let behind = path.strip_prefix(BEGIN)?;
    let (token, rest) = behind.split_at(behind.find('/').unwrap_or(behind.len()));
    looks_like(token).then_some(Addressed { token, rest })
}

/// What a token claims, whoever made it: to be shown, never to be believed.
#[must_use]
pub fn unverified(token: &str) -> Option<Terms> {
    let payload = token.split('.').next().filter(|_| token.len() <= LONGEST)?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
}

/// `path` as it may be written down: whoever reads a token can use it.
#[must_use]
pub fn without_token(path: &str) -> Cow<'_, str> {
    match split(path) {
        Some(Addressed { rest, .. }) => Cow::Owned(format!("{BEGIN}…{rest}")),
        None => Cow::Borrowed(path),
    }
}

/// Tokens, and what is left of them when a mail program cuts or wraps an address. For the latter, it is kinder to hear
/// that the link is not whole than that there is nothing.
fn looks_like(token: &str) -> bool {
    let letters = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    let is_whole = token.rsplit_once('.').is_some_and(|(payload, signature)| {
        !payload.is_empty() && letters(payload) && signature.len() == SIGNATURE && letters(signature)
    });
    is_whole || (token.starts_with(JSON) && token.len() >= MEANT)
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
