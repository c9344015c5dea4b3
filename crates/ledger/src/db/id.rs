//! Ids: 48 bits of milliseconds and 80 random ones in 26 letters and digits, so that they sort by time.

use std::sync::Mutex;

use jiff::Timestamp;

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Random bytes that were asked for and not used yet: one system call for some hundred ids.
static SPARE: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// A new id that begins with `prefix`.
pub(crate) fn new(prefix: &str, at: Timestamp) -> String {
    let [a, b, c, d, e, f, g, h, i, j] = random();
    let low = u128::from_be_bytes([0, 0, 0, 0, 0, 0, a, b, c, d, e, f, g, h, i, j]);
    let high = u128::from(u64::try_from(at.as_millisecond()).unwrap_or(0)) & 0xffff_ffff_ffff;
    spell(prefix, (high << 80) | low)
}

/// Sorts behind all ids of `prefix` that were made before `at`, and before the others.
pub(crate) fn bound(prefix: &str, at: Timestamp) -> String {
    spell(prefix, u128::from(u64::try_from(at.as_millisecond()).unwrap_or(0)) << 80)
}

fn spell(prefix: &str, value: u128) -> String {
    let mut id = String::with_capacity(prefix.len() + 26);
    id.push_str(prefix);
    for place in (0..26).rev() {
        let digit = usize::try_from((value >> (place * 5)) & 31).expect("five bits");
        id.push(char::from(ALPHABET[digit]));
    }
    id
}

fn random() -> [u8; 10] {
    let mut spare = SPARE.lock().expect("nothing panics while it is held");
    if spare.len() < 10 {
        spare.resize(4096, 0);
        let mut done = 0;
        while done < spare.len() {
            match rustix::rand::getrandom(&mut spare[done..], rustix::rand::GetRandomFlags::empty()) {
                Ok(count) => done += count,
                Err(rustix::io::Errno::INTR) => {}
                // There is no Linux that this runs on without it.
                Err(error) => panic!("no random numbers: {error}"),
            }
        }
    }
    let at = spare.len() - 10;
    let bytes = spare[at..].try_into().expect("ten bytes");
    spare.truncate(at);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ_and_sort_by_time() {
        let now = Timestamp::from_millisecond(1_800_000_000_000).unwrap();
        let later = Timestamp::from_millisecond(1_800_000_000_001).unwrap();
        let ids: std::collections::BTreeSet<_> = (0..10_000).map(|_| new("dl_", now)).collect();
        assert_eq!(ids.len(), 10_000);
        assert!(*ids.last().unwrap() < new("dl_", later));
        assert!(*ids.last().unwrap() < bound("dl_", later));
        assert!(bound("dl_", now) < *ids.first().unwrap());
        assert_eq!(ids.first().unwrap().len(), 29);
    }
}
