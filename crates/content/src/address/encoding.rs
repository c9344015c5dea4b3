//! Percent-encoding of addresses.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

/// All but RFC 3986's unreserved characters: what is left stands for itself anywhere in an address.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// The same for a whole path.
const RESERVED_IN_PATH: &AsciiSet = &RESERVED.remove(b'/');

/// Encodes a name or a value as one component of an address.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    percent_encode(bytes, RESERVED).to_string()
}

/// Encodes a path: like [`encode`], but slashes stay.
#[must_use]
pub fn encode_path(path: &[u8]) -> String {
    percent_encode(path, RESERVED_IN_PATH).to_string()
}

/// The value of a hexadecimal digit; `None` if there is no digit or it is another character.
#[must_use]
pub fn hex(digit: Option<&u8>) -> Option<u8> {
    match digit? {
        digit @ b'0'..=b'9' => Some(digit - b'0'),
        digit @ b'a'..=b'f' => Some(digit - b'a' + 10),
        digit @ b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}
