//! Users, who are known by a token, and what each may use.

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, PROXY_AUTHORIZATION};
use http::{HeaderMap, HeaderName};
use ring::digest::{SHA256, digest};
use serde::Deserialize;

use super::allow::AllowList;

/// Length of the shortest token; a shorter one could be guessed.
const MIN_TOKEN_BYTES: usize = 16;
/// Users of one server.
///
/// Bound: tunnels.
const MAX_USERS: usize = 10_000;

/// A user with a token.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct User {
    /// Names the user in the log, in quotas and in sessions.
    pub name: String,
    /// The secret, at least 16 bytes.
    pub token: Secret,
    /// Targets that the user may reach; without it, those of the server.
    pub allow: Option<AllowList>,
    /// Addresses of the server that the user may listen on (`--reverse`).
    #[serde(default)]
    pub listen: AllowList,
    /// Tunnels at the same time; without it, the limit of the server.
    pub tunnels: Option<usize>,
}

/// A text that `Debug` does not print.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(hidden)")
    }
}

/// All users, by their tokens.
#[derive(Clone, Debug, Default)]
pub struct Users(HashMap<[u8; 32], Arc<User>>);

impl Users {
    /// Indexes a list of users.
    ///
    /// # Errors
    /// A name is empty or repeated, a token short or repeated.
    pub fn new(list: Vec<User>) -> Result<Users, String> {
        if list.len() > MAX_USERS {
            return Err(format!("{} users are too many: {MAX_USERS} is the maximum", list.len()));
        }
        let mut users = Users::default();
        let mut names = std::collections::HashSet::new();
        for user in list {
            let name = user.name.clone();
            if name.is_empty() || name.len() > 100 || name.chars().any(char::is_control) {
                return Err(format!("{name:?} is not a user name: a name has 1 to 100 printable bytes"));
            }
            if user.token.0.len() < MIN_TOKEN_BYTES {
                return Err(format!(
                    "the token of {name} is too short: at least {MIN_TOKEN_BYTES} bytes, such as openssl rand -hex 24 prints"
                ));
            }
            if !names.insert(name.clone()) {
                return Err(format!("there are two users {name}"));
            }
            if users.0.insert(hash(user.token.0.as_bytes()), Arc::new(user)).is_some() {
                return Err(format!("the token of {name} belongs to another user, too"));
            }
        }
        Ok(users)
    }

    /// Whether there are no users.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a user has a list of their own.
    #[must_use]
    pub fn have_own_lists(&self) -> bool {
        self.0.values().any(|user| user.allow.is_some() || !user.listen.is_empty())
    }

    /// The user who sent a request, by its token.
    pub(in crate::server) fn find(&self, headers: &HeaderMap) -> Option<Arc<User>> {
        let of = |name: HeaderName| self.0.get(&hash(&token(headers, &name)?)).cloned();
        of(AUTHORIZATION).or_else(|| of(PROXY_AUTHORIZATION))
    }
}

/// A hash, so that the time of a look-up reveals nothing of a token.
fn hash(token: &[u8]) -> [u8; 32] {
    let mut key = [0; 32];
    key.copy_from_slice(digest(&SHA256, token).as_ref());
    key
}

/// The token of a request: `Bearer TOKEN`, or `Basic` with any user name and the token as the
/// password.
fn token(headers: &HeaderMap, name: &HeaderName) -> Option<Vec<u8>> {
    let (scheme, value) = headers.get(name)?.to_str().ok()?.split_once(' ')?;
    let value = value.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(value.as_bytes().to_vec());
    }
    let decoded = scheme.eq_ignore_ascii_case("basic").then(|| STANDARD.decode(value).ok())??;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    Some(decoded[colon + 1..].to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str, token: &str) -> User {
        User {
            name: name.into(),
            token: Secret(token.into()),
            allow: None,
            listen: AllowList::default(),
            tunnels: None,
        }
    }

    #[test]
    fn users_are_known_by_their_token_however_it_is_sent() {
        let users =
            Users::new(vec![user("anna", "0123456789abcdef"), user("ben", "fedcba9876543210")]).unwrap();
        let basic = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
        for (name, value, who) in [
            ("authorization", "Bearer 0123456789abcdef".to_owned(), Some("anna")),
            ("authorization", "bearer  fedcba9876543210 ".to_owned(), Some("ben")),
            ("proxy-authorization", basic("whoever:0123456789abcdef"), Some("anna")),
            ("authorization", basic(":fedcba9876543210"), Some("ben")),
            ("authorization", basic("0123456789abcdef"), None),
            ("authorization", "Bearer 0123456789abcdeF".to_owned(), None),
            ("authorization", "Bearer".to_owned(), None),
            ("authorization", "Basic !".to_owned(), None),
            ("authorization", "Digest 0123456789abcdef".to_owned(), None),
            ("cookie", "Bearer 0123456789abcdef".to_owned(), None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(HeaderName::try_from(name).unwrap(), value.parse().unwrap());
            let found = users.find(&headers);
            assert_eq!(found.as_ref().map(|user| user.name.as_str()), who, "{name}: {value}");
        }
        assert!(!format!("{users:?}").contains("0123456789abcdef"));
    }

    #[test]
    fn lists_that_would_mix_people_up_are_refused() {
        for (list, why) in [
            (vec![user("a", "short")], "too short"),
            (vec![user("", "0123456789abcdef")], "not a user name"),
            (vec![user("a", "0123456789abcdef"), user("a", "1123456789abcdef")], "two users"),
            (vec![user("a", "0123456789abcdef"), user("b", "0123456789abcdef")], "another user"),
        ] {
            let error = Users::new(list).unwrap_err();
            assert!(error.contains(why), "{error}");
            assert!(!error.contains("0123456789abcdef"), "{error}");
        }
    }
}
