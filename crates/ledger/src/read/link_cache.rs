//! How often links have been used, remembered for a second.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Instant;

use crate::model::{LINK_AGE, LinkState};
use crate::write::batch::Done;
use crate::write::queue::Change;
use crate::write::writer::CommitObserver;

/// More are not remembered.
const MOST: usize = 10_000;

/// What is known of links.
#[derive(Default)]
pub(crate) struct Links(Mutex<Known>);

#[derive(Default)]
struct Known {
    links: HashMap<String, (Instant, LinkState)>,
    /// Grows with every change that was made here: an answer that was asked for before it may be older.
    changes: u64,
}

impl Links {
    pub(crate) fn get(&self, id: &str) -> Option<LinkState> {
        let known = self.0.lock().expect("nothing panics while it is held");
        let (at, state) = known.links.get(id)?;
        (at.elapsed() <= LINK_AGE).then(|| state.clone())
    }

    /// Before the database is asked.
    pub(crate) fn asking(&self) -> u64 {
        self.0.lock().expect("nothing panics while it is held").changes
    }

    /// What it answered, having been asked at `since`.
    pub(crate) fn put(&self, id: &str, state: LinkState, since: u64, at: Instant) {
        let mut known = self.0.lock().expect("nothing panics while it is held");
        if known.changes != since {
            return;
        }
        if known.links.len() >= MOST {
            known.links.retain(|_, (at, _)| at.elapsed() <= LINK_AGE);
            if known.links.len() >= MOST {
                known.links.clear();
            }
        }
        known.links.insert(id.to_owned(), (at, state));
    }

    /// Receipts were committed.
    fn counted(&self, links: &[(String, u32)]) {
        if links.is_empty() {
            return;
        }
        let mut known = self.0.lock().expect("nothing panics while it is held");
        known.changes += 1;
        for (id, receipts) in links {
            if let Some((_, state)) = known.links.get_mut(id) {
                state.receipts = *receipts;
            }
        }
    }

    /// A link was revoked here.
    pub(crate) fn forget(&self, id: &str) {
        let mut known = self.0.lock().expect("nothing panics while it is held");
        known.changes += 1;
        known.links.remove(id);
    }
}

impl CommitObserver for Links {
    fn committed(&self, _: &[Change], done: &Done) {
        self.counted(&done.links);
    }
}
