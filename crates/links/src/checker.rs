//! Checks the tokens of requests, and follows changes of the file of keys.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use http::HeaderMap;
use parking_lot::{Mutex, RwLock};
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::error::LinkError;
use crate::keys::{KeyFileStamp, LinkKeys, LinkKeysError, stamp};
use crate::password::PasswordChecker;
use crate::terms::Link;

/// Memory of the cache of checked links, in bytes.
///
/// Bound: links.
const MAX_CACHED_BYTES: u64 = 8 << 20;
/// Minimum time between two checks of the file of keys.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Checks links. Clones share everything.
#[derive(Clone, Debug)]
pub struct LinkChecker(Arc<CheckerState>);

#[derive(Debug)]
struct CheckerState {
    file: Option<WatchedKeyFile>,
    current: RwLock<Arc<CheckedKeys>>,
    passwords: PasswordChecker,
}

/// The file that the keys come from, checked for changes when requests come.
#[derive(Debug)]
struct WatchedKeyFile {
    path: PathBuf,
    /// Its stamp at the last check; `None` if it was unreadable.
    stamp: Mutex<Option<KeyFileStamp>>,
    started: Instant,
    /// When the next check is due, in milliseconds after `started`.
    due: AtomicU64,
}

/// The keys and a cache of links that were checked with them. New keys start with an empty cache.
#[derive(Debug)]
struct CheckedKeys {
    keys: Arc<LinkKeys>,
    /// By the hash of the token, so that the time of a lookup reveals nothing of a token.
    checked: Cache<[u8; 32], Arc<Link>, LinkWeight>,
}

#[derive(Clone, Debug)]
struct LinkWeight;

impl Weighter<[u8; 32], Arc<Link>> for LinkWeight {
    fn weight(&self, _: &[u8; 32], link: &Arc<Link>) -> u64 {
        let texts = link.scope.len() + link.recipient.as_ref().map_or(0, String::len);
        // Each name is stored twice: as in the terms, and as a path.
        let files: usize = link.files.iter().map(|file| 2 * file.len() + link.scope.len() + 96).sum();
        (size_of::<Link>() + 256 + 2 * texts + files) as u64
    }
}

impl CheckedKeys {
    fn new(keys: LinkKeys) -> Arc<CheckedKeys> {
        // The size of an average link.
        let items = (MAX_CACHED_BYTES / 1024) as usize;
        Arc::new(CheckedKeys {
            keys: Arc::new(keys),
            checked: Cache::with_weighter(items, MAX_CACHED_BYTES, LinkWeight),
        })
    }
}

impl LinkChecker {
    /// Accepts links that are signed with the keys in a file. When requests come, the file is
    /// checked for changes once a second: new keys take effect then; if the file is invalid, the
    /// log says so and the old keys stay in use.
    ///
    /// # Errors
    /// [`LinkKeysError`].
    pub fn open(path: impl Into<PathBuf>) -> Result<LinkChecker, LinkKeysError> {
        let path = path.into();
        let (keys, stamp) = LinkKeys::load_stamped(&path)?;
        warn_if_exposed(&keys, &path);
        let file = WatchedKeyFile {
            path,
            stamp: Mutex::new(Some(stamp)),
            started: Instant::now(),
            due: AtomicU64::new(CHECK_INTERVAL.as_millis() as u64),
        };
        Ok(LinkChecker::with(Some(file), keys))
    }

    /// Accepts links that are signed with `keys`.
    #[must_use]
    pub fn new(keys: LinkKeys) -> LinkChecker {
        LinkChecker::with(None, keys)
    }

    fn with(file: Option<WatchedKeyFile>, keys: LinkKeys) -> LinkChecker {
        let current = RwLock::new(CheckedKeys::new(keys));
        LinkChecker(Arc::new(CheckerState { file, current, passwords: PasswordChecker::new() }))
    }

    /// The link of `token`, if it is genuine and has not expired at `now`. A link expires at its
    /// second, and is valid again if the clock is set back.
    ///
    /// # Errors
    /// [`LinkError::NotGenuine`], [`LinkError::Invalid`], [`LinkError::Expired`].
    pub fn check(&self, token: &str, now: SystemTime) -> Result<Arc<Link>, LinkError> {
        let link = self.genuine(token)?;
        link.expiry(now).map_or(Ok(link), Err)
    }

    /// The link of `token`, if it is genuine, whether or not it has expired.
    ///
    /// # Errors
    /// [`LinkError::NotGenuine`], [`LinkError::Invalid`].
    pub fn genuine(&self, token: &str) -> Result<Arc<Link>, LinkError> {
        self.reload_if_due();
        let current = self.current();
        let hash = *blake3::hash(token.as_bytes()).as_bytes();
        if let Some(link) = current.checked.get(&hash) {
            return Ok(link);
        }
        let link = Arc::new(current.keys.verify(token)?);
        current.checked.insert(hash, Arc::clone(&link));
        Ok(link)
    }

    /// The result of [`LinkChecker::password`], if it needs no computing; otherwise `None`.
    #[must_use]
    pub fn password_now(&self, link: &Link, headers: &HeaderMap) -> Option<Result<(), LinkError>> {
        self.0.passwords.check_now(link, headers)
    }

    /// Checks the link's password, if it has one, against the request's headers: HTTP Basic
    /// authentication with any user name. One password at a time is computed, with 19 MiB of
    /// memory, on a thread that may block.
    ///
    /// # Errors
    /// [`LinkError::PasswordNeeded`], [`LinkError::PasswordWrong`], [`LinkError::TooManyTries`],
    /// [`LinkError::Failed`].
    pub async fn password(&self, link: &Arc<Link>, headers: &HeaderMap) -> Result<(), LinkError> {
        self.0.passwords.check(link, headers, &self.current().keys).await
    }

    /// The number of passwords computed since the start, right and wrong ones.
    #[must_use]
    pub fn passwords_computed(&self) -> usize {
        self.0.passwords.computed()
    }

    fn current(&self) -> Arc<CheckedKeys> {
        Arc::clone(&self.0.current.read())
    }

    fn reload_if_due(&self) {
        let Some(file) = &self.0.file else { return };
        let now = file.started.elapsed().as_millis() as u64;
        let due = file.due.load(Ordering::Relaxed);
        let next = now + CHECK_INTERVAL.as_millis() as u64;
        // One request checks the file, the others continue.
        if now >= due && file.due.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            self.reload_if_changed();
        }
    }

    /// Reloads the keys if their file has changed, without waiting for the next check.
    pub fn reload_if_changed(&self) {
        let Some(WatchedKeyFile { path, stamp: last, .. }) = &self.0.file else { return };
        let now = std::fs::metadata(path).ok().as_ref().map(stamp);
        let mut last = last.lock();
        if *last == now {
            return;
        }
        match LinkKeys::load_stamped(path) {
            Ok((keys, stamp)) => {
                *last = Some(stamp);
                warn_if_exposed(&keys, path);
                tracing::info!(file = %path.display(), ?keys, "link keys reloaded");
                *self.0.current.write() = CheckedKeys::new(keys);
            }
            Err(error) => {
                // Log the error once for each change of the file.
                *last = now;
                tracing::error!(%error, "cannot reload the link keys; the old ones stay in use");
            }
        }
    }
}

fn warn_if_exposed(keys: &LinkKeys, path: &std::path::Path) {
    if keys.is_exposed() {
        tracing::warn!(
            file = %path.display(),
            "other users can read or change the link keys, and so create links; protect them with chmod 600"
        );
    }
}
