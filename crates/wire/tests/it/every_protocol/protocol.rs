//! The four protocols, and a server for each.

use std::future::Future;
use std::sync::Arc;

use http::Request;
use outflow_content::Content;
use outflow_wire::rustls::{ALL_VERSIONS, ClientConfig};
use outflow_wire::{RequestBody, ServerOptions, TlsOptions};
use parking_lot::Mutex;

use super::{Peer, Reader};
use crate::support::{
    Answer, Events, HttpClient, Identity, Running, respond, serve_h2, serve_tls, serve_with, watcher,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    /// HTTP/1 within TLS.
    Tls,
    Http2,
    /// HTTP/2 within TLS.
    Http2Tls,
}

impl Protocol {
    pub(crate) fn is_http2(self) -> bool {
        matches!(self, Protocol::Http2 | Protocol::Http2Tls)
    }

    pub(crate) fn is_secure(self) -> bool {
        matches!(self, Protocol::Tls | Protocol::Http2Tls)
    }

    /// A server that speaks it.
    pub(crate) fn serve<F, A>(self, options: ServerOptions, service: F) -> Site
    where
        F: Fn(Request<RequestBody>) -> A + Send + Sync + 'static,
        A: Future<Output = Answer> + Send + 'static,
    {
        if !self.is_secure() {
            let server = match self.is_http2() {
                true => serve_h2(options, service),
                false => serve_with(options, 1, service),
            };
            return Site { protocol: self, server, config: None };
        }
        let identity = Identity::new();
        let server = serve_tls(options, identity.tls(&TlsOptions::default()), service);
        let offered: &[u8] = if self.is_http2() { b"h2" } else { b"http/1.1" };
        Site { protocol: self, server, config: Some(identity.client(ALL_VERSIONS, &[offered])) }
    }

    /// A server that answers every request with the content that `content` makes.
    pub(crate) fn serve_content(
        self,
        options: ServerOptions,
        content: impl Fn(&Request<RequestBody>) -> Content + Send + Sync + 'static,
    ) -> Site {
        self.serve(options, move |request| {
            let response = respond(content(&request), request.method(), request.headers());
            async move { Ok(response) }
        })
    }
}

/// A server, and how to reach it.
pub(crate) struct Site {
    pub(crate) protocol: Protocol,
    pub(crate) server: Running,
    config: Option<Arc<ClientConfig>>,
}

impl Site {
    pub(crate) fn peer(&self) -> Peer {
        Peer::connect(self.protocol, self.server.addr, self.config.as_ref())
    }

    pub(crate) fn reader(&self) -> Reader {
        self.reader_over(self.server.client())
    }

    /// With a receive buffer of `bytes`.
    pub(crate) fn narrow_reader(&self, bytes: usize) -> Reader {
        self.reader_over(self.server.narrow_client(bytes))
    }

    pub(crate) fn reader_over(&self, client: HttpClient) -> Reader {
        let client = match &self.config {
            Some(config) => client.secure("localhost", config).expect("a handshake"),
            None => client,
        };
        Reader::over(self.protocol, client)
    }
}

/// A server that gives each delivery the next of `n` watchers.
pub(crate) fn watched(
    protocol: Protocol,
    n: usize,
    options: ServerOptions,
    content: impl Fn() -> Content + Send + Sync + 'static,
) -> (Site, Vec<Events>) {
    let (observers, events): (Vec<_>, Vec<_>) = (0..n).map(|_| watcher()).unzip();
    let observers = Mutex::new(observers.into_iter());
    let site = protocol.serve_content(options, move |_| {
        content().observer(observers.lock().next().expect("a watcher for every request"))
    });
    (site, events)
}
