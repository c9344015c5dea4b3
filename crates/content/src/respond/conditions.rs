//! Conditional requests: RFC 9110, section 13, evaluated in the order of 13.2.2.

use std::time::UNIX_EPOCH;

use http::header::{IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE};
use http::{HeaderMap, HeaderName};

use crate::EntityTag;
use crate::etag::{TagRef, is_star, listed};

/// The validators that conditions are compared with.
#[derive(Clone, Copy)]
pub(crate) struct Validators<'a> {
    pub(crate) etag: Option<&'a EntityTag>,
    /// Seconds since 1970.
    pub(crate) last_modified: Option<u64>,
}

/// The result of a GET or HEAD request's preconditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PreconditionResult {
    Proceed,
    NotModified,
    Failed,
}

/// Steps 1 to 4 of RFC 9110, 13.2.2, for GET and HEAD. The representation exists, so `*` matches
/// it.
pub(crate) fn evaluate(headers: &HeaderMap, validators: Validators<'_>) -> PreconditionResult {
    if headers.contains_key(IF_MATCH) {
        if !is_star(headers, &IF_MATCH) && !matches_strongly(headers, validators.etag) {
            return PreconditionResult::Failed;
        }
    } else if let Some(modified) = validators.last_modified
        && let Some(date) = date(headers, &IF_UNMODIFIED_SINCE)
        && modified > date
    {
        return PreconditionResult::Failed;
    }
    if headers.contains_key(IF_NONE_MATCH) {
        if is_star(headers, &IF_NONE_MATCH) || matches_weakly(headers, validators.etag) {
            return PreconditionResult::NotModified;
        }
    } else if let Some(modified) = validators.last_modified
        && let Some(date) = date(headers, &IF_MODIFIED_SINCE)
        && modified <= date
    {
        return PreconditionResult::NotModified;
    }
    PreconditionResult::Proceed
}

/// Step 5: whether `If-Range` (13.1.5) lets `Range` apply. `now` is the time of the answer in
/// seconds since 1970.
///
/// A value that cannot be parsed counts as another representation: the whole content is always a
/// correct answer.
pub(crate) fn range_applies(headers: &HeaderMap, validators: Validators<'_>, now: u64) -> bool {
    let mut lines = headers.get_all(IF_RANGE).iter();
    let Some(line) = lines.next() else { return true };
    if lines.next().is_some() {
        return false;
    }
    if let Some(asked) = TagRef::parse(line.as_bytes()) {
        return validators.etag.is_some_and(|etag| etag.as_ref().strong_eq(asked));
    }
    match (date(headers, &IF_RANGE), validators.last_modified) {
        // A date is a strong validator only if the content cannot have changed again within the
        // same second (8.8.2.2).
        (Some(date), Some(modified)) => date == modified && modified < now,
        _ => false,
    }
}

/// True if `If-Range` or `If-Match` names this tag (strong comparison; `*` names none).
///
/// A client that names a tag has begun a download of exactly that representation. A service that
/// can produce one content in several layouts finds out here which one to continue.
#[must_use]
pub fn mentions_etag(headers: &HeaderMap, etag: &EntityTag) -> bool {
    let if_range = headers.get(IF_RANGE).and_then(|line| TagRef::parse(line.as_bytes()));
    if_range.is_some_and(|asked| etag.as_ref().strong_eq(asked)) || matches_strongly(headers, Some(etag))
}

fn matches_strongly(headers: &HeaderMap, etag: Option<&EntityTag>) -> bool {
    etag.is_some_and(|etag| listed(headers, &IF_MATCH).any(|asked| etag.as_ref().strong_eq(asked)))
}

fn matches_weakly(headers: &HeaderMap, etag: Option<&EntityTag>) -> bool {
    etag.is_some_and(|etag| listed(headers, &IF_NONE_MATCH).any(|asked| etag.as_ref().weak_eq(asked)))
}

/// The date in a field, in seconds since 1970; `None` if there is none, if it is not an HTTP date,
/// or if there are several: such a field is ignored (13.1.3, 13.1.4).
fn date(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    let mut lines = headers.get_all(name).iter();
    let line = lines.next()?;
    if lines.next().is_some() {
        return None;
    }
    let date = httpdate::parse_http_date(line.to_str().ok()?.trim()).ok()?;
    date.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    /// 1994-11-06 08:49:37, the RFC's own example.
    const MODIFIED: u64 = 784_111_777;

    #[test]
    fn a_date_in_if_range_is_strong_only_a_second_later() {
        let mut headers = HeaderMap::new();
        headers.insert(IF_RANGE, HeaderValue::from_static("Sun, 06 Nov 1994 08:49:37 GMT"));
        let validators = Validators { etag: None, last_modified: Some(MODIFIED) };
        assert!(!range_applies(&headers, validators, MODIFIED - 1));
        assert!(!range_applies(&headers, validators, MODIFIED));
        assert!(range_applies(&headers, validators, MODIFIED + 1));
    }
}
