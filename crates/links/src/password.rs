//! Passwords of links: computed one at a time, remembered when they are right, and counted when they are not.
//!
//! Nothing in a link helps to guess its password: what is compared is signed with the server's key. So guessing is
//! possible only here, and here it is slow.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use quick_cache::sync::Cache;
use tokio::sync::Semaphore;

use super::keys::stretch;
use super::links::State;
use super::{Link, LinkError};

/// So many wrong passwords in so long a time, and the link's password is not looked at.
const TRIES: usize = 10;
const WINDOW: Duration = Duration::from_secs(60);
/// Right passwords that are remembered, 32 bytes each.
const REMEMBERED: usize = 10_000;

#[derive(Debug)]
pub(super) struct Passwords {
    right: Arc<Cache<[u8; 32], ()>>,
    wrong: Arc<Wrong>,
    /// Held while a password is computed: each takes 19 MiB.
    one: Arc<Semaphore>,
    computed: Arc<AtomicUsize>,
}

impl Passwords {
    pub(super) fn new() -> Passwords {
        Passwords {
            right: Arc::new(Cache::new(REMEMBERED)),
            wrong: Arc::new(Wrong::default()),
            one: Arc::new(Semaphore::new(1)),
            computed: Arc::default(),
        }
    }

    pub(super) fn computed(&self) -> usize {
        self.computed.load(Ordering::Relaxed)
    }

    /// The answer, if it needs no computing.
    pub(super) fn check_now(&self, link: &Link, headers: &HeaderMap) -> Option<Result<(), LinkError>> {
        let Some(verifier) = link.verifier() else { return Some(Ok(())) };
        let Some(given) = given(headers) else {
            return Some(Err(LinkError::PasswordNeeded { id: link.id.as_str().into() }));
        };
        if self.right.get(&mark(verifier, &given)).is_some() {
            return Some(Ok(()));
        }
        self.wrong.refuses(verifier, Instant::now()).map(|wait| Err(LinkError::TooManyTries { wait }))
    }

    pub(super) async fn check(
        &self,
        link: &Arc<Link>,
        headers: &HeaderMap,
        state: &Arc<State>,
    ) -> Result<(), LinkError> {
        if let Some(known) = self.check_now(link, headers) {
            return known;
        }
        let failed = |why: &dyn std::fmt::Display| LinkError::Failed(why.to_string().into());
        let permit = Arc::clone(&self.one).acquire_owned().await.map_err(|closed| failed(&closed))?;
        // Somebody else may have given the same one, or too many others, while this waited.
        if let Some(known) = self.check_now(link, headers) {
            return known;
        }
        let (Some(verifier), Some(given)) = (link.verifier().copied(), given(headers)) else {
            return Err(LinkError::PasswordNeeded { id: link.id.as_str().into() });
        };
        let mark = mark(&verifier, &given);
        let (right, wrong) = (Arc::clone(&self.right), Arc::clone(&self.wrong));
        let (link, state, computed) = (Arc::clone(link), Arc::clone(state), Arc::clone(&self.computed));
        // Whoever does not wait for the answer is counted all the same.
        let computing = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let stretched = stretch(&link.id, &given);
            let is_right = stretched.is_some_and(|stretched| state.keys.opens(&link, &stretched));
            if is_right {
                right.insert(mark, ());
            } else {
                wrong.count(&verifier, Instant::now());
            }
            computed.fetch_add(1, Ordering::Relaxed);
            if is_right { Ok(()) } else { Err(LinkError::PasswordWrong { id: link.id.as_str().into() }) }
        });
        computing.await.unwrap_or_else(|gone| Err(failed(&gone)))
    }
}

/// By which a right password is remembered, together with the link that it opens.
fn mark(verifier: &[u8; 32], given: &[u8]) -> [u8; 32] {
    *blake3::keyed_hash(verifier, given).as_bytes()
}

/// The wrong passwords of the last minute, by the link. They are computed one at a time, so there are at most as many
/// as that takes a minute, some thousands.
#[derive(Debug, Default)]
struct Wrong(Mutex<HashMap<[u8; 32], Vec<Instant>>>);

impl Wrong {
    fn count(&self, link: &[u8; 32], now: Instant) {
        let mut wrong = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        wrong.retain(|_, times| {
            times.retain(|time| is_recent(*time, now));
            !times.is_empty()
        });
        wrong.entry(*link).or_default().push(now);
    }

    /// How long it takes until a password is looked at again, if there were too many.
    fn refuses(&self, link: &[u8; 32], now: Instant) -> Option<Duration> {
        let wrong = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut recent: Vec<Instant> =
            wrong.get(link)?.iter().copied().filter(|time| is_recent(*time, now)).collect();
        recent.sort_unstable();
        let last = recent.len().checked_sub(TRIES)?;
        Some(WINDOW.saturating_sub(now.saturating_duration_since(recent[last])))
    }
}

fn is_recent(time: Instant, now: Instant) -> bool {
    now.saturating_duration_since(time) < WINDOW
}

/// The password of an `Authorization: Basic` (RFC 7617), raw.
fn given(headers: &HeaderMap) -> Option<Vec<u8>> {
    let (scheme, credentials) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("Basic") {
        return None;
    }
    let mut credentials = STANDARD.decode(credentials.trim_start()).ok()?;
    let colon = credentials.iter().position(|byte| *byte == b':')?;
    Some(credentials.split_off(colon + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_what_follows_the_first_colon() {
        for (field, password) in [
            ("Basic OnNlY3JldA==", Some("secret")),
            ("basic  YW5uYTpzZTpjcmV0", Some("se:cret")),
            ("BASIC YW5uYTo=", Some("")),
            ("Basic YW5uYQ==", None),
            ("Basic", None),
            ("Basic ***", None),
            ("Bearer OnNlY3JldA==", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, field.parse().unwrap());
            assert_eq!(given(&headers).as_deref(), password.map(str::as_bytes), "{field}");
        }
        assert_eq!(given(&HeaderMap::new()), None);
    }

    #[test]
    fn ten_wrong_ones_in_a_minute_are_enough() {
        let wrong = Wrong::default();
        let (link, other, start) = ([1; 32], [2; 32], Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        for second in 0..9 {
            wrong.count(&link, at(second));
            assert_eq!(wrong.refuses(&link, at(second)), None);
        }
        wrong.count(&link, at(20));
        assert_eq!(wrong.refuses(&link, at(20)), Some(Duration::from_secs(40)));
        assert_eq!(wrong.refuses(&link, at(59)), Some(Duration::from_secs(1)));
        assert_eq!(wrong.refuses(&other, at(20)), None);
        assert_eq!(wrong.refuses(&link, at(60)), None);
        wrong.count(&link, at(60));
        assert_eq!(wrong.refuses(&link, at(60)), Some(Duration::from_secs(1)));
        wrong.count(&other, at(200));
        assert_eq!(wrong.0.lock().unwrap().len(), 1, "what is long ago is forgotten");
    }
}
