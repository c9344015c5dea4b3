//! What HTTP/1 alone knows.
//!
//! ```text
//! messages        framing by version and method, what persists and what closes
//! malformed       what is not HTTP, or ambiguous
//! oracle          the same requests to hyper
//! request_bodies  chunks, `Expect: 100-continue`, bodies that are not read
//! timeouts        heads and bodies that take their time
//! prebuilt        responses that are rendered beforehand
//! delivered       deliveries with closing responses and pipelines
//! observers       what observers are notified of
//! upgrades        connections that stop being HTTP
//! ```

mod delivered;
mod malformed;
mod messages;
mod observers;
mod oracle;
mod prebuilt;
mod request_bodies;
mod timeouts;
mod upgrades;

use std::sync::Mutex;

use outflow_content::Content;
use outflow_wire::ServerOptions;

use crate::support::{Events, Running, locked, serve_content_with, watcher};

/// A server that answers with `content` and gives each delivery the next of so many watchers.
fn watched(
    n: usize,
    options: ServerOptions,
    content: impl Fn() -> Content + Send + Sync + 'static,
) -> (Running, Vec<Events>) {
    let (observers, events): (Vec<_>, Vec<_>) = (0..n).map(|_| watcher()).unzip();
    let observers = Mutex::new(observers.into_iter());
    let server = serve_content_with(options, move |_| {
        content().observer(locked(&observers).next().expect("a watcher for every request"))
    });
    (server, events)
}
