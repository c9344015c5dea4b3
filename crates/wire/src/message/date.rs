//! The `Date` field, formatted once a second per thread (RFC 9110 section 6.6.1).

use std::cell::RefCell;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The end of the year 9999, where IMF-fixdate ends. A clock beyond it is wrong, and must not
/// panic.
const LAST_SECOND: u64 = 253_402_300_799;

struct Cached {
    second: u64,
    text: [u8; 29],
}

thread_local! {
    static CACHED: RefCell<Cached> = const { RefCell::new(Cached { second: u64::MAX, text: [b' '; 29] }) };
}

/// Calls `use_it` with the current date as an IMF-fixdate of 29 bytes.
pub(crate) fn with_date<R>(use_it: impl FnOnce(&[u8]) -> R) -> R {
    let second = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let second = second.min(LAST_SECOND);
    CACHED.with_borrow_mut(|cached| {
        if cached.second != second {
            let text = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(second));
            if text.len() == cached.text.len() {
                cached.text.copy_from_slice(text.as_bytes());
            }
            cached.second = second;
        }
        use_it(&cached.text)
    })
}
