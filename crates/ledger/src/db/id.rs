//! Ids that sort by time: a prefix, and a ULID in lower case.

use jiff::Timestamp;
use parking_lot::Mutex;
use ulid::Ulid;

/// An id has its place in the order of events in its first 63 bits: 48 of milliseconds, 15 of order
/// within one.
const SEQUENCE_SHIFT: u32 = 65;

/// Random bytes in reserve: one system call for some hundred ids.
static RANDOM: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// A new id with `prefix`.
pub(crate) fn new(prefix: &str, at: Timestamp) -> String {
    format_id(prefix, Ulid::from_parts(milliseconds(at), random()))
}

/// The id with `prefix` at a place of the order of events, which [`sequence_of`] reads from it.
pub(crate) fn at_sequence(prefix: &str, sequence: i64) -> String {
    let sequence = u128::try_from(sequence).unwrap_or(0);
    format_id(prefix, Ulid(sequence << SEQUENCE_SHIFT | random() & ((1 << SEQUENCE_SHIFT) - 1)))
}

/// Sorts before all ids with `prefix` from `sequence` on, and after all others.
pub(crate) fn first_at_sequence(prefix: &str, sequence: i64) -> String {
    format_id(prefix, Ulid(u128::try_from(sequence).unwrap_or(0) << SEQUENCE_SHIFT))
}

/// The place of an id in the order of events.
pub(crate) fn sequence_of(prefix: &str, id: &str) -> Option<i64> {
    let ulid = Ulid::from_string(id.strip_prefix(prefix)?).ok()?;
    i64::try_from(ulid.0 >> SEQUENCE_SHIFT).ok()
}

/// The first place in the order of events that an id made at `at` can have.
pub(crate) fn sequence_at(at: Timestamp) -> i64 {
    i64::try_from(u128::from(milliseconds(at)) << (80 - SEQUENCE_SHIFT)).unwrap_or(0)
}

/// Sorts after all ids with `prefix` that were made before `at`, and before all others.
pub(crate) fn first_at(prefix: &str, at: Timestamp) -> String {
    format_id(prefix, Ulid::from_parts(milliseconds(at), 0))
}

fn milliseconds(at: Timestamp) -> u64 {
    u64::try_from(at.as_millisecond()).unwrap_or(0)
}

fn format_id(prefix: &str, ulid: Ulid) -> String {
    let mut buffer = [0; ulid::ULID_LEN];
    let text = ulid.array_to_str(&mut buffer);
    text.make_ascii_lowercase();
    format!("{prefix}{text}")
}

/// 80 random bits.
fn random() -> u128 {
    let mut reserve = RANDOM.lock();
    if reserve.len() < 10 {
        reserve.resize(4096, 0);
        let mut filled = 0;
        while filled < reserve.len() {
            match rustix::rand::getrandom(&mut reserve[filled..], rustix::rand::GetRandomFlags::empty()) {
                Ok(count) => filled += count,
                Err(rustix::io::Errno::INTR) => {}
                // Every Linux that this runs on has it.
                Err(error) => panic!("no random numbers: {error}"),
            }
        }
    }
    let at = reserve.len() - 10;
    let mut bytes = [0; 16];
    bytes[6..].copy_from_slice(&reserve[at..]);
    reserve.truncate(at);
    u128::from_be_bytes(bytes)
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
        assert!(*ids.last().unwrap() < first_at("dl_", later));
        assert!(first_at("dl_", now) < *ids.first().unwrap());
        assert_eq!(ids.first().unwrap().len(), 29);
    }

    #[test]
    fn an_id_has_its_place_in_the_order_of_events() {
        let now = Timestamp::from_millisecond(1_800_000_000_000).unwrap();
        let place = sequence_at(now) + 5;
        let id = at_sequence("dl_", place);
        assert_eq!(sequence_of("dl_", &id), Some(place));
        assert!(first_at("dl_", now) < id && first_at_sequence("dl_", place) <= id);
        assert!(id < first_at_sequence("dl_", place + 1));
        assert_ne!(id, at_sequence("dl_", place));
        assert_eq!((sequence_of("dl_", "dl_x"), sequence_of("dl_", "evt_")), (None, None));
    }

    #[test]
    fn ids_keep_the_form_that_is_in_databases() {
        let at = Timestamp::from_millisecond(1_800_000_000_000).unwrap();
        assert_eq!(first_at("dl_", at), "dl_01mcc5rm000000000000000000");
        let value = 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef;
        assert_eq!(format_id("", Ulid(value)), "014d2pf2dbsqqg28t5cy4tqkff");
    }
}
