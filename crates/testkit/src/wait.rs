//! Polling a condition until a deadline.

use std::time::{Duration, Instant};

/// How long anything may take before a test fails. Far more than is ever needed: machines are
/// shared.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// The rest between two polls.
const INTERVAL: Duration = Duration::from_millis(5);

/// Polls until there is an answer; fails with `what` after [`PATIENCE`].
#[track_caller]
pub fn until<T>(what: &str, mut poll: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = poll() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::sleep(INTERVAL);
    }
}
