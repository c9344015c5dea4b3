//! Small responses that take no content: bytes in memory, redirects, the answer to OPTIONS.

use http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, LOCATION, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Method, Response, StatusCode};

use crate::body::ResponseBody;

/// A response of bytes in memory; without the bytes if the request's method is HEAD.
#[must_use]
pub fn small(
    method: &Method,
    status: StatusCode,
    media_type: HeaderValue,
    bytes: Vec<u8>,
) -> Response<ResponseBody> {
    let len = HeaderValue::from(bytes.len());
    let body = if *method == Method::HEAD { ResponseBody::empty() } else { bytes.into() };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let fields = response.headers_mut();
    fields.insert(CONTENT_TYPE, media_type);
    fields.insert(CONTENT_LENGTH, len);
    fields.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// 204 with the methods that an address allows.
#[must_use]
pub fn options(allow: &'static str) -> Response<ResponseBody> {
    let mut response = no_content();
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    response
}

/// 204. A client of server-sent events does not reconnect after it (WHATWG HTML, section 9.2.3).
#[must_use]
pub fn no_content() -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// A redirect to `to`, a percent-encoded address. 404 if that cannot be a field value.
#[must_use]
pub fn redirect(status: StatusCode, to: &str) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::empty());
    // Percent-encoded paths and queries that came in an address are always a field value.
    if let Ok(to) = HeaderValue::from_str(to) {
        *response.status_mut() = status;
        response.headers_mut().insert(LOCATION, to);
    } else {
        *response.status_mut() = StatusCode::NOT_FOUND;
    }
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    response
}
