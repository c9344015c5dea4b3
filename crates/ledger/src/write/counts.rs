//! Deliveries that are counted instead of recorded: in memory first, for some seconds.
//!
//! A crash loses what was counted since the last write. That is the price of a delivery that costs
//! no row; whatever must not be lost is recorded.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::time::Instant;

use crate::model::{ContentInfo, ContentKey, DeliveryEnd, DeliveryOutcome, ranges};

/// Maximum number of files that are counted one by one between two writes. The deliveries of
/// further ones are counted together, without an address.
///
/// Bound: ledger.
const MAX_FILES: usize = 10_000;

/// What was counted since the last write.
#[derive(Default)]
pub(crate) struct PendingCounts {
    files: HashMap<[u8; 16], FileCount>,
    /// When the first of them was counted.
    pub(super) since: Option<Instant>,
}

/// How often one content was delivered.
#[derive(Default)]
pub(crate) struct FileCount {
    /// `None` for those that found no room.
    pub(crate) content: Option<Arc<ContentInfo>>,
    pub(crate) deliveries: u64,
    pub(crate) completed: u64,
    pub(crate) broken: u64,
    pub(crate) bytes: u64,
}

impl PendingCounts {
    /// Adds a delivery that has ended.
    pub(super) fn add(&mut self, content: &Arc<ContentInfo>, end: &DeliveryEnd) {
        let key = content.key.0;
        let is_full = self.files.len() >= MAX_FILES && !self.files.contains_key(&key);
        let count = self.files.entry(if is_full { [0; 16] } else { key }).or_default();
        if !is_full && count.content.is_none() {
            count.content = Some(Arc::clone(content));
        }
        let bytes = ranges::total_length(&end.acked);
        count.deliveries += 1;
        match end.outcome {
            DeliveryOutcome::Completed { .. } => count.completed += u64::from(bytes >= content.length),
            DeliveryOutcome::Aborted(_) | DeliveryOutcome::Failed(_) => count.broken += 1,
        }
        count.bytes += bytes;
        self.since.get_or_insert_with(Instant::now);
    }

    /// Whether no further file has room.
    pub(super) fn is_full(&self) -> bool {
        self.files.len() >= MAX_FILES
    }

    /// The counts of each content, which start again from nothing.
    pub(super) fn take(&mut self) -> Vec<(ContentKey, FileCount)> {
        self.since = None;
        std::mem::take(&mut self.files).into_iter().map(|(key, count)| (ContentKey(key), count)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(number: u32, length: u64) -> Arc<ContentInfo> {
        let mut key = [1; 16];
        key[..4].copy_from_slice(&number.to_le_bytes());
        Arc::new(ContentInfo {
            key: ContentKey(key),
            etag: "e".into(),
            length,
            name: "a".into(),
            path: format!("/{number}"),
            transfer: None,
            parts: None,
        })
    }

    fn end(acked: u64, outcome: DeliveryOutcome) -> DeliveryEnd {
        let acked = (acked > 0).then_some(0..acked).into_iter().collect();
        DeliveryEnd { acked, sent: 10, outcome, transport: None }
    }

    #[test]
    fn whole_partial_and_broken_deliveries_are_told_apart() {
        let mut counts = PendingCounts::default();
        let (file, empty) = (content(1, 10), content(2, 0));
        let completed = || DeliveryOutcome::Completed { confirmed: true };
        counts.add(&file, &end(10, completed()));
        counts.add(&file, &end(4, completed()));
        counts.add(&file, &end(9, DeliveryOutcome::Aborted("left".into())));
        counts.add(&file, &end(0, DeliveryOutcome::Failed("gone".into())));
        counts.add(&empty, &end(0, completed()));
        let mut taken = counts.take();
        taken.sort_by_key(|(key, _)| key.0);
        let numbers = |count: &FileCount| (count.deliveries, count.completed, count.broken, count.bytes);
        assert_eq!(numbers(&taken[0].1), (4, 1, 2, 23));
        assert_eq!(numbers(&taken[1].1), (1, 1, 0, 0));
        assert!(counts.take().is_empty() && counts.since.is_none());
    }

    #[test]
    fn files_without_room_are_counted_together() {
        let mut counts = PendingCounts::default();
        let files = u32::try_from(MAX_FILES).unwrap();
        for number in 0..files + 5 {
            counts.add(&content(number, 3), &end(3, DeliveryOutcome::Completed { confirmed: false }));
        }
        // One that has room keeps it.
        counts.add(&content(7, 3), &end(3, DeliveryOutcome::Completed { confirmed: false }));
        assert!(counts.is_full());
        let taken = counts.take();
        assert_eq!(taken.len(), MAX_FILES + 1);
        let others = taken.iter().find(|(key, _)| key.0 == [0; 16]).unwrap();
        assert!(others.1.content.is_none());
        assert_eq!((others.1.deliveries, others.1.bytes), (5, 15));
        assert_eq!(taken.iter().map(|(_, count)| count.bytes).sum::<u64>(), u64::from(files + 6) * 3);
    }
}
