//! Names of transfers.

use std::io;

use rustix::rand::{GetRandomFlags, getrandom};

/// Without letters that are mistaken for digits.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// 5 bits each: 100 bits cannot be guessed.
const LENGTH: usize = 20;

/// True for 1 to 64 letters, digits, hyphens and underscores.
#[must_use]
pub fn is_transfer_id(id: &str) -> bool {
    (1..=64).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

/// A new one, of 100 random bits.
///
/// # Errors
/// The system gives no random bytes.
pub fn new_transfer_id() -> io::Result<String> {
    let mut random = [0_u8; LENGTH];
    let mut filled = 0;
    while filled < LENGTH {
        filled += getrandom(&mut random[filled..], GetRandomFlags::empty())?;
    }
    Ok(random.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_short_and_plain() {
        for (id, is_one) in [
            ("a", true),
            ("Zz0-_", true),
            (&"x".repeat(64), true),
            (&"x".repeat(65), false),
            ("", false),
            ("a.b", false),
            ("a/b", false),
            ("ä", false),
        ] {
            assert_eq!(is_transfer_id(id), is_one, "{id}");
        }
        let (one, other) = (new_transfer_id().unwrap(), new_transfer_id().unwrap());
        assert!(is_transfer_id(&one) && one.len() == LENGTH && one != other, "{one} {other}");
    }
}
