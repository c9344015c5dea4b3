//! How a connection gets from the engine to the service: by a promise in the request, or by a
//! handoff in the response.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Request;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::upgraded::Upgraded;

/// Takes the promise of the raw connection out of a request for an upgrade (RFC 9110 section 7.8)
/// or for a tunnel (`CONNECT`). `None` for any other request.
///
/// The engine keeps the promise once the service's response with status 101 (or 2xx to a `CONNECT`)
/// has left.
pub fn on<B>(request: &mut Request<B>) -> Option<OnUpgrade> {
    let slot = request.extensions_mut().remove::<UpgradeSlot>()?;
    slot.0.lock().take().map(OnUpgrade)
}

/// The protocol that a `CONNECT` on HTTP/2 asks for (RFC 8441), in the request's extensions: what
/// the `Upgrade` field names on HTTP/1.1. The request's target has a path then; the answer that
/// agrees is a 200.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectProtocol(pub Box<str>);

/// Waits for the engine to hand the connection over.
pub struct OnUpgrade(oneshot::Receiver<Upgraded>);

impl Future for OnUpgrade {
    /// An error when the response was not one that ends HTTP, or could not be sent.
    type Output = io::Result<Upgraded>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0)
            .poll(cx)
            .map_err(|_| io::Error::other("the response did not switch protocols, or could not be sent"))
    }
}

/// Gives the connection to the service once the head has left, to write the body itself. Put it
/// into the response's extensions.
///
/// For bodies without an end, such as server-sent events: thousands of subscribers need no future
/// and no buffer each, only their sockets in a list. The head has `Connection: close` and no
/// length, the engine ignores the response's own body, and no time limit of the engine applies any
/// more. The client may still be sending; read and ignore it.
///
/// It applies to 2xx answers to anything but `HEAD`. The function given to [`Handoff::new`] is
/// called on the thread that served the connection, within its runtime. It is dropped without a
/// call if the head cannot be sent, or if the service has not read the request's body to its end.
///
/// ```
/// # fn listeners_add(_: outflow_wire::upgrade::Upgraded) {}
/// let handoff = outflow_wire::upgrade::Handoff::new(|connection| listeners_add(connection));
/// let mut response = http::Response::new(());
/// let media_type = http::HeaderValue::from_static("text/event-stream");
/// response.headers_mut().insert("content-type", media_type);
/// response.extensions_mut().insert(handoff);
/// ```
#[derive(Clone)]
pub struct Handoff(Arc<Mutex<Option<HandoffFn>>>);

type HandoffFn = Box<dyn FnOnce(Upgraded) + Send>;

impl Handoff {
    /// `taker` receives the connection.
    #[must_use]
    pub fn new(taker: impl FnOnce(Upgraded) + Send + 'static) -> Handoff {
        Handoff(Arc::new(Mutex::new(Some(Box::new(taker)))))
    }

    pub(crate) fn take(self, connection: Upgraded) {
        let taker = self.0.lock().take();
        if let Some(taker) = taker {
            taker(connection);
        }
    }
}

/// In a request's extensions: cloned with them, taken once.
#[derive(Clone)]
struct UpgradeSlot(Arc<Mutex<Option<oneshot::Receiver<Upgraded>>>>);

/// The engine's end of the promise.
pub(crate) struct UpgradePromise(oneshot::Sender<Upgraded>);

impl UpgradePromise {
    pub(crate) fn put<B>(request: &mut Request<B>) -> UpgradePromise {
        let (sender, receiver) = oneshot::channel();
        request.extensions_mut().insert(UpgradeSlot(Arc::new(Mutex::new(Some(receiver)))));
        UpgradePromise(sender)
    }

    /// Hands the connection over. It is closed if the service does not wait for it.
    pub(crate) fn keep(self, connection: Upgraded) {
        let _ = self.0.send(connection);
    }
}
