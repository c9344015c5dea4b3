//! What requests come by: tokens are checked, and the keys' file is followed.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

use http::HeaderMap;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::keys::{Stamp, stamp};
use super::password::Passwords;
use super::{Keys, KeysError, Link, LinkError};

/// Memory for links that were checked already, in bytes.
const REMEMBERED: u64 = 8 << 20;
/// How often the file of the keys is looked at, at most.
const LOOK: Duration = Duration::from_secs(1);

/// Checks links. Clones share everything.
#[derive(Clone, Debug)]
pub struct Links(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    file: Option<KeyFile>,
    state: RwLock<Arc<State>>,
    passwords: Passwords,
}

/// The file that the keys come from.
#[derive(Debug)]
struct KeyFile {
    path: PathBuf,
    /// What its state was when it was looked at last; `None`: it could not be seen.
    stamp: Mutex<Option<Stamp>>,
    begun: Instant,
    /// When it is to be looked at again, in milliseconds after the beginning.
    due: AtomicU64,
}

/// Keys, and the links that were checked with them: other keys begin with none.
#[derive(Debug)]
pub(super) struct State {
    pub(super) keys: Keys,
    /// By the hash of the token, so that no lookup compares secret texts.
    checked: Cache<[u8; 32], Arc<Link>, Weight>,
}

#[derive(Clone, Debug)]
struct Weight;

impl Weighter<[u8; 32], Arc<Link>> for Weight {
    fn weight(&self, _: &[u8; 32], link: &Arc<Link>) -> u64 {
        let texts = link.scope.len() + link.recipient.as_ref().map_or(0, String::len);
        // Each name is kept twice: as it was written, and as a path.
        let files: usize = link.files.iter().map(|file| 2 * file.len() + link.scope.len() + 96).sum();
        (size_of::<Link>() + 256 + 2 * texts + files) as u64
    }
}

impl State {
    fn new(keys: Keys) -> Arc<State> {
        // What an average link takes.
        let items = (REMEMBERED / 1024) as usize;
        Arc::new(State { keys, checked: Cache::with_weighter(items, REMEMBERED, Weight) })
    }
}

impl Links {
    /// Links that are signed with the keys in a file. It is looked at again, at most once a second, when requests
    /// come: new keys are used from then on, a file that makes no sense is a line in the log, and the old keys stay.
    ///
    /// # Errors
    /// [`KeysError`].
    pub fn open(path: impl Into<PathBuf>) -> Result<Links, KeysError> {
        let path = path.into();
        let (keys, stamp) = Keys::load_stamped(&path)?;
        warn_if_exposed(&keys, &path);
        let file = KeyFile {
            path,
            stamp: Mutex::new(Some(stamp)),
            begun: Instant::now(),
            due: AtomicU64::new(LOOK.as_millis() as u64),
        };
        Ok(Links::with(Some(file), keys))
    }

    /// Links that are signed with `keys`, for as long as the program runs.
    #[must_use]
    pub fn new(keys: Keys) -> Links {
        Links::with(None, keys)
    }

    fn with(file: Option<KeyFile>, keys: Keys) -> Links {
        let state = RwLock::new(State::new(keys));
        Links(Arc::new(Inner { file, state, passwords: Passwords::new() }))
    }

    /// What `token` says, if it is genuine and its time is not over at `now`. The clock is taken as it is: a link
    /// expires at its second, and is good again if the clock is set back before it.
    ///
    /// # Errors
    /// [`LinkError::NotGenuine`], [`LinkError::Nonsense`], [`LinkError::Expired`].
    pub fn check(&self, token: &str, now: SystemTime) -> Result<Arc<Link>, LinkError> {
        let link = self.genuine(token)?;
        link.expiry(now).map_or(Ok(link), Err)
    }

    /// What `token` says, if it is genuine, whether or not its time is over.
    ///
    /// # Errors
    /// [`LinkError::NotGenuine`], [`LinkError::Nonsense`].
    pub fn genuine(&self, token: &str) -> Result<Arc<Link>, LinkError> {
        self.look_if_due();
        let state = self.state();
        let hash = *blake3::hash(token.as_bytes()).as_bytes();
        if let Some(link) = state.checked.get(&hash) {
            return Ok(link);
        }
        let link = Arc::new(state.keys.verify(token)?);
        state.checked.insert(hash, Arc::clone(&link));
        Ok(link)
    }

    /// Whether the request that `headers` belong to knows the link's password, if that can be said without computing
    /// for long: `None` if not.
    #[must_use]
    pub fn password_now(&self, link: &Link, headers: &HeaderMap) -> Option<Result<(), LinkError>> {
        self.0.passwords.check_now(link, headers)
    }

    /// Whether the request that `headers` belong to knows the link's password, if it has one. A password is given by
    /// HTTP Basic authentication, with any user name. One password at a time is computed, with 19 MiB of memory, on a
    /// thread that may block.
    ///
    /// # Errors
    /// [`LinkError::PasswordNeeded`], [`LinkError::PasswordWrong`], [`LinkError::TooManyTries`],
    /// [`LinkError::Failed`].
    pub async fn password(&self, link: &Arc<Link>, headers: &HeaderMap) -> Result<(), LinkError> {
        self.0.passwords.check(link, headers, &self.state()).await
    }

    /// How many passwords were computed since the start, right and wrong ones.
    #[must_use]
    pub fn passwords_computed(&self) -> usize {
        self.0.passwords.computed()
    }

    fn state(&self) -> Arc<State> {
        Arc::clone(&self.0.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn look_if_due(&self) {
        let Some(file) = &self.0.file else { return };
        let now = file.begun.elapsed().as_millis() as u64;
        let due = file.due.load(Ordering::Relaxed);
        let next = now + LOOK.as_millis() as u64;
        // One request looks, the others go on.
        if now >= due && file.due.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            self.look_now();
        }
    }

    /// Reads the keys again if their file is another one than before, without waiting for the next second.
    pub fn look_now(&self) {
        let Some(KeyFile { path, stamp: last, .. }) = &self.0.file else { return };
        let now = std::fs::metadata(path).ok().as_ref().map(stamp);
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        if *last == now {
            return;
        }
        match Keys::load_stamped(path) {
            Ok((keys, stamp)) => {
                *last = Some(stamp);
                warn_if_exposed(&keys, path);
                tracing::info!(file = %path.display(), ?keys, "the link keys were read again");
                *self.0.state.write().unwrap_or_else(PoisonError::into_inner) = State::new(keys);
            }
            Err(error) => {
                // Said once for each state of the file.
                *last = now;
                tracing::error!(%error, "the link keys stay as they were");
            }
        }
    }
}

fn warn_if_exposed(keys: &Keys, path: &std::path::Path) {
    if keys.is_exposed() {
        tracing::warn!(
            file = %path.display(),
            "others may read or change the link keys, and so make links: chmod 600 is what they need"
        );
    }
}
