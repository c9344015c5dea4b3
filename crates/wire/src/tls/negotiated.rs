//! What a handshake tells of its connection.

use std::sync::Arc;

use super::TlsSession;

/// TLS of the connection that a request came on, in its extensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secure {
    /// The host name that the client requested (SNI, RFC 6066), in lower case.
    pub host: Option<Arc<str>>,
}

/// What a client speaks on a listener with TLS.
#[cfg_attr(not(feature = "tls"), expect(dead_code, reason = "there is no listener with TLS"))]
pub(crate) enum NegotiatedProtocol {
    /// HTTP/1 within TLS.
    Http1(TlsSession),
    /// HTTP/2 within TLS.
    Http2(TlsSession),
    /// HTTP without TLS, by mistake.
    Clear,
    /// Nothing: the connection is over.
    None,
}
