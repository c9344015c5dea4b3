//! How the bodies of requests and responses are delimited (RFC 9112 section 6, RFC 9110 section
//! 6.4).

use http::header::CONTENT_LENGTH;
use http::{Response, StatusCode, Version};
use http_body::Body;

/// How a request's body is delimited on HTTP/1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RequestFraming {
    Length(u64),
    Chunked,
}

/// How a response's body is delimited on HTTP/1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ResponseFraming {
    /// There is no body, and no field about its length: 1xx, 204, and 2xx to CONNECT.
    None,
    /// A Content-Length. For HEAD and 304 it describes a body that does not follow.
    Length(u64),
    /// The chunked transfer coding.
    Chunked,
    /// The end of the connection: HTTP/1.0 and an unknown length.
    UntilClose,
}

/// The framing of `response` for a client that speaks `version`.
pub(crate) fn response_framing<B: Body>(
    response: &Response<B>,
    version: Version,
    is_head: bool,
) -> ResponseFraming {
    let announced = || response.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok();
    let exact = response.body().size_hint().exact();
    let status = response.status();
    if status.is_informational() || status == StatusCode::NO_CONTENT {
        ResponseFraming::None
    } else if is_head || status == StatusCode::NOT_MODIFIED {
        // The length of the answer to GET; not the zero of the empty body that came with this one.
        let length = announced().or(exact.filter(|length| *length > 0));
        length.map_or(ResponseFraming::None, ResponseFraming::Length)
    } else if let Some(length) = announced().or(exact) {
        ResponseFraming::Length(length)
    } else if version == Version::HTTP_10 {
        ResponseFraming::UntilClose
    } else {
        ResponseFraming::Chunked
    }
}

/// The length that a response announces on HTTP/2, which frames bodies by itself.
pub(crate) fn announced_length<B: Body>(response: &Response<B>, is_head: bool) -> Option<u64> {
    match response_framing(response, Version::HTTP_2, is_head) {
        ResponseFraming::Length(length) => Some(length),
        ResponseFraming::None | ResponseFraming::Chunked | ResponseFraming::UntilClose => None,
    }
}

/// Whether a response with `status` to a request other than HEAD may have a body (RFC 9110 section
/// 6.4.1).
pub(crate) fn may_have_body(status: StatusCode) -> bool {
    !status.is_informational() && status != StatusCode::NO_CONTENT && status != StatusCode::NOT_MODIFIED
}
