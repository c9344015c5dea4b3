//! The keys that sign links, and the file that they are in.

use std::fmt;
use std::fs::{File, Metadata};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::{GeneralPurpose, STANDARD, URL_SAFE_NO_PAD};
use base64::engine::{DecodePaddingMode, GeneralPurposeConfig};
use ring::rand::SecureRandom as _;
use ring::{digest, hmac, rand};
use serde::Deserialize;
use toml::de::{DeTable, DeValue};

use super::LinkError;
use super::terms::{BadTerms, Link, Terms, is_link_id};
use super::token::LONGEST;

/// What is signed begins with this, so that no signature can be taken for one of another kind.
const LINK: &[u8] = b"outflow-link-v1.";
/// The same for passwords.
const PASSWORD: &[u8] = b"outflow-link-password-v1.";
/// Longest file of keys that is read, in bytes, and most keys in it.
const FILE: u64 = 64 << 10;
const KEYS: usize = 100;
/// Memory in KiB, passes and lanes of argon2id: OWASP's second recommendation.
const ARGON2: (u32, u32, u32) = (19_456, 2, 1);

/// Keys by their ids. The first one signs; links of all of them are good.
#[derive(Clone)]
pub struct Keys {
    keys: Vec<Key>,
    exposed: bool,
}

#[derive(Clone)]
struct Key {
    id: String,
    hmac: hmac::Key,
}

/// Why there are no keys. No message shows a part of the file.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The file cannot be read.
    #[error("cannot read the link keys in {path}: {error}")]
    Io {
        /// The file.
        path: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// There is something else in it than keys.
    #[error("the link keys in {path} make no sense: {what}")]
    Nonsense {
        /// The file.
        path: String,
        /// Where and why.
        what: String,
    },
    /// The system gives no random numbers.
    #[error("the system gives no random numbers")]
    Random,
}

/// Tells one state of a file from the next.
pub(super) type Stamp = (u64, u64, i64, i64, u64);

impl Keys {
    /// Reads a file of keys: TOML, a line `id = "32 bytes in base64"` for each.
    ///
    /// # Errors
    /// [`KeysError`].
    pub fn load(path: &Path) -> Result<Keys, KeysError> {
        Keys::load_stamped(path).map(|(keys, _)| keys)
    }

    /// With the state that the file was in before it was read: what changes meanwhile is noticed the next time.
    pub(super) fn load_stamped(path: &Path) -> Result<(Keys, Stamp), KeysError> {
        let read = || -> std::io::Result<(String, Metadata)> {
            let file = File::open(path)?;
            let metadata = file.metadata()?;
            let mut text = String::new();
            file.take(FILE + 1).read_to_string(&mut text)?;
            Ok((text, metadata))
        };
        let (text, metadata) =
            read().map_err(|error| KeysError::Io { path: path.display().to_string(), error })?;
        let mut keys = Keys::parse(&text)
            .map_err(|what| KeysError::Nonsense { path: path.display().to_string(), what })?;
        // Read by others, or written by group or others.
        keys.exposed = metadata.mode() & 0o026 != 0;
        Ok((keys, stamp(&metadata)))
    }

    /// Reads the text of a file of keys.
    pub(super) fn parse(text: &str) -> Result<Keys, String> {
        if text.len() as u64 > FILE {
            return Err(format!("it has more than {FILE} bytes"));
        }
        let line_of = |at: usize| text.as_bytes()[..at.min(text.len())].split(|byte| *byte == b'\n').count();
        // The error's own text would show the line, and with it the key.
        let table = DeTable::parse(text).map_err(|error| {
            let line = line_of(error.span().map_or(0, |span| span.start));
            format!("line {line} is not of the form id = \"32 bytes in base64\": {}", error.message())
        })?;
        let mut entries: Vec<_> = table.into_inner().into_iter().collect();
        // A table is sorted by its keys, not by their places.
        entries.sort_by_key(|(id, _)| id.span().start);
        let mut keys = Vec::with_capacity(entries.len());
        for (id, value) in entries {
            let line = line_of(id.span().start);
            let id = id.into_inner().into_owned();
            if !is_link_id(&id) {
                return Err(format!(
                    "line {line}: a key's id has 1 to 64 letters, digits, hyphens and underscores"
                ));
            }
            let DeValue::String(secret) = value.into_inner() else {
                return Err(format!("line {line}: the key {id} is not a text in quotes"));
            };
            let secret = lenient().decode(secret.as_bytes()).ok().filter(|secret| secret.len() == 32);
            let secret = secret.ok_or_else(|| {
                format!("line {line}: the key {id} is not 32 bytes in base64; outflow link-key makes one")
            })?;
            keys.push(Key { id, hmac: hmac::Key::new(hmac::HMAC_SHA256, &secret) });
        }
        match keys.len() {
            0 => Err("there is no key; outflow link-key makes one".to_owned()),
            1..=KEYS => Ok(Keys { keys, exposed: false }),
            _ => Err(format!("there are more than {KEYS} keys")),
        }
    }

    /// A line for a file of keys, with a new key of the id `id`.
    ///
    /// # Errors
    /// [`KeysError::Random`].
    pub fn new_line(id: &str) -> Result<String, KeysError> {
        Ok(format!("{id} = \"{}\"", STANDARD.encode(random::<32>()?)))
    }

    /// A new id that nobody can guess, for a link.
    ///
    /// # Errors
    /// [`KeysError::Random`].
    pub fn new_link_id() -> Result<String, KeysError> {
        Ok(URL_SAFE_NO_PAD.encode(random::<16>()?))
    }

    /// The ids, the first one that of the key that signs.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(|key| key.id.as_str())
    }

    /// Whether the file can be read by others than its owner and group, or written by others than its owner.
    #[must_use]
    pub fn is_exposed(&self) -> bool {
        self.exposed
    }

    /// Signs `terms` with the first key, whose id they get.
    ///
    /// # Errors
    /// [`BadTerms`] if they make no link.
    pub fn sign(&self, mut terms: Terms) -> Result<String, BadTerms> {
        let key = self.first();
        terms.key.clone_from(&key.id);
        let link = Link::new(terms)?;
        // Texts and numbers are always JSON.
        let json = serde_json::to_vec(&*link).unwrap_or_default();
        let payload = URL_SAFE_NO_PAD.encode(json);
        let signature = hmac::sign(&key.hmac, &signed(&payload));
        let token = format!("{payload}.{}", URL_SAFE_NO_PAD.encode(signature));
        if token.len() > LONGEST {
            return Err(BadTerms(format!(
                "the link would be longer than {LONGEST} bytes; link to a folder of the files"
            )));
        }
        Ok(token)
    }

    /// Makes `password` necessary for the link that `terms`, whose id has been chosen, will be signed to. Takes some
    /// 20 ms and 19 MiB.
    ///
    /// # Errors
    /// [`BadTerms`] for a password that is empty or longer than 1,024 bytes.
    pub fn lock(&self, terms: &mut Terms, password: &[u8]) -> Result<(), BadTerms> {
        let stretched = stretch(&terms.id, password)
            .ok_or_else(|| BadTerms("a password has to have 1 to 1,024 bytes".to_owned()))?;
        let tag = hmac::sign(&self.first().hmac, &locked(&terms.id, &stretched));
        terms.password = Some(URL_SAFE_NO_PAD.encode(tag));
        Ok(())
    }

    /// What `token` says, if it was signed with one of the keys. Nothing is said about time.
    ///
    /// # Errors
    /// [`LinkError::NotGenuine`], [`LinkError::Nonsense`].
    pub fn verify(&self, token: &str) -> Result<Link, LinkError> {
        /// As much as must be believed before anything may be.
        #[derive(Deserialize)]
        struct Which {
            key: String,
        }
        if token.len() > LONGEST {
            return Err(LinkError::NotGenuine);
        }
        let (payload, signature) = token.rsplit_once('.').ok_or(LinkError::NotGenuine)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| LinkError::NotGenuine)?;
        let json = URL_SAFE_NO_PAD.decode(payload).map_err(|_| LinkError::NotGenuine)?;
        let which: Which = serde_json::from_slice(&json).map_err(|_| LinkError::NotGenuine)?;
        let key = self.key(&which.key).ok_or(LinkError::NotGenuine)?;
        // In constant time.
        hmac::verify(&key.hmac, &signed(payload), &signature).map_err(|_| LinkError::NotGenuine)?;
        // Whoever has the key wrote this, and may be told what is wrong with it.
        let terms: Terms =
            serde_json::from_slice(&json).map_err(|error| LinkError::Nonsense(error.to_string().into()))?;
        Link::new(terms).map_err(|error| LinkError::Nonsense(error.0.into()))
    }

    /// Whether what [`stretch`] made of a password opens `link`.
    pub(super) fn opens(&self, link: &Link, stretched: &[u8; 32]) -> bool {
        let (Some(key), Some(verifier)) = (self.key(&link.key), link.verifier()) else { return false };
        hmac::verify(&key.hmac, &locked(&link.id, stretched), verifier).is_ok()
    }

    fn first(&self) -> &Key {
        // Without a key there are no keys: see `parse`.
        &self.keys[0]
    }

    fn key(&self, id: &str) -> Option<&Key> {
        self.keys.iter().find(|key| key.id == id)
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.ids()).finish()
    }
}

pub(super) fn stamp(metadata: &Metadata) -> Stamp {
    (metadata.dev(), metadata.ino(), metadata.mtime(), metadata.mtime_nsec(), metadata.size())
}

/// Argon2id of a password, salted with the link's id. `None` for one of a length that none has. Blocks.
pub(super) fn stretch(id: &str, password: &[u8]) -> Option<[u8; 32]> {
    if !(1..=1024).contains(&password.len()) {
        return None;
    }
    let (memory, passes, lanes) = ARGON2;
    let params = Params::new(memory, passes, lanes, Some(32)).ok()?;
    let salt = digest::digest(&digest::SHA256, id.as_bytes());
    let mut stretched = [0; 32];
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    argon2.hash_password_into(password, &salt.as_ref()[..16], &mut stretched).ok()?;
    Some(stretched)
}

fn signed(payload: &str) -> Vec<u8> {
    [LINK, payload.as_bytes()].concat()
}

fn locked(id: &str, stretched: &[u8; 32]) -> Vec<u8> {
    [PASSWORD, id.as_bytes(), b".", stretched].concat()
}

fn random<const N: usize>() -> Result<[u8; N], KeysError> {
    let mut bytes = [0; N];
    rand::SystemRandom::new().fill(&mut bytes).map_err(|_| KeysError::Random)?;
    Ok(bytes)
}

/// The usual base64, with or without padding.
fn lenient() -> GeneralPurpose {
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    GeneralPurpose::new(&base64::alphabet::STANDARD, config)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const ONE: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

    #[test]
    fn the_first_line_signs() {
        let text = format!("# newest first\nz = \"{ONE}\"\n\n2026-11 = '{ONE}'\na=\"{}\"", &ONE[..43]);
        let keys = Keys::parse(&text).unwrap();
        assert_eq!(keys.ids().collect::<Vec<_>>(), ["z", "2026-11", "a"]);
        assert_eq!(format!("{keys:?}"), "[\"z\", \"2026-11\", \"a\"]");
    }

    #[test]
    fn a_new_key_is_a_line_of_the_file() {
        let (one, other) = (Keys::new_line("x").unwrap(), Keys::new_line("y").unwrap());
        assert_ne!(one[4..], other[4..]);
        let keys = Keys::parse(&format!("{one}\n{other}\n")).unwrap();
        assert_eq!(keys.ids().collect::<Vec<_>>(), ["x", "y"]);
        assert_ne!(Keys::new_link_id().unwrap(), Keys::new_link_id().unwrap());
        assert!(is_link_id(&Keys::new_link_id().unwrap()));
    }

    #[test]
    fn what_is_no_key_is_said_without_showing_it() {
        let secret = "c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0";
        for (text, says) in [
            (String::new(), "no key"),
            ("# nothing\n".to_owned(), "no key"),
            (format!("a = {secret}"), "line 1"),
            (format!("\na = \"{secret}"), "line 2"),
            (format!("a = \"{secret}\""), "line 1: the key a is not 32 bytes"),
            (format!("x = \"{ONE}\"\n'a b' = \"{secret}\""), "line 2"),
            (format!("x = \"{ONE}\"\nx = \"{secret}\""), "line 2"),
            ("x = 7".to_owned(), "not a text"),
            (format!("[x]\ny = \"{ONE}\""), "not a text"),
            (format!("{secret}{secret}"), "line 1"),
            ("#".repeat(70_000), "more than"),
            ((0..=100).map(|id| format!("{id} = \"{ONE}\"\n")).collect(), "more than 100"),
        ] {
            let error = Keys::parse(&text).unwrap_err();
            assert!(error.contains(says), "{text:.60}: {error}");
            assert!(!error.contains("c2Vj") && !error.contains("AAAA"), "{error}");
        }
    }

    #[test]
    fn a_file_that_others_may_read_is_noticed() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("keys");
        fs::write(&path, format!("x = \"{ONE}\"\n")).unwrap();
        for (mode, exposed) in [(0o600, false), (0o640, false), (0o644, true), (0o660, true)] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            assert_eq!(Keys::load(&path).unwrap().is_exposed(), exposed, "{mode:o}");
        }
        assert!(Keys::load(&temp.path().join("none")).unwrap_err().to_string().contains("none"));
        fs::write(&path, b"\xff").unwrap();
        assert!(Keys::load(&path).is_err());
    }

    #[test]
    fn a_password_is_stretched_as_documented() {
        // By the reference implementation (Python's argon2-cffi).
        let known = "bc80c11f42106f140aa09e7ace365c6afa1a73803bf24734690293d155003dcd";
        let stretched = stretch("id", b"secret").unwrap();
        assert_eq!(stretched.map(|byte| format!("{byte:02x}")).concat(), known);
        let keys = Keys::parse(&format!("k = \"{ONE}\"")).unwrap();
        let mut terms = Terms { id: "id".to_owned(), ..Terms::default() };
        keys.lock(&mut terms, b"secret").unwrap();
        assert_eq!(terms.password.unwrap(), "SfHyzEvhBaq0rhCNKakqjibZkMjSFT8SWW2Jr_rrBXI");
        assert!(stretch("id", b"").is_none() && stretch("id", &[b'x'; 1025]).is_none());
        assert_ne!(stretch("id", b"secret"), stretch("ie", b"secret"));
        assert_ne!(stretch("id", b"secret"), stretch("id", b"Secret"));
    }
}
