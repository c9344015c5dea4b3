//! One connection, from its first byte to its end.

use std::io;
use std::sync::Arc;

use http::StatusCode;

use super::proxy;
use crate::connection::Connection;
use crate::connection::buffer::PooledBuffer;
use crate::context::ThreadContext;
use crate::counters::HandshakeOutcome;
use crate::http1::{self, RequestRefusal};
use crate::http2;
use crate::service::HttpService;
use crate::tls::{NegotiatedProtocol, Tls};

/// What a connection turns out to be, and what was read from it to find out.
enum ConnectionKind {
    Http1(Option<PooledBuffer>),
    Http2(PooledBuffer),
    Over,
}

/// Serves one connection to its end. Not an `async fn`, which would keep its arguments twice.
#[allow(clippy::manual_async_fn)]
pub(super) fn serve<S: HttpService>(
    mut connection: Connection,
    tls: Option<Arc<Tls>>,
    context: Arc<ThreadContext<S>>,
) -> impl Future<Output = ()> + Send {
    async move {
        let options = &context.options;
        let kind = if tls.is_some() || options.http2_cleartext || options.is_proxy(connection.peer.ip()) {
            Box::pin(open(&mut connection, tls, &context)).await
        } else {
            ConnectionKind::Http1(None)
        };
        match kind {
            ConnectionKind::Http1(input) => http1::serve(&mut connection, input, &context).await,
            ConnectionKind::Http2(input) => {
                context.counters.http2.inc();
                Box::pin(http2::serve(connection, input, &context)).await;
            }
            ConnectionKind::Over => {}
        }
    }
}

/// Reads the PROXY header, negotiates TLS, and finds out which HTTP the client speaks: as far as
/// each is asked for.
async fn open<S: HttpService>(
    connection: &mut Connection,
    tls: Option<Arc<Tls>>,
    context: &ThreadContext<S>,
) -> ConnectionKind {
    let options = &context.options;
    if options.is_proxy(connection.peer.ip()) && !proxy::accept(connection, options).await {
        return ConnectionKind::Over;
    }
    let Some(tls) = tls else {
        return match options.http2_cleartext {
            true => detect_version(connection, context).await,
            false => ConnectionKind::Http1(None),
        };
    };
    // The handshake has a deadline of its own, because received bytes do not extend it.
    let negotiated = tls.accept(connection.stream(), context.ending.subscribe()).await;
    connection.timer().set(options.keep_alive_timeout);
    context.counters.handshakes.of(outcome(&negotiated)).inc();
    match negotiated {
        Ok(NegotiatedProtocol::Http1(session)) => {
            connection.secure(session);
            ConnectionKind::Http1(None)
        }
        Ok(NegotiatedProtocol::Http2(session)) => {
            connection.secure(session);
            ConnectionKind::Http2(PooledBuffer::none())
        }
        Ok(NegotiatedProtocol::Clear) => {
            let reason = "this port speaks TLS: use https://";
            let refusal = RequestRefusal::new(StatusCode::BAD_REQUEST, reason);
            http1::refuse(connection, context, &refusal).await;
            ConnectionKind::Over
        }
        Ok(NegotiatedProtocol::None) => ConnectionKind::Over,
        Err(error) => {
            // On the open net, most of this is noise.
            tracing::debug!(client = %connection.peer, %error, "TLS handshake failed");
            ConnectionKind::Over
        }
    }
}

fn outcome(negotiated: &io::Result<NegotiatedProtocol>) -> HandshakeOutcome {
    match negotiated {
        Ok(NegotiatedProtocol::Http1(_) | NegotiatedProtocol::Http2(_)) => HandshakeOutcome::Completed,
        Ok(NegotiatedProtocol::Clear) => HandshakeOutcome::NotTls,
        Ok(NegotiatedProtocol::None) => HandshakeOutcome::Closed,
        Err(_) => HandshakeOutcome::Failed,
    }
}

/// Reads whether a connection in the clear begins as HTTP/2 does.
async fn detect_version<S>(connection: &mut Connection, context: &ThreadContext<S>) -> ConnectionKind {
    match http2::sniff(connection, context).await {
        None => ConnectionKind::Over,
        Some((true, input)) => ConnectionKind::Http2(input),
        Some((false, input)) => {
            connection.timer().set(context.options.keep_alive_timeout);
            ConnectionKind::Http1(Some(input))
        }
    }
}
