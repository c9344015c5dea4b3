//! A server whose deliveries are watched.

use outflow_content::Content;
use outflow_wire::ServerOptions;
use parking_lot::Mutex;

use crate::support::{Events, Running, serve_content_with, watcher};

/// A server that answers with `content` and gives each delivery the next of so many watchers.
pub(super) fn watched(
    n: usize,
    options: ServerOptions,
    content: impl Fn() -> Content + Send + Sync + 'static,
) -> (Running, Vec<Events>) {
    let (observers, events): (Vec<_>, Vec<_>) = (0..n).map(|_| watcher()).unzip();
    let observers = Mutex::new(observers.into_iter());
    let server = serve_content_with(options, move |_| {
        content().observer(observers.lock().next().expect("a watcher for every request"))
    });
    (server, events)
}
