//! Addresses that are allowed to whoever has them: a signed target with an expiry, good for one tunnel or for many.
//!
//! ```text
//! /tunnel/c/<payload>.<HMAC-SHA-256 of it>    both in Base64 for URLs; the payload is JSON
//! {"t":"host:port","e":expiry, seconds since 1970,"n":"random","m":true if for many}
//! ```
//!
//! Which ones have been used is kept beside the key, in a file of lines `n expiry`, so that "once" means once after a
//! restart as well. An expired one is forgotten.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use ring::rand::{SecureRandom as _, SystemRandom};
use serde::{Deserialize, Serialize};

use super::allow::Target;

/// Where capabilities are, without the token.
pub const PATH: &str = "/tunnel/c/";

/// The longest token, in bytes: a host has 253 at the most.
const LONGEST: usize = 700;
/// A shorter key could be guessed, in bytes.
const SHORTEST_KEY: usize = 32;
/// A larger file is no key, in bytes.
const LARGEST_KEY: u64 = 64 * 1024;
/// Used ones that are remembered; when there are more, no further one can be used.
const REMEMBERED: usize = 100_000;
/// A time that no capability lasts as long as.
const LONGEST_LIFE: Duration = Duration::from_secs(366 * 24 * 3600);

/// What a capability says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Payload {
    #[serde(rename = "t")]
    target: String,
    #[serde(rename = "e")]
    expires: u64,
    #[serde(rename = "n")]
    nonce: String,
    #[serde(rename = "m", default, skip_serializing_if = "std::ops::Not::not")]
    many: bool,
}

/// A capability whose signature is right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capability {
    /// What it is for.
    pub target: Target,
    /// By what it is known.
    pub nonce: String,
    expires: u64,
    many: bool,
}

/// Why one is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// Not signed with the key, or not whole.
    #[error("this address is not one that was given out here, or not all of it")]
    Wrong,
    /// Too late.
    #[error("this address has expired: ask for a new one")]
    Expired,
    /// Used before.
    #[error("this address was good for one tunnel, and has been used: ask for a new one")]
    Used,
    /// Too many, or the note cannot be written.
    #[error("the server cannot take note that this address is used: try again later")]
    Unnoted,
}

/// Signs capabilities, and knows which have been used.
pub struct Keys {
    key: hmac::Key,
    used: Mutex<Used>,
}

impl Keys {
    /// With the key that a file has, all of its bytes less the space around them.
    ///
    /// # Errors
    /// The file cannot be read, or has no key of at least 32 bytes; that of used ones cannot be read or written.
    pub fn open(path: &Path) -> io::Result<Keys> {
        let key = Keys::read(path)?;
        let mut used = path.as_os_str().to_owned();
        used.push(".used");
        Ok(Keys { key, used: Mutex::new(Used::open(PathBuf::from(used), now())?) })
    }

    /// Makes the path of a capability, without noting anything.
    ///
    /// # Errors
    /// The key's file cannot be read, or has no key.
    pub fn sign(path: &Path, target: &Target, life: Duration, many: bool) -> io::Result<String> {
        let key = Keys::read(path)?;
        let mut nonce = [0; 16];
        SystemRandom::new().fill(&mut nonce).map_err(|_| io::Error::other("no random numbers"))?;
        let expires = now().saturating_add(life.min(LONGEST_LIFE).as_secs());
        let nonce = URL_SAFE_NO_PAD.encode(nonce);
        let payload = Payload { target: target.to_string(), expires, nonce, many };
        Ok(format!("{PATH}{}", token(&key, &payload)))
    }

    fn read(path: &Path) -> io::Result<hmac::Key> {
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        let size = std::fs::metadata(path).map_err(named)?.len();
        let bytes = if size <= LARGEST_KEY { std::fs::read(path).map_err(named)? } else { Vec::new() };
        let bytes = bytes.trim_ascii();
        if bytes.len() < SHORTEST_KEY {
            let what = "has no key of at least 32 bytes; openssl rand -base64 48 makes one";
            return Err(io::Error::other(format!("{} {what}", path.display())));
        }
        Ok(hmac::Key::new(hmac::HMAC_SHA256, bytes))
    }

    /// Reads what stands behind [`PATH`], and checks the signature. Whether it has expired or been used is for
    /// [`Keys::spend`]: who comes back to a tunnel that began in time need not be in time again.
    ///
    /// # Errors
    /// [`Unusable::Wrong`].
    pub fn check(&self, token: &str) -> Result<Capability, Unusable> {
        let wrong = || Unusable::Wrong;
        if token.len() > LONGEST {
            return Err(wrong());
        }
        let (payload, signature) = token.split_once('.').ok_or_else(wrong)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| wrong())?;
        hmac::verify(&self.key, payload.as_bytes(), &signature).map_err(|_| wrong())?;
        let payload = URL_SAFE_NO_PAD.decode(payload).map_err(|_| wrong())?;
        let payload: Payload = serde_json::from_slice(&payload).map_err(|_| wrong())?;
        let target = payload.target.parse().map_err(|_| wrong())?;
        Ok(Capability { target, nonce: payload.nonce, expires: payload.expires, many: payload.many })
    }

    /// Whether it could be used for a new tunnel now.
    ///
    /// # Errors
    /// [`Unusable`]: `Expired` or `Used`.
    pub fn look(&self, capability: &Capability) -> Result<(), Unusable> {
        self.look_at(capability, now()).map(drop)
    }

    /// Uses it for a new tunnel. Waits for the disk.
    ///
    /// # Errors
    /// [`Unusable`], all but `Wrong`.
    pub fn spend(&self, capability: &Capability) -> Result<(), Unusable> {
        self.spend_at(capability, now())
    }

    fn look_at(&self, capability: &Capability, now: u64) -> Result<MutexGuard<'_, Used>, Unusable> {
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if capability.expires <= now {
            return Err(Unusable::Expired);
        }
        if used.all.contains_key(&capability.nonce) {
            return Err(Unusable::Used);
        }
        Ok(used)
    }

    fn spend_at(&self, capability: &Capability, now: u64) -> Result<(), Unusable> {
        let mut used = self.look_at(capability, now)?;
        if capability.many {
            return Ok(());
        }
        used.add(&capability.nonce, capability.expires, now).map_err(|error| {
            tracing::error!(%error, path = %used.path.display(), "cannot take note that a capability is used");
            Unusable::Unnoted
        })
    }
}

fn token(key: &hmac::Key, payload: &Payload) -> String {
    // Numbers and strings are always JSON.
    let payload = URL_SAFE_NO_PAD.encode(serde_json::to_vec(payload).unwrap_or_default());
    let signature = URL_SAFE_NO_PAD.encode(hmac::sign(key, payload.as_bytes()));
    format!("{payload}.{signature}")
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

/// Those that have been used and have not expired, here and on disk.
struct Used {
    path: PathBuf,
    file: File,
    all: HashMap<String, u64>,
    /// Lines in the file.
    lines: usize,
}

impl Used {
    fn open(path: PathBuf, now: u64) -> io::Result<Used> {
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(named(error)),
        };
        let mut all = HashMap::new();
        for line in text.lines() {
            // The last one is not whole after a crash; then nobody was told that it had been noted.
            if let Some((nonce, expires)) = line.split_once(' ')
                && let Ok(expires) = expires.parse()
                && expires > now
            {
                all.insert(nonce.to_owned(), expires);
            }
        }
        let file = Used::write(&path, &all).map_err(named)?;
        Ok(Used { lines: all.len(), path, file, all })
    }

    /// Writes the file anew, and gives it back to be gone on with.
    fn write(path: &Path, all: &HashMap<String, u64>) -> io::Result<File> {
        let mut next = path.as_os_str().to_owned();
        next.push(".new");
        let lines: String = all.iter().map(|(nonce, expires)| format!("{nonce} {expires}\n")).collect();
        let mut file = File::create(&next)?;
        file.write_all(lines.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&next, path)?;
        OpenOptions::new().append(true).open(path)
    }

    fn add(&mut self, nonce: &str, expires: u64, now: u64) -> io::Result<()> {
        if self.lines >= REMEMBERED {
            self.all.retain(|_, expires| *expires > now);
            if self.all.len() >= REMEMBERED {
                return Err(io::Error::other("too many are in use"));
            }
            self.file = Used::write(&self.path, &self.all)?;
            self.lines = self.all.len();
        }
        self.file.write_all(format!("{nonce} {expires}\n").as_bytes())?;
        self.file.sync_data()?;
        self.lines += 1;
        self.all.insert(nonce.to_owned(), expires);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key_file() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, "0123456789abcdef0123456789abcdef\n").unwrap();
        (folder, path)
    }

    fn signed(path: &Path, many: bool) -> String {
        let target = "[::1]:22".parse().unwrap();
        let path = Keys::sign(path, &target, Duration::from_secs(60), many).unwrap();
        path.strip_prefix(PATH).unwrap().to_owned()
    }

    #[test]
    fn a_capability_is_good_once_also_after_a_restart() {
        let (_folder, path) = key_file();
        let keys = Keys::open(&path).unwrap();
        let (once, many) = (signed(&path, false), signed(&path, true));
        let capability = keys.check(&once).unwrap();
        assert_eq!(capability.target.to_string(), "[::1]:22");
        assert_eq!((keys.look(&capability), keys.spend(&capability)), (Ok(()), Ok(())));
        assert_eq!(keys.look(&capability), Err(Unusable::Used));
        assert_eq!(keys.spend(&capability), Err(Unusable::Used));
        let other = keys.check(&many).unwrap();
        assert_eq!((keys.spend(&other), keys.spend(&other)), (Ok(()), Ok(())));
        // A line that a crash cut off.
        OpenOptions::new().append(true).open(path.with_extension("used")).unwrap().write_all(b"abc").unwrap();
        let keys = Keys::open(&path).unwrap();
        assert_eq!(keys.spend(&keys.check(&once).unwrap()), Err(Unusable::Used));
        assert_eq!(keys.spend(&keys.check(&signed(&path, false)).unwrap()), Ok(()));
        assert_eq!(keys.spend_at(&other, now() + 61), Err(Unusable::Expired));
        // What has expired is forgotten.
        assert_eq!(Used::open(path.with_extension("used"), now() + 61).unwrap().all.len(), 0);
    }

    #[test]
    fn whatever_is_changed_in_it_makes_it_wrong() {
        let (_folder, path) = key_file();
        let keys = Keys::open(&path).unwrap();
        let token = signed(&path, false);
        for at in 0..token.len() {
            let mut bytes = token.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            // The last character of Base64 has bits that mean nothing.
            let same = at + 1 == token.len() && keys.check(&changed).is_ok();
            assert!(same || keys.check(&changed) == Err(Unusable::Wrong), "{at}");
            assert_eq!(keys.check(&token[..at]), Err(Unusable::Wrong), "{at}");
        }
        assert_eq!(keys.check(&"a.".repeat(400)), Err(Unusable::Wrong));
        std::fs::write(&path, "another key, which is as long as it has to be").unwrap();
        assert_eq!(Keys::open(&path).unwrap().check(&token), Err(Unusable::Wrong));
    }

    #[test]
    fn a_file_without_a_key_says_how_to_make_one() {
        let (folder, path) = key_file();
        std::fs::write(&path, "short").unwrap();
        assert!(Keys::open(&path).err().unwrap().to_string().contains("openssl rand"));
        assert!(Keys::open(&folder.path().join("none")).err().unwrap().to_string().contains("none"));
    }
}
