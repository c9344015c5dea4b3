//! What all recipients of one store's objects share.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::fetch::memory::SegmentMemory;
use crate::fetch::requests::{Requests, StoreFacts};
use crate::fetch::shared::SharedObject;
use crate::metrics::StoreMetrics;
use crate::object::Object;

/// One store's memory, requests, and objects that somebody reads.
pub(crate) struct Engine {
    requests: Arc<Requests>,
    memory: Arc<SegmentMemory>,
    objects: Mutex<HashMap<Arc<Object>, Weak<SharedObject>>>,
}

impl Engine {
    /// An engine that holds segments of at most `memory` bytes together.
    pub(crate) fn new(facts: StoreFacts, memory: usize) -> Arc<Engine> {
        let (registry, memory) = (facts.registry.clone(), SegmentMemory::new(memory));
        let requests = Arc::new(Requests::new(facts));
        requests.show_state();
        registry.read_gauge(&memory, |metrics: &StoreMetrics| &metrics.memory, SegmentMemory::used);
        registry.read_gauge(&memory, |metrics: &StoreMetrics| &metrics.memory_limit, SegmentMemory::limit);
        Arc::new(Engine { requests, memory, objects: Mutex::default() })
    }

    pub(crate) fn memory(&self) -> &Arc<SegmentMemory> {
        &self.memory
    }

    #[cfg(test)]
    pub(crate) fn requests(&self) -> &Arc<Requests> {
        &self.requests
    }

    /// What the recipients of `object` share: the same for all who ask while one of them is there.
    pub(crate) fn shared(&self, object: &Arc<Object>) -> Arc<SharedObject> {
        let mut objects = self.objects.lock();
        if let Some(shared) = objects.get(object).and_then(Weak::upgrade)
            && !shared.has_failed()
        {
            return shared;
        }
        // Those that are gone are swept out when their number may have doubled.
        if objects.len() == objects.capacity() {
            objects.retain(|_, shared| shared.strong_count() > 0);
        }
        let shared = SharedObject::new(&self.requests, &self.memory, Arc::clone(object));
        objects.insert(Arc::clone(object), Arc::downgrade(&shared));
        drop(objects);
        self.memory.register(Arc::downgrade(&shared) as _);
        shared
    }
}
