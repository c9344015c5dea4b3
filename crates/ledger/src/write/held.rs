//! Beginnings of deliveries that are held until their ends: both in one batch are one row.

use std::collections::hash_map::{Entry, RandomState};
use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasher;
use std::sync::Arc;

use tokio::time::Instant;

use super::delivery::TrackedDelivery;

/// Beginnings that are held, in their order.
#[derive(Default)]
pub(super) struct HeldBeginnings {
    /// By [`TrackedDelivery::number`], and until when each is held.
    deliveries: BTreeMap<u64, (Instant, Arc<TrackedDelivery>)>,
    /// The numbers of those with the same recipient and content, by a hash of both. Two keys with
    /// the same hash only end each other's wait.
    by_key: HashMap<u64, Vec<u64>>,
    hasher: RandomState,
}

impl HeldBeginnings {
    pub(super) fn push(&mut self, delivery: Arc<TrackedDelivery>, due: Instant) {
        self.by_key.entry(self.key(&delivery)).or_default().push(delivery.number);
        self.deliveries.insert(delivery.number, (due, delivery));
    }

    /// Until when the first is held.
    pub(super) fn due(&self) -> Option<Instant> {
        self.deliveries.first_key_value().map(|(_, (due, _))| *due)
    }

    /// Removes the first if it was held until `now`, or in any case.
    pub(super) fn pop(&mut self, now: Instant, always: bool) -> Option<Arc<TrackedDelivery>> {
        let first = self.deliveries.first_entry()?;
        if !always && first.get().0 > now {
            return None;
        }
        let (_, delivery) = first.remove();
        if let Entry::Occupied(mut others) = self.by_key.entry(self.key(&delivery)) {
            others.get_mut().retain(|number| *number != delivery.number);
            if others.get().is_empty() {
                others.remove();
            }
        }
        Some(delivery)
    }

    /// Removes the beginnings that come before a change of `delivery`: its own, and those of the
    /// same recipient and content.
    pub(super) fn remove(&mut self, delivery: &TrackedDelivery) -> Vec<Arc<TrackedDelivery>> {
        if self.deliveries.is_empty() {
            return Vec::new();
        }
        let numbers = self.by_key.remove(&self.key(delivery)).unwrap_or_default();
        numbers
            .iter()
            .filter_map(|number| self.deliveries.remove(number))
            .map(|(_, delivery)| delivery)
            .collect()
    }

    fn key(&self, delivery: &TrackedDelivery) -> u64 {
        let info = &delivery.info;
        self.hasher.hash_one((info.content.key, &info.recipient.id))
    }
}
