//! What both versions of HTTP share: a request's body, the `Date` field.

pub(crate) mod chunked;
pub(crate) mod date;
pub(crate) mod request_body;
