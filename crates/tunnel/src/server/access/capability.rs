//! Capabilities: addresses that let any holder reach one target. A signed target with an expiry,
//! for one tunnel or many.
//!
//! ```text
//! /tunnel/c/<payload>.<HMAC-SHA-256 of it>    both in Base64 for URLs; the payload is JSON
//! {"t":"host:port","e":expiry, seconds since 1970,"n":"random","m":true if for many}
//! ```
//!
//! Used capabilities are recorded beside the key, in a file of lines `n expiry`, so that "once"
//! survives a restart. Expired ones are dropped.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::{Mutex, MutexGuard};
use ring::hmac;
use ring::rand::{SecureRandom as _, SystemRandom};
use serde::{Deserialize, Serialize};

use super::allow::TunnelTarget;

/// The path of capabilities, before the token.
pub(in crate::server) const PATH: &str = "/tunnel/c/";

/// Length of the longest token of a capability, in bytes; its host has at most 253.
///
/// Bound: tunnels.
const MAX_TOKEN_BYTES: usize = 700;
/// Length of the shortest key; a shorter one could be guessed.
const MIN_KEY_BYTES: usize = 32;
/// Size of the largest key file, in bytes.
///
/// Bound: tunnels.
const MAX_KEY_FILE_BYTES: u64 = 64 * 1024;
/// Used capabilities that are remembered until they expire. Beyond it, no capability for one tunnel
/// can be used.
///
/// Bound: tunnels.
const MAX_USED: usize = 100_000;
/// The longest time for which a capability is valid.
///
/// Bound: tunnels.
const MAX_LIFETIME: Duration = Duration::from_secs(366 * 24 * 3600);

/// The signed content of a capability.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CapabilityPayload {
    #[serde(rename = "t")]
    target: String,
    #[serde(rename = "e")]
    expires: u64,
    #[serde(rename = "n")]
    nonce: String,
    #[serde(rename = "m", default, skip_serializing_if = "std::ops::Not::not")]
    many: bool,
}

/// A capability with a valid signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capability {
    /// The target that it lets its holder reach.
    pub target: TunnelTarget,
    /// Identifies it.
    pub nonce: String,
    expires: u64,
    many: bool,
}

/// Why a capability cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CapabilityError {
    /// Not signed with the key, or incomplete.
    #[error("this address is incomplete, or was not issued by this server: ask for a new one")]
    Invalid,
    /// Its time is over.
    #[error("this address has expired: ask for a new one")]
    Expired,
    /// It was for one tunnel and has been used.
    #[error("this address was valid for one tunnel, and has been used: ask for a new one")]
    Used,
    /// Too many used ones to remember, or the disk failed.
    #[error("the server cannot record that this address is used: try again later")]
    NotRecorded,
}

/// Signs capabilities, verifies them, and records which have been used.
pub struct CapabilityKeys {
    key: hmac::Key,
    used: Mutex<UsedCapabilities>,
}

impl CapabilityKeys {
    /// Reads the key from a file: all of its bytes without surrounding white space.
    ///
    /// # Errors
    /// The file cannot be read or has no key of at least 32 bytes, or the file of used capabilities
    /// cannot be read or written.
    pub fn open(path: &Path) -> io::Result<CapabilityKeys> {
        let key = CapabilityKeys::read(path)?;
        let mut used = path.as_os_str().to_owned();
        used.push(".used");
        Ok(CapabilityKeys { key, used: Mutex::new(UsedCapabilities::open(PathBuf::from(used), now())?) })
    }

    /// Signs a capability, and returns its path. Records nothing.
    ///
    /// # Errors
    /// The key file cannot be read, or has no key.
    pub fn sign(path: &Path, target: &TunnelTarget, life: Duration, many: bool) -> io::Result<String> {
        let key = CapabilityKeys::read(path)?;
        let mut nonce = [0; 16];
        SystemRandom::new().fill(&mut nonce).map_err(|_| io::Error::other("no random numbers"))?;
        let expires = now().saturating_add(life.min(MAX_LIFETIME).as_secs());
        let nonce = URL_SAFE_NO_PAD.encode(nonce);
        let payload = CapabilityPayload { target: target.to_string(), expires, nonce, many };
        Ok(format!("{PATH}{}", token(&key, &payload)))
    }

    fn read(path: &Path) -> io::Result<hmac::Key> {
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        let size = std::fs::metadata(path).map_err(named)?.len();
        let bytes = if size <= MAX_KEY_FILE_BYTES { std::fs::read(path).map_err(named)? } else { Vec::new() };
        let bytes = bytes.trim_ascii();
        if bytes.len() < MIN_KEY_BYTES {
            let what = "has no key of at least 32 bytes; create one with openssl rand -base64 48";
            return Err(io::Error::other(format!("{} {what}", path.display())));
        }
        Ok(hmac::Key::new(hmac::HMAC_SHA256, bytes))
    }

    /// Verifies the signature of the token after the path. Expiry and use are checked by
    /// [`CapabilityKeys::spend`], because a client may resume a tunnel after its capability has
    /// expired.
    ///
    /// # Errors
    /// [`CapabilityError::Invalid`].
    pub fn verify(&self, token: &str) -> Result<Capability, CapabilityError> {
        let wrong = || CapabilityError::Invalid;
        if token.len() > MAX_TOKEN_BYTES {
            return Err(wrong());
        }
        let (payload, signature) = token.split_once('.').ok_or_else(wrong)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| wrong())?;
        hmac::verify(&self.key, payload.as_bytes(), &signature).map_err(|_| wrong())?;
        let payload = URL_SAFE_NO_PAD.decode(payload).map_err(|_| wrong())?;
        let payload: CapabilityPayload = serde_json::from_slice(&payload).map_err(|_| wrong())?;
        let target = payload.target.parse().map_err(|_| wrong())?;
        Ok(Capability { target, nonce: payload.nonce, expires: payload.expires, many: payload.many })
    }

    /// Checks that it can be used for a new tunnel now.
    ///
    /// # Errors
    /// It has expired or been used.
    pub fn check_usable(&self, capability: &Capability) -> Result<(), CapabilityError> {
        self.lock_usable(capability, now()).map(drop)
    }

    /// Uses it for a new tunnel. Blocks on the disk.
    ///
    /// # Errors
    /// It has expired or been used, or the use cannot be recorded.
    pub fn spend(&self, capability: &Capability) -> Result<(), CapabilityError> {
        self.spend_at(capability, now())
    }

    fn lock_usable(
        &self,
        capability: &Capability,
        now: u64,
    ) -> Result<MutexGuard<'_, UsedCapabilities>, CapabilityError> {
        let used = self.used.lock();
        if capability.expires <= now {
            return Err(CapabilityError::Expired);
        }
        if used.all.contains_key(&capability.nonce) {
            return Err(CapabilityError::Used);
        }
        Ok(used)
    }

    fn spend_at(&self, capability: &Capability, now: u64) -> Result<(), CapabilityError> {
        let mut used = self.lock_usable(capability, now)?;
        if capability.many {
            return Ok(());
        }
        used.add(&capability.nonce, capability.expires, now).map_err(|error| {
            tracing::error!(%error, path = %used.path.display(), "cannot record that a capability is used");
            CapabilityError::NotRecorded
        })
    }
}

fn token(key: &hmac::Key, payload: &CapabilityPayload) -> String {
    // Numbers and strings are always JSON.
    let payload = URL_SAFE_NO_PAD.encode(serde_json::to_vec(payload).unwrap_or_default());
    let signature = URL_SAFE_NO_PAD.encode(hmac::sign(key, payload.as_bytes()));
    format!("{payload}.{signature}")
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

/// Used capabilities that have not expired, in memory and on disk.
struct UsedCapabilities {
    path: PathBuf,
    file: File,
    all: HashMap<String, u64>,
    /// Lines in the file.
    lines: usize,
}

impl UsedCapabilities {
    fn open(path: PathBuf, now: u64) -> io::Result<UsedCapabilities> {
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(named(error)),
        };
        let mut all = HashMap::new();
        for line in text.lines() {
            // The last line may be incomplete after a crash; then no tunnel was granted for it.
            if let Some((nonce, expires)) = line.split_once(' ')
                && let Ok(expires) = expires.parse()
                && expires > now
            {
                all.insert(nonce.to_owned(), expires);
            }
        }
        let file = UsedCapabilities::write(&path, &all).map_err(named)?;
        Ok(UsedCapabilities { lines: all.len(), path, file, all })
    }

    /// Rewrites the file, and opens it for appending.
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
        if self.lines >= MAX_USED {
            self.all.retain(|_, expires| *expires > now);
            if self.all.len() >= MAX_USED {
                return Err(io::Error::other("too many capabilities have been used and not expired"));
            }
            self.file = UsedCapabilities::write(&self.path, &self.all)?;
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
        let path = CapabilityKeys::sign(path, &target, Duration::from_secs(60), many).unwrap();
        path.strip_prefix(PATH).unwrap().to_owned()
    }

    #[test]
    fn a_capability_is_good_once_also_after_a_restart() {
        let (_folder, path) = key_file();
        let keys = CapabilityKeys::open(&path).unwrap();
        let (once, many) = (signed(&path, false), signed(&path, true));
        let capability = keys.verify(&once).unwrap();
        assert_eq!(capability.target.to_string(), "[::1]:22");
        assert_eq!((keys.check_usable(&capability), keys.spend(&capability)), (Ok(()), Ok(())));
        assert_eq!(keys.check_usable(&capability), Err(CapabilityError::Used));
        assert_eq!(keys.spend(&capability), Err(CapabilityError::Used));
        let other = keys.verify(&many).unwrap();
        assert_eq!((keys.spend(&other), keys.spend(&other)), (Ok(()), Ok(())));
        // A crash cuts off a line.
        OpenOptions::new().append(true).open(path.with_extension("used")).unwrap().write_all(b"abc").unwrap();
        let keys = CapabilityKeys::open(&path).unwrap();
        assert_eq!(keys.spend(&keys.verify(&once).unwrap()), Err(CapabilityError::Used));
        assert_eq!(keys.spend(&keys.verify(&signed(&path, false)).unwrap()), Ok(()));
        assert_eq!(keys.spend_at(&other, now() + 61), Err(CapabilityError::Expired));
        // Expired ones are dropped.
        assert_eq!(UsedCapabilities::open(path.with_extension("used"), now() + 61).unwrap().all.len(), 0);
    }

    #[test]
    fn whatever_is_changed_in_it_makes_it_wrong() {
        let (_folder, path) = key_file();
        let keys = CapabilityKeys::open(&path).unwrap();
        let token = signed(&path, false);
        for at in 0..token.len() {
            let mut bytes = token.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            // The last character of Base64 has unused bits.
            let same = at + 1 == token.len() && keys.verify(&changed).is_ok();
            assert!(same || keys.verify(&changed) == Err(CapabilityError::Invalid), "{at}");
            assert_eq!(keys.verify(&token[..at]), Err(CapabilityError::Invalid), "{at}");
        }
        assert_eq!(keys.verify(&"a.".repeat(400)), Err(CapabilityError::Invalid));
        std::fs::write(&path, "another key, which is as long as it has to be").unwrap();
        assert_eq!(CapabilityKeys::open(&path).unwrap().verify(&token), Err(CapabilityError::Invalid));
    }

    #[test]
    fn a_file_without_a_key_says_how_to_make_one() {
        let (folder, path) = key_file();
        std::fs::write(&path, "short").unwrap();
        assert!(CapabilityKeys::open(&path).err().unwrap().to_string().contains("openssl rand"));
        assert!(
            CapabilityKeys::open(&folder.path().join("none")).err().unwrap().to_string().contains("none")
        );
    }
}
