//! An observer that writes down what it is told.

use std::sync::mpsc::{Receiver, Sender, channel};

use outflow_content::{AbortReason, Observer, SpanError};

use super::PATIENCE;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Started(u64),
    Sent(u64, u64),
    Completed(u64),
    Aborted(u64, AbortReason),
    Failed(u64, String),
    Cleanup(u64),
}

pub(crate) struct Watcher(Sender<Event>);

/// What a [`Watcher`] was told, and is told from now on.
pub(crate) struct Events(Receiver<Event>);

pub(crate) fn watcher() -> (Watcher, Events) {
    let (sender, receiver) = channel();
    (Watcher(sender), Events(receiver))
}

impl Watcher {
    fn tell(&self, event: Event) {
        // The test may have ended.
        let _ = self.0.send(event);
    }
}

impl Observer for Watcher {
    fn started(&mut self, total: u64) {
        self.tell(Event::Started(total));
    }
    fn sent(&mut self, now: u64, sum: u64) {
        self.tell(Event::Sent(now, sum));
    }
    fn completed(&mut self, sum: u64) {
        self.tell(Event::Completed(sum));
    }
    fn aborted(&mut self, sum: u64, reason: &AbortReason) {
        self.tell(Event::Aborted(sum, reason.clone()));
    }
    fn failed(&mut self, sum: u64, error: &SpanError) {
        self.tell(Event::Failed(sum, error.to_string()));
    }
    fn cleanup(&mut self, sum: u64) {
        self.tell(Event::Cleanup(sum));
    }
}

impl Events {
    /// The next event; `None` when the watcher is gone.
    #[track_caller]
    pub(crate) fn next(&self) -> Option<Event> {
        match self.0.recv_timeout(PATIENCE) {
            Ok(event) => Some(event),
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => None,
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => panic!("nothing was told for {PATIENCE:?}"),
        }
    }

    /// What has been told so far, without waiting.
    pub(crate) fn so_far(&self) -> Vec<Event> {
        self.0.try_iter().collect()
    }

    /// How a delivery of `total` bytes ended: waits for the watcher's end, checks that everything was told in
    /// order and that the sums add up, and gives back what came between the pieces and `cleanup`.
    #[track_caller]
    pub(crate) fn ending(self, total: u64) -> Event {
        let mut all = Vec::new();
        while let Some(event) = self.next() {
            all.push(event);
        }
        assert_eq!(all.first(), Some(&Event::Started(total)), "{all:?}");
        let mut sum = 0;
        for event in &all[1..all.len() - 2] {
            let Event::Sent(now, so_far) = *event else { panic!("{event:?} among the pieces of {all:?}") };
            sum += now;
            assert!(now > 0 && so_far == sum, "{event:?} in {all:?}");
        }
        assert!(sum <= total, "more was told than there is: {all:?}");
        assert_eq!(all.last(), Some(&Event::Cleanup(sum)), "{all:?}");
        let end = all.swap_remove(all.len() - 2);
        match &end {
            Event::Completed(at) => assert_eq!((*at, sum), (total, total)),
            Event::Aborted(at, _) | Event::Failed(at, _) => assert_eq!(*at, sum),
            other => panic!("ended by {other:?}"),
        }
        end
    }
}
