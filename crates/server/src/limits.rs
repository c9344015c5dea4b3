//! Memory for what has to be held as a whole: large forms and large pages share one bound, whoever asks for
//! them and however slowly they take them.

use std::sync::Arc;

use outflow_web::Problem;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// All large forms and pages together, in bytes. A single one that is larger has to be alone.
const ALL: usize = 64 << 20;
/// Up to this size, in bytes, a form or page needs no room: each connection may have that much.
pub(crate) const SMALL: usize = 16 << 10;

/// What is left of the common memory, in KiB.
#[derive(Clone)]
pub(crate) struct Room(Arc<Semaphore>);

impl Room {
    pub(crate) fn new() -> Room {
        Room(Arc::new(Semaphore::new(ALL >> 10)))
    }

    /// Takes room for `bytes` at once; none is needed if they are few.
    pub(crate) fn take(&self, bytes: usize) -> Result<Option<OwnedSemaphorePermit>, Problem> {
        if bytes <= SMALL {
            return Ok(None);
        }
        // At most 2^16.
        let share = (bytes.min(ALL) >> 10) as u32;
        match Arc::clone(&self.0).try_acquire_many_owned(share) {
            Ok(permit) => Ok(Some(permit)),
            Err(_) => {
                Err(Problem::busy("Too many large pages or forms are under way. Try again in a few seconds."))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_ones_share_and_small_ones_do_not_count() {
        let room = Room::new();
        let huge = room.take(ALL * 10).unwrap();
        assert!(room.take(SMALL + 1024).is_err());
        assert!(room.take(SMALL).unwrap().is_none());
        drop(huge);
        let eight: Vec<_> = (0..8).map(|_| room.take(ALL / 8).unwrap()).collect();
        assert!(room.take(ALL / 8).is_err());
        drop(eight);
        assert!(room.take(ALL).is_ok());
    }
}
