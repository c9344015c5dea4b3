//! Who may publish and subscribe: tokens in a file.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, StatusCode};
use outflow_texts::{Text, text};
use outflow_web::Problem;

use crate::request::is_valid_name;

/// Size of the file of channel tokens, in bytes.
///
/// Bound: channels.
const MAX_FILE: u64 = 1 << 20;
/// Minimum length of a token in characters, so that it cannot be guessed.
const MIN_TOKEN: usize = 16;

/// Tokens and what they permit. Only their hashes are in memory.
#[derive(Clone, Debug, Default)]
pub struct ChannelTokens(HashMap<[u8; 32], TokenGrant>);

#[derive(Clone, Debug)]
struct TokenGrant {
    /// The line of the file, which identifies the token.
    line: u32,
    may_publish: bool,
    /// The channels that it is for; empty: all.
    names: Vec<NamePattern>,
}

/// A name, or the beginning of names.
#[derive(Clone, Debug)]
struct NamePattern {
    name: String,
    is_prefix: bool,
}

/// Why tokens cannot be loaded. No message contains a token.
#[derive(Debug, thiserror::Error)]
pub enum ChannelTokensError {
    /// The file cannot be read.
    #[error("cannot read the channel tokens in {path}: {error}")]
    Io {
        /// The file.
        path: String,
        /// The system's error.
        error: std::io::Error,
    },
    /// The file is malformed.
    #[error("the channel tokens in {path} are invalid: {what}")]
    Invalid {
        /// The file.
        path: String,
        /// Where and why.
        what: String,
    },
}

/// What a token is needed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ChannelAction {
    Publish,
    Subscribe,
}

impl ChannelTokens {
    /// Reads a file with a line `publish TOKEN` or `subscribe TOKEN` for each token, optionally
    /// followed by the names of the channels that it is for. A name that ends in `*` stands for all
    /// names with that beginning. A token for publishing also permits subscribing.
    ///
    /// # Errors
    /// [`ChannelTokensError`].
    pub fn load(path: &Path) -> Result<ChannelTokens, ChannelTokensError> {
        let failed = |error| ChannelTokensError::Io { path: path.display().to_string(), error };
        let file = File::open(path).map_err(failed)?;
        let mode = file.metadata().map_err(failed)?.mode();
        let mut text = String::new();
        file.take(MAX_FILE + 1).read_to_string(&mut text).map_err(failed)?;
        if mode & 0o026 != 0 {
            tracing::warn!(
                path = %path.display(),
                "other users can read or change the channel tokens; protect them with chmod 600"
            );
        }
        ChannelTokens::parse(&text)
            .map_err(|what| ChannelTokensError::Invalid { path: path.display().to_string(), what })
    }

    fn parse(text: &str) -> Result<ChannelTokens, String> {
        if text.len() as u64 > MAX_FILE {
            return Err(format!("the file has more than {MAX_FILE} bytes"));
        }
        let mut tokens = HashMap::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let mut words = line.split_whitespace();
            let may_publish = match words.next() {
                Some("publish") => true,
                Some("subscribe") => false,
                _ => return Err(format!("line {number} does not begin with publish or subscribe")),
            };
            let token = words.next().unwrap_or_default();
            if token.len() < MIN_TOKEN {
                return Err(format!(
                    "line {number}: a token needs at least {MIN_TOKEN} characters; create one with `openssl rand -hex 16`"
                ));
            }
            let names = words.map(NamePattern::parse).collect::<Option<Vec<NamePattern>>>();
            let names = names.ok_or_else(|| {
                format!("line {number}: only names of channels, which may end in *, can follow the token")
            })?;
            let known = tokens.insert(hash(token), TokenGrant { line: number, may_publish, names });
            if known.is_some() {
                return Err(format!("line {number}: the token occurs on an earlier line"));
            }
        }
        if tokens.is_empty() {
            return Err("the file has no token; add a line of the form publish TOKEN".to_owned());
        }
        Ok(ChannelTokens(tokens))
    }

    /// The number of the request's token, if it permits `action` on the channel `name`; else what
    /// the client can do.
    pub(super) fn check(
        &self,
        headers: &HeaderMap,
        in_query: Option<&str>,
        action: ChannelAction,
        name: &str,
    ) -> Result<u32, Problem> {
        let field = headers.get(AUTHORIZATION).and_then(|field| field.to_str().ok());
        let bearer = field.and_then(|field| {
            let (scheme, token) = field.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
        });
        let Some(token) = bearer.or(in_query) else {
            return Err(refused(StatusCode::UNAUTHORIZED, text!(channel_token_needed)));
        };
        let Some(token) = self.0.get(&hash(token)) else {
            return Err(refused(StatusCode::UNAUTHORIZED, text!(channel_token_unknown)));
        };
        if action == ChannelAction::Publish && !token.may_publish {
            return Err(refused(StatusCode::FORBIDDEN, text!(channel_token_for_subscribing)));
        }
        if !token.names.is_empty() && !token.names.iter().any(|pattern| pattern.matches(name)) {
            return Err(refused(StatusCode::FORBIDDEN, text!(channel_token_for_others)));
        }
        Ok(token.line)
    }
}

impl NamePattern {
    fn parse(text: &str) -> Option<NamePattern> {
        let (name, is_prefix) = match text.strip_suffix('*') {
            Some(name) => (name, true),
            None => (text, false),
        };
        let fits = is_valid_name(name) || (is_prefix && name.is_empty());
        fits.then(|| NamePattern { name: name.to_owned(), is_prefix })
    }

    fn matches(&self, name: &str) -> bool {
        if self.is_prefix { name.starts_with(&self.name) } else { name == self.name }
    }
}

/// Hashed, so that the time of a lookup reveals nothing of a token.
fn hash(token: &str) -> [u8; 32] {
    blake3::hash(token.as_bytes()).into()
}

fn refused(status: StatusCode, detail: Text) -> Problem {
    let problem = Problem::new(status, detail).without_link_back();
    if status == StatusCode::UNAUTHORIZED {
        problem.challenge(HeaderValue::from_static("Bearer"))
    } else {
        problem
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "
        # the shop
        publish   0123456789abcdef
        subscribe fedcba9876543210 orders.* news
    ";

    fn check(
        authorization: &str,
        in_query: Option<&str>,
        action: ChannelAction,
        name: &str,
    ) -> Result<u32, u16> {
        let mut headers = HeaderMap::new();
        if !authorization.is_empty() {
            headers.insert(AUTHORIZATION, authorization.parse().unwrap());
        }
        let tokens = ChannelTokens::parse(FILE).unwrap();
        tokens.check(&headers, in_query, action, name).map_err(|problem| problem.status().as_u16())
    }

    #[test]
    fn tokens_are_for_what_their_line_says() {
        let (publish, subscribe) = ("Bearer 0123456789abcdef", "bearer fedcba9876543210");
        assert_eq!(check(publish, None, ChannelAction::Publish, "a"), Ok(3));
        assert_eq!(check(publish, None, ChannelAction::Subscribe, "a"), Ok(3));
        assert_eq!(check(subscribe, None, ChannelAction::Subscribe, "orders.7"), Ok(4));
        assert_eq!(check("", Some("fedcba9876543210"), ChannelAction::Subscribe, "news"), Ok(4));
        assert_eq!(check(subscribe, None, ChannelAction::Publish, "news"), Err(403));
        assert_eq!(check(subscribe, None, ChannelAction::Subscribe, "news.7"), Err(403));
        for nobody in ["", "Bearer", "Bearer x", "Basic 0123456789abcdef", "Bearer 0123456789abcdeg"] {
            assert_eq!(check(nobody, None, ChannelAction::Subscribe, "news"), Err(401), "{nobody}");
        }
    }

    #[test]
    fn a_file_that_makes_no_sense_is_refused_without_showing_a_token() {
        for (text, why) in [
            ("", "no token"),
            ("publish secret", "line 1: a token needs at least 16"),
            ("\n0123456789abcdef", "line 2 does not begin"),
            ("publish 0123456789abcdef a/b", "line 1: only names"),
            ("publish 0123456789abcdef\nsubscribe 0123456789abcdef", "line 2: the token occurs"),
        ] {
            let error = ChannelTokens::parse(text).unwrap_err();
            assert!(error.contains(why) && !error.contains("0123456789"), "{error}");
        }
    }
}
