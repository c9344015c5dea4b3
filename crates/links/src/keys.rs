//! The keys that sign links, in a file.

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

use crate::address::MAX_TOKEN;
use crate::error::LinkError;
use crate::terms::{InvalidTerms, Link, Terms, is_link_id};

/// Prefix of the signed text, so that a signature cannot be reused for another purpose.
const LINK_CONTEXT: &[u8] = b"outflow-link-v1.";
/// The same for password verifiers.
const PASSWORD_CONTEXT: &[u8] = b"outflow-link-password-v1.";
/// Size of the file of link keys, in bytes.
///
/// Bound: links.
const MAX_FILE: u64 = 64 << 10;
/// Number of link keys in the file.
///
/// Bound: links.
const MAX_KEYS: usize = 100;
/// Memory in KiB, passes and lanes of argon2id: OWASP's second recommendation.
///
/// Bound: links. 19 MiB for each password
const ARGON2_COST: (u32, u32, u32) = (19_456, 2, 1);

/// The keys by their ids. The first one signs; links of all of them are valid.
#[derive(Clone)]
pub struct LinkKeys {
    keys: Vec<SigningKey>,
    exposed: bool,
}

#[derive(Clone)]
struct SigningKey {
    id: String,
    hmac: hmac::Key,
}

/// Why keys cannot be loaded or created. No message contains a part of the file.
#[derive(Debug, thiserror::Error)]
pub enum LinkKeysError {
    /// The file cannot be read.
    #[error("cannot read the link keys in {path}: {error}")]
    Io {
        /// The file.
        path: String,
        /// The system's error.
        error: std::io::Error,
    },
    /// The file is malformed.
    #[error("the link keys in {path} are invalid: {what}")]
    Invalid {
        /// The file.
        path: String,
        /// Where and why.
        what: String,
    },
    /// The system has no random numbers.
    #[error("the system provides no random numbers")]
    Random,
}

/// Differs when a file is replaced or written to.
pub(crate) type KeyFileStamp = (u64, u64, i64, i64, u64);

impl LinkKeys {
    /// Reads a file of keys: TOML, a line `id = "32 bytes in base64"` for each.
    ///
    /// # Errors
    /// [`LinkKeysError`].
    pub fn load(path: &Path) -> Result<LinkKeys, LinkKeysError> {
        LinkKeys::load_stamped(path).map(|(keys, _)| keys)
    }

    /// Returns the file's stamp as well, taken before reading: a later change is noticed the next
    /// time.
    pub(crate) fn load_stamped(path: &Path) -> Result<(LinkKeys, KeyFileStamp), LinkKeysError> {
        let read = || -> std::io::Result<(String, Metadata)> {
            let file = File::open(path)?;
            let metadata = file.metadata()?;
            let mut text = String::new();
            file.take(MAX_FILE + 1).read_to_string(&mut text)?;
            Ok((text, metadata))
        };
        let (text, metadata) =
            read().map_err(|error| LinkKeysError::Io { path: path.display().to_string(), error })?;
        let mut keys = LinkKeys::parse(&text)
            .map_err(|what| LinkKeysError::Invalid { path: path.display().to_string(), what })?;
        // Read by others, or written by group or others.
        keys.exposed = metadata.mode() & 0o026 != 0;
        Ok((keys, stamp(&metadata)))
    }

    /// Reads the text of a file of keys.
    pub(crate) fn parse(text: &str) -> Result<LinkKeys, String> {
        if text.len() as u64 > MAX_FILE {
            return Err(format!("the file has more than {MAX_FILE} bytes"));
        }
        let line_of = |at: usize| text.as_bytes()[..at.min(text.len())].split(|byte| *byte == b'\n').count();
        // The error's own text would contain the line, and with it the key.
        let table = DeTable::parse(text).map_err(|error| {
            let line = line_of(error.span().map_or(0, |span| span.start));
            format!("line {line} is not of the form id = \"32 bytes in base64\": {}", error.message())
        })?;
        let mut entries: Vec<_> = table.into_inner().into_iter().collect();
        // The table is sorted by id, not by position.
        entries.sort_by_key(|(id, _)| id.span().start);
        let mut keys = Vec::with_capacity(entries.len());
        for (id, value) in entries {
            let line = line_of(id.span().start);
            let id = id.into_inner().into_owned();
            if !is_link_id(&id) {
                return Err(format!(
                    "line {line}: a key's id has to have 1 to 64 letters, digits, hyphens and underscores"
                ));
            }
            let DeValue::String(secret) = value.into_inner() else {
                return Err(format!("line {line}: the key {id} is not a string in quotes"));
            };
            let secret = lenient().decode(secret.as_bytes()).ok().filter(|secret| secret.len() == 32);
            let secret = secret.ok_or_else(|| {
                format!(
                    "line {line}: the key {id} is not 32 bytes in base64; create one with `outflow link keygen`"
                )
            })?;
            keys.push(SigningKey { id, hmac: hmac::Key::new(hmac::HMAC_SHA256, &secret) });
        }
        match keys.len() {
            0 => Err("the file has no key; create one with `outflow link keygen`".to_owned()),
            1..=MAX_KEYS => Ok(LinkKeys { keys, exposed: false }),
            _ => Err(format!("the file has more than {MAX_KEYS} keys")),
        }
    }

    /// A line for a file of keys, with a new random key of this id.
    ///
    /// # Errors
    /// [`LinkKeysError::Random`].
    pub fn new_line(id: &str) -> Result<String, LinkKeysError> {
        Ok(format!("{id} = \"{}\"", STANDARD.encode(random::<32>()?)))
    }

    /// A new random id for a link.
    ///
    /// # Errors
    /// [`LinkKeysError::Random`].
    pub fn new_link_id() -> Result<String, LinkKeysError> {
        Ok(URL_SAFE_NO_PAD.encode(random::<16>()?))
    }

    /// The ids of the keys. The first one signs.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(|key| key.id.as_str())
    }

    /// Whether users other than the file's owner and group can read it, or others than its owner
    /// can write it.
    #[must_use]
    pub fn is_exposed(&self) -> bool {
        self.exposed
    }

    /// Signs `terms` with the first key, whose id it sets; returns the token.
    ///
    /// # Errors
    /// [`InvalidTerms`].
    pub fn sign(&self, mut terms: Terms) -> Result<String, InvalidTerms> {
        let key = self.signing_key();
        terms.key.clone_from(&key.id);
        let link = Link::new(terms)?;
        // Serialising strings and numbers does not fail.
        let json = serde_json::to_vec(&*link).unwrap_or_default();
        let payload = URL_SAFE_NO_PAD.encode(json);
        let signature = hmac::sign(&key.hmac, &link_message(&payload));
        let token = format!("{payload}.{}", URL_SAFE_NO_PAD.encode(signature));
        if token.len() > MAX_TOKEN {
            return Err(InvalidTerms(format!(
                "the link would be longer than {MAX_TOKEN} bytes; link to a folder of the files"
            )));
        }
        Ok(token)
    }

    /// Protects the link with `password`. The id in `terms` must be set already. Takes some 20 ms
    /// and 19 MiB.
    ///
    /// # Errors
    /// [`InvalidTerms`] for a password that is empty or longer than 1,024 bytes.
    pub fn lock(&self, terms: &mut Terms, password: &[u8]) -> Result<(), InvalidTerms> {
        let stretched = stretch(&terms.id, password)
            .ok_or_else(|| InvalidTerms("a password has to have 1 to 1,024 bytes".to_owned()))?;
        let tag = hmac::sign(&self.signing_key().hmac, &password_message(&terms.id, &stretched));
        terms.password = Some(URL_SAFE_NO_PAD.encode(tag));
        Ok(())
    }

    /// The link of `token`, if it was signed with one of the keys. Does not check whether it has
    /// expired.
    ///
    /// # Errors
    /// [`LinkError::NotGenuine`], [`LinkError::Invalid`].
    pub fn verify(&self, token: &str) -> Result<Link, LinkError> {
        /// The only unverified part that is used: it selects the key.
        #[derive(Deserialize)]
        struct KeyId {
            key: String,
        }
        if token.len() > MAX_TOKEN {
            return Err(LinkError::NotGenuine);
        }
        let (payload, signature) = token.rsplit_once('.').ok_or(LinkError::NotGenuine)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| LinkError::NotGenuine)?;
        let json = URL_SAFE_NO_PAD.decode(payload).map_err(|_| LinkError::NotGenuine)?;
        let id: KeyId = serde_json::from_slice(&json).map_err(|_| LinkError::NotGenuine)?;
        let key = self.key(&id.key).ok_or(LinkError::NotGenuine)?;
        // Compares in constant time.
        hmac::verify(&key.hmac, &link_message(payload), &signature).map_err(|_| LinkError::NotGenuine)?;
        // A holder of the key wrote this, so the error may say what is wrong with it.
        let terms: Terms =
            serde_json::from_slice(&json).map_err(|error| LinkError::Invalid(error.to_string().into()))?;
        Link::new(terms).map_err(|error| LinkError::Invalid(error.0.into()))
    }

    /// Whether `stretched`, the result of [`stretch`], is the password of `link`.
    pub(crate) fn opens(&self, link: &Link, stretched: &[u8; 32]) -> bool {
        let (Some(key), Some(verifier)) = (self.key(&link.key), link.verifier()) else { return false };
        hmac::verify(&key.hmac, &password_message(&link.id, stretched), verifier).is_ok()
    }

    fn signing_key(&self) -> &SigningKey {
        // `parse` rejects a file without keys.
        &self.keys[0]
    }

    fn key(&self, id: &str) -> Option<&SigningKey> {
        self.keys.iter().find(|key| key.id == id)
    }
}

impl fmt::Debug for LinkKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.ids()).finish()
    }
}

pub(crate) fn stamp(metadata: &Metadata) -> KeyFileStamp {
    (metadata.dev(), metadata.ino(), metadata.mtime(), metadata.mtime_nsec(), metadata.size())
}

/// Argon2id of a password, salted with the link's id. `None` for an invalid length. Blocks.
pub(crate) fn stretch(id: &str, password: &[u8]) -> Option<[u8; 32]> {
    if !(1..=1024).contains(&password.len()) {
        return None;
    }
    let (memory, passes, lanes) = ARGON2_COST;
    let params = Params::new(memory, passes, lanes, Some(32)).ok()?;
    let salt = digest::digest(&digest::SHA256, id.as_bytes());
    let mut stretched = [0; 32];
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    argon2.hash_password_into(password, &salt.as_ref()[..16], &mut stretched).ok()?;
    Some(stretched)
}

fn link_message(payload: &str) -> Vec<u8> {
    [LINK_CONTEXT, payload.as_bytes()].concat()
}

fn password_message(id: &str, stretched: &[u8; 32]) -> Vec<u8> {
    [PASSWORD_CONTEXT, id.as_bytes(), b".", stretched].concat()
}

fn random<const N: usize>() -> Result<[u8; N], LinkKeysError> {
    let mut bytes = [0; N];
    rand::SystemRandom::new().fill(&mut bytes).map_err(|_| LinkKeysError::Random)?;
    Ok(bytes)
}

/// Standard base64, with or without padding.
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
        let keys = LinkKeys::parse(&text).unwrap();
        assert_eq!(keys.ids().collect::<Vec<_>>(), ["z", "2026-11", "a"]);
        assert_eq!(format!("{keys:?}"), "[\"z\", \"2026-11\", \"a\"]");
    }

    #[test]
    fn a_new_key_is_a_line_of_the_file() {
        let (one, other) = (LinkKeys::new_line("x").unwrap(), LinkKeys::new_line("y").unwrap());
        assert_ne!(one[4..], other[4..]);
        let keys = LinkKeys::parse(&format!("{one}\n{other}\n")).unwrap();
        assert_eq!(keys.ids().collect::<Vec<_>>(), ["x", "y"]);
        assert_ne!(LinkKeys::new_link_id().unwrap(), LinkKeys::new_link_id().unwrap());
        assert!(is_link_id(&LinkKeys::new_link_id().unwrap()));
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
            ("x = 7".to_owned(), "not a string"),
            (format!("[x]\ny = \"{ONE}\""), "not a string"),
            (format!("{secret}{secret}"), "line 1"),
            ("#".repeat(70_000), "more than"),
            ((0..=100).map(|id| format!("{id} = \"{ONE}\"\n")).collect(), "more than 100"),
        ] {
            let error = LinkKeys::parse(&text).unwrap_err();
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
            assert_eq!(LinkKeys::load(&path).unwrap().is_exposed(), exposed, "{mode:o}");
        }
        assert!(LinkKeys::load(&temp.path().join("none")).unwrap_err().to_string().contains("none"));
        fs::write(&path, b"\xff").unwrap();
        assert!(LinkKeys::load(&path).is_err());
    }

    #[test]
    fn a_password_is_stretched_as_documented() {
        // By the reference implementation (Python's argon2-cffi).
        let known = "bc80c11f42106f140aa09e7ace365c6afa1a73803bf24734690293d155003dcd";
        let stretched = stretch("id", b"secret").unwrap();
        assert_eq!(stretched.map(|byte| format!("{byte:02x}")).concat(), known);
        let keys = LinkKeys::parse(&format!("k = \"{ONE}\"")).unwrap();
        let mut terms = Terms { id: "id".to_owned(), ..Terms::default() };
        keys.lock(&mut terms, b"secret").unwrap();
        assert_eq!(terms.password.unwrap(), "SfHyzEvhBaq0rhCNKakqjibZkMjSFT8SWW2Jr_rrBXI");
        assert!(stretch("id", b"").is_none() && stretch("id", &[b'x'; 1025]).is_none());
        assert_ne!(stretch("id", b"secret"), stretch("ie", b"secret"));
        assert_ne!(stretch("id", b"secret"), stretch("id", b"Secret"));
    }
}
