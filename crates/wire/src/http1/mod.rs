//! HTTP/1.0 and HTTP/1.1 (RFC 9112).

pub(crate) mod encode;
pub(crate) mod exchange;
pub(crate) mod head;
