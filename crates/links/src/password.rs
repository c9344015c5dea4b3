//! Checks passwords of links: computes one at a time, caches right ones, and counts wrong ones.
//!
//! A link reveals nothing about its password, because the verifier in it is signed with the
//! server's key. So a password can be guessed only by asking the server, which is slow.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use parking_lot::Mutex;
use quick_cache::sync::Cache;
use tokio::sync::Semaphore;

use crate::error::LinkError;
use crate::keys::{LinkKeys, stretch};
use crate::terms::Link;

/// Number of wrong passwords for a link within [`WINDOW`]. Beyond it, the link answers 429 without
/// checking.
///
/// Bound: links.
const MAX_FAILURES: usize = 10;
/// Time for which wrong passwords count.
///
/// Bound: links.
const WINDOW: Duration = Duration::from_secs(60);
/// Number of right passwords in the cache, 32 bytes each.
///
/// Bound: links.
const MAX_CACHED: usize = 10_000;

#[derive(Debug)]
pub(crate) struct PasswordChecker {
    right: Arc<Cache<[u8; 32], ()>>,
    wrong: Arc<WrongPasswords>,
    /// One permit, held while a password is computed, which takes 19 MiB.
    computing: Arc<Semaphore>,
    computed: Arc<AtomicUsize>,
}

impl PasswordChecker {
    pub(crate) fn new() -> PasswordChecker {
        PasswordChecker {
            right: Arc::new(Cache::new(MAX_CACHED)),
            wrong: Arc::new(WrongPasswords::default()),
            computing: Arc::new(Semaphore::new(1)),
            computed: Arc::default(),
        }
    }

    pub(crate) fn computed(&self) -> usize {
        self.computed.load(Ordering::Relaxed)
    }

    /// The result, if it needs no computing.
    pub(crate) fn check_now(&self, link: &Link, headers: &HeaderMap) -> Option<Result<(), LinkError>> {
        let Some(verifier) = link.verifier() else { return Some(Ok(())) };
        let Some(given) = password_in(headers) else {
            return Some(Err(LinkError::PasswordNeeded { id: link.id.as_str().into() }));
        };
        if self.right.get(&cache_key(verifier, &given)).is_some() {
            return Some(Ok(()));
        }
        self.wrong.retry_after(verifier, Instant::now()).map(|wait| Err(LinkError::TooManyTries { wait }))
    }

    pub(crate) async fn check(
        &self,
        link: &Arc<Link>,
        headers: &HeaderMap,
        keys: &Arc<LinkKeys>,
    ) -> Result<(), LinkError> {
        if let Some(known) = self.check_now(link, headers) {
            return known;
        }
        let failed = |why: &dyn std::fmt::Display| LinkError::Failed(why.to_string().into());
        let permit = Arc::clone(&self.computing).acquire_owned().await.map_err(|closed| failed(&closed))?;
        // While this waited, another request may have tried the same password, or too many others.
        if let Some(known) = self.check_now(link, headers) {
            return known;
        }
        let (Some(verifier), Some(given)) = (link.verifier().copied(), password_in(headers)) else {
            return Err(LinkError::PasswordNeeded { id: link.id.as_str().into() });
        };
        let cache_key = cache_key(&verifier, &given);
        let (right, wrong) = (Arc::clone(&self.right), Arc::clone(&self.wrong));
        let (link, keys, computed) = (Arc::clone(link), Arc::clone(keys), Arc::clone(&self.computed));
        // A task of its own, so that a client that disconnects early is counted as well.
        let computing = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let stretched = stretch(&link.id, &given);
            let is_right = stretched.is_some_and(|stretched| keys.opens(&link, &stretched));
            if is_right {
                right.insert(cache_key, ());
            } else {
                wrong.count(&verifier, Instant::now());
            }
            computed.fetch_add(1, Ordering::Relaxed);
            if is_right { Ok(()) } else { Err(LinkError::PasswordWrong { id: link.id.as_str().into() }) }
        });
        computing.await.unwrap_or_else(|gone| Err(failed(&gone)))
    }
}

/// The cache's key of a right password for the link with this verifier.
fn cache_key(verifier: &[u8; 32], given: &[u8]) -> [u8; 32] {
    *blake3::keyed_hash(verifier, given).as_bytes()
}

/// The times of the wrong passwords within [`WINDOW`], by the link's verifier. Passwords are
/// computed one at a time, so there are some thousands at the most.
#[derive(Debug, Default)]
struct WrongPasswords(Mutex<HashMap<[u8; 32], Vec<Instant>>>);

impl WrongPasswords {
    fn count(&self, link: &[u8; 32], now: Instant) {
        let mut wrong = self.0.lock();
        wrong.retain(|_, times| {
            times.retain(|time| is_recent(*time, now));
            !times.is_empty()
        });
        wrong.entry(*link).or_default().push(now);
    }

    /// Time until the next attempt, if there were too many wrong ones.
    fn retry_after(&self, link: &[u8; 32], now: Instant) -> Option<Duration> {
        let wrong = self.0.lock();
        let mut recent: Vec<Instant> =
            wrong.get(link)?.iter().copied().filter(|time| is_recent(*time, now)).collect();
        recent.sort_unstable();
        let last = recent.len().checked_sub(MAX_FAILURES)?;
        Some(WINDOW.saturating_sub(now.saturating_duration_since(recent[last])))
    }
}

fn is_recent(time: Instant, now: Instant) -> bool {
    now.saturating_duration_since(time) < WINDOW
}

/// The password in an `Authorization: Basic` field (RFC 7617), raw.
fn password_in(headers: &HeaderMap) -> Option<Vec<u8>> {
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
            assert_eq!(password_in(&headers).as_deref(), password.map(str::as_bytes), "{field}");
        }
        assert_eq!(password_in(&HeaderMap::new()), None);
    }

    #[test]
    fn ten_wrong_ones_in_a_minute_are_enough() {
        let wrong = WrongPasswords::default();
        let (link, other, start) = ([1; 32], [2; 32], Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        for second in 0..9 {
            wrong.count(&link, at(second));
            assert_eq!(wrong.retry_after(&link, at(second)), None);
        }
        wrong.count(&link, at(20));
        assert_eq!(wrong.retry_after(&link, at(20)), Some(Duration::from_secs(40)));
        assert_eq!(wrong.retry_after(&link, at(59)), Some(Duration::from_secs(1)));
        assert_eq!(wrong.retry_after(&other, at(20)), None);
        assert_eq!(wrong.retry_after(&link, at(60)), None);
        wrong.count(&link, at(60));
        assert_eq!(wrong.retry_after(&link, at(60)), Some(Duration::from_secs(1)));
        wrong.count(&other, at(200));
        assert_eq!(wrong.0.lock().len(), 1, "what is long ago is forgotten");
    }
}
