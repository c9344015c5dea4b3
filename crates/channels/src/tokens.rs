//! Who may publish and subscribe: tokens, in a file.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, StatusCode};

use super::ask::is_name;
use outflow_web::Problem;

/// Longest file that is read, in bytes.
const FILE: u64 = 1 << 20;
/// Shortest token, in characters: nobody guesses it.
const SHORTEST: usize = 16;

/// Tokens and what they are for. Only their hashes are kept.
#[derive(Clone, Debug, Default)]
pub struct Tokens(HashMap<[u8; 32], Token>);

#[derive(Clone, Debug)]
struct Token {
    number: u32,
    publish: bool,
    /// The channels that it is for; if there are none, all.
    names: Vec<Pattern>,
}

/// A name, or what names begin with.
#[derive(Clone, Debug)]
struct Pattern {
    name: String,
    is_prefix: bool,
}

/// Why there are no tokens. No message shows one.
#[derive(Debug, thiserror::Error)]
pub enum TokensError {
    /// The file cannot be read.
    #[error("cannot read the channel tokens in {path}: {error}")]
    Io {
        /// The file.
        path: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// There is something else in it.
    #[error("the channel tokens in {path} make no sense: {what}")]
    Nonsense {
        /// The file.
        path: String,
        /// Where and why.
        what: String,
    },
}

/// What somebody wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    Publish,
    Subscribe,
}

impl Tokens {
    /// Reads a file of tokens: a line `publish TOKEN` or `subscribe TOKEN` for each, perhaps followed by the names of the
    /// channels that it is for; one that ends in `*` stands for all that begin so. Who may publish may subscribe as well.
    ///
    /// # Errors
    /// [`TokensError`].
    pub fn load(path: &Path) -> Result<Tokens, TokensError> {
        let failed = |error| TokensError::Io { path: path.display().to_string(), error };
        let file = File::open(path).map_err(failed)?;
        let mode = file.metadata().map_err(failed)?.mode();
        let mut text = String::new();
        file.take(FILE + 1).read_to_string(&mut text).map_err(failed)?;
        if mode & 0o026 != 0 {
            tracing::warn!(
                path = %path.display(),
                "others can read or change the channel tokens: chmod 600 would keep them secret"
            );
        }
        Tokens::parse(&text).map_err(|what| TokensError::Nonsense { path: path.display().to_string(), what })
    }

    fn parse(text: &str) -> Result<Tokens, String> {
        if text.len() as u64 > FILE {
            return Err(format!("it has more than {FILE} bytes"));
        }
        let mut tokens = HashMap::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let mut words = line.split_whitespace();
            let publish = match words.next() {
                Some("publish") => true,
                Some("subscribe") => false,
                _ => return Err(format!("line {number} begins neither with publish nor with subscribe")),
            };
            let token = words.next().unwrap_or_default();
            if token.len() < SHORTEST {
                return Err(format!(
                    "line {number}: a token has at least {SHORTEST} characters; `openssl rand -hex 16` makes one"
                ));
            }
            let names = words.map(Pattern::parse).collect::<Option<Vec<Pattern>>>();
            let names = names.ok_or_else(|| {
                format!("line {number}: behind the token stand names of channels, which may end in *")
            })?;
            let known = tokens.insert(hash(token), Token { number, publish, names });
            if known.is_some() {
                return Err(format!("line {number}: this token has a line already"));
            }
        }
        if tokens.is_empty() {
            return Err("there is none in it; a line is of the form publish TOKEN".to_owned());
        }
        Ok(Tokens(tokens))
    }

    /// The number of the token in a request that may do so; an error that says what to do if there is none.
    pub(super) fn check(
        &self,
        headers: &HeaderMap,
        in_query: Option<&str>,
        wish: Wish,
        name: &str,
    ) -> Result<u32, Problem> {
        let field = headers.get(AUTHORIZATION).and_then(|field| field.to_str().ok());
        let bearer = field.and_then(|field| {
            let (scheme, token) = field.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
        });
        let Some(token) = bearer.or(in_query) else {
            let detail = "This needs a token of the server's: send it as Authorization: Bearer TOKEN, or to subscribe as ?token=TOKEN.";
            return Err(refused(StatusCode::UNAUTHORIZED, detail));
        };
        let Some(token) = self.0.get(&hash(token)) else {
            let detail = "The server does not know this token. Ask whoever runs it for one.";
            return Err(refused(StatusCode::UNAUTHORIZED, detail));
        };
        if wish == Wish::Publish && !token.publish {
            let detail = "This token is for subscribing only.";
            return Err(refused(StatusCode::FORBIDDEN, detail));
        }
        if !token.names.is_empty() && !token.names.iter().any(|pattern| pattern.has(name)) {
            return Err(refused(StatusCode::FORBIDDEN, "This token is for other channels."));
        }
        Ok(token.number)
    }
}

impl Pattern {
    fn parse(text: &str) -> Option<Pattern> {
        let (name, is_prefix) = match text.strip_suffix('*') {
            Some(name) => (name, true),
            None => (text, false),
        };
        let fits = is_name(name) || (is_prefix && name.is_empty());
        fits.then(|| Pattern { name: name.to_owned(), is_prefix })
    }

    fn has(&self, name: &str) -> bool {
        if self.is_prefix { name.starts_with(&self.name) } else { name == self.name }
    }
}

/// What is compared takes no time that would tell a token.
fn hash(token: &str) -> [u8; 32] {
    blake3::hash(token.as_bytes()).into()
}

fn refused(status: StatusCode, detail: &str) -> Problem {
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

    fn ask(authorization: &str, in_query: Option<&str>, wish: Wish, name: &str) -> Result<u32, u16> {
        let mut headers = HeaderMap::new();
        if !authorization.is_empty() {
            headers.insert(AUTHORIZATION, authorization.parse().unwrap());
        }
        let tokens = Tokens::parse(FILE).unwrap();
        tokens.check(&headers, in_query, wish, name).map_err(|problem| problem.status().as_u16())
    }

    #[test]
    fn tokens_are_for_what_their_line_says() {
        let (publish, subscribe) = ("Bearer 0123456789abcdef", "bearer fedcba9876543210");
        assert_eq!(ask(publish, None, Wish::Publish, "a"), Ok(3));
        assert_eq!(ask(publish, None, Wish::Subscribe, "a"), Ok(3));
        assert_eq!(ask(subscribe, None, Wish::Subscribe, "orders.7"), Ok(4));
        assert_eq!(ask("", Some("fedcba9876543210"), Wish::Subscribe, "news"), Ok(4));
        assert_eq!(ask(subscribe, None, Wish::Publish, "news"), Err(403));
        assert_eq!(ask(subscribe, None, Wish::Subscribe, "news.7"), Err(403));
        for nobody in ["", "Bearer", "Bearer x", "Basic 0123456789abcdef", "Bearer 0123456789abcdeg"] {
            assert_eq!(ask(nobody, None, Wish::Subscribe, "news"), Err(401), "{nobody}");
        }
    }

    #[test]
    fn a_file_that_makes_no_sense_is_refused_without_showing_a_token() {
        for (text, why) in [
            ("", "there is none"),
            ("publish secret", "line 1: a token has at least 16"),
            ("\n0123456789abcdef", "line 2 begins neither"),
            ("publish 0123456789abcdef a/b", "line 1: behind the token"),
            ("publish 0123456789abcdef\nsubscribe 0123456789abcdef", "line 2: this token has a line"),
        ] {
            let error = Tokens::parse(text).unwrap_err();
            assert!(error.contains(why) && !error.contains("0123456789"), "{error}");
        }
    }
}
