//! An observer that records its notifications.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use outflow_content::{AbortReason, BodyMap, Ending, Observer, SpanError};
use parking_lot::Mutex;

use super::PATIENCE;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Started(u64),
    Sent(u64, u64),
    Acked(u64),
    Completed(u64),
    Aborted(u64, AbortReason),
    Failed(u64, String),
    Cleanup,
}

pub(crate) struct Watcher(Sender<(Event, Option<Ending>)>, Arc<Mutex<Option<BodyMap>>>);

/// What a [`Watcher`] is notified of.
pub(crate) struct Events {
    receiver: Receiver<(Event, Option<Ending>)>,
    map: Arc<Mutex<Option<BodyMap>>>,
    /// What [`Events::so_far`] has handed out already.
    seen: RefCell<Vec<(Event, Option<Ending>)>>,
}

pub(crate) fn watcher() -> (Watcher, Events) {
    let (sender, receiver) = channel();
    let map = Arc::default();
    (Watcher(sender, Arc::clone(&map)), Events { receiver, map, seen: RefCell::default() })
}

impl Watcher {
    fn tell(&self, event: Event) {
        // The test may have ended.
        let _ = self.0.send((event, None));
    }

    fn end(&self, event: Event, ending: &Ending) {
        let _ = self.0.send((event, Some(ending.clone())));
    }
}

impl Observer for Watcher {
    fn started(&mut self, body: &BodyMap) {
        *self.1.lock() = Some(body.clone());
        self.tell(Event::Started(body.len()));
    }
    fn sent(&mut self, now: u64, sum: u64) {
        self.tell(Event::Sent(now, sum));
    }
    fn acked(&mut self, sum: u64) {
        self.tell(Event::Acked(sum));
    }
    fn completed(&mut self, ending: &Ending) {
        self.end(Event::Completed(ending.sent), ending);
    }
    fn aborted(&mut self, ending: &Ending, reason: &AbortReason) {
        self.end(Event::Aborted(ending.sent, reason.clone()), ending);
    }
    fn failed(&mut self, ending: &Ending, error: &SpanError) {
        self.end(Event::Failed(ending.sent, error.to_string()), ending);
    }
    fn cleanup(&mut self) {
        self.tell(Event::Cleanup);
    }
}

impl Events {
    /// The next event; `None` when the watcher is gone.
    #[track_caller]
    pub(crate) fn next(&self) -> Option<Event> {
        self.next_with_ending().map(|(event, _)| event)
    }

    #[track_caller]
    fn next_with_ending(&self) -> Option<(Event, Option<Ending>)> {
        match self.receiver.recv_timeout(PATIENCE) {
            Ok(told) => Some(told),
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => None,
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => panic!("nothing was told for {PATIENCE:?}"),
        }
    }

    /// What has come since the last call, without waiting.
    pub(crate) fn so_far(&self) -> Vec<Event> {
        let new: Vec<_> = self.receiver.try_iter().collect();
        let events = new.iter().map(|(event, _)| event.clone()).collect();
        self.seen.borrow_mut().extend(new);
        events
    }

    /// The body's map and the ending, when all has been told.
    #[track_caller]
    pub(crate) fn mapped(self) -> (BodyMap, Ending) {
        let (mut map, mut ending) = (None, None);
        while let Some((event, with)) = self.next_with_ending() {
            if let Event::Started(_) = event {
                map = self.map.lock().take();
            }
            ending = ending.or(with);
        }
        (map.expect("a map"), ending.expect("an ending"))
    }

    /// How a delivery of `total` bytes ended: waits for the watcher's end, checks that everything
    /// was told in order and that the sums add up, and gives back what came between the pieces and
    /// `cleanup`.
    #[track_caller]
    pub(crate) fn ending(self, total: u64) -> Event {
        self.end(total).0
    }

    /// The same, and what was known then.
    #[track_caller]
    pub(crate) fn end(self, total: u64) -> (Event, Ending) {
        let mut all = Vec::new();
        let mut ending = None;
        let seen = self.seen.take();
        for (event, with) in seen.into_iter().chain(std::iter::from_fn(|| self.next_with_ending())) {
            all.push(event);
            ending = ending.or(with);
        }
        assert_eq!(all.first(), Some(&Event::Started(total)), "{all:?}");
        let (mut sum, mut acked) = (0, 0);
        for event in &all[1..all.len() - 2] {
            match *event {
                Event::Sent(now, so_far) => {
                    sum += now;
                    assert!(now > 0 && so_far == sum, "{event:?} in {all:?}");
                }
                Event::Acked(so_far) => {
                    assert!(so_far > acked && so_far <= sum, "{event:?} in {all:?}");
                    acked = so_far;
                }
                _ => panic!("{event:?} among the pieces of {all:?}"),
            }
        }
        assert!(sum <= total, "more was told than there is: {all:?}");
        assert_eq!(all.last(), Some(&Event::Cleanup), "{all:?}");
        let ending = ending.expect("an ending");
        assert!(ending.sent == sum && ending.acked.unwrap_or(acked) >= acked, "{ending:?} behind {all:?}");
        let end = all.swap_remove(all.len() - 2);
        match &end {
            Event::Completed(at) => assert_eq!((*at, sum), (total, total)),
            Event::Aborted(at, _) | Event::Failed(at, _) => assert_eq!(*at, sum),
            other => panic!("ended by {other:?}"),
        }
        (end, ending)
    }
}
