//! An error that the client sees: problem details (RFC 9457) for programs, a page for people.

use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, VARY, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use maud::html;
use serde::ser::{Serialize, SerializeMap as _, Serializer};

use crate::body::ResponseBody;
use crate::reply::small;
use crate::{accept, page};

/// An error response: the status, what happened, and what the client can do.
#[derive(Clone, Debug)]
pub struct Problem {
    /// `about:blank` if the status says it all.
    kind: &'static str,
    title: &'static str,
    status: StatusCode,
    detail: Box<str>,
    /// The first names that belong to the problem, and the member that lists them.
    names: Option<(&'static str, Box<[String]>)>,
    /// The number of all names.
    count: Option<usize>,
    /// A header field that belongs to the status.
    field: Option<Box<(HeaderName, HeaderValue)>>,
    /// The page links to the folder that the address is in.
    links_back: bool,
}

impl Problem {
    /// A problem that needs no more than a status and `detail`: sentences that say what happened
    /// and what to do.
    pub fn new(status: StatusCode, detail: impl Into<Box<str>>) -> Problem {
        Problem {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status,
            detail: detail.into(),
            names: None,
            count: None,
            field: None,
            links_back: true,
        }
    }

    /// 400.
    pub fn bad_request(detail: impl Into<Box<str>>) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, detail)
    }

    /// 404.
    #[must_use]
    pub fn not_found() -> Problem {
        Problem::new(StatusCode::NOT_FOUND, "There is nothing at this address.")
    }

    /// 405, with the methods that the address allows.
    #[must_use]
    pub fn method_not_allowed(allow: &'static str) -> Problem {
        Problem::new(StatusCode::METHOD_NOT_ALLOWED, format!("This address answers {allow}."))
            .with_field(ALLOW, HeaderValue::from_static(allow))
    }

    /// 500.
    pub fn internal(detail: impl Into<Box<str>>) -> Problem {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail)
    }

    /// 503: a limit is reached for the moment.
    pub fn busy(detail: impl Into<Box<str>>) -> Problem {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).retry_after(5)
    }

    /// Sets the type, a URI, and the title that goes with it.
    #[must_use]
    pub fn with_type(self, kind: &'static str, title: &'static str) -> Problem {
        Problem { kind, title, ..self }
    }

    /// Adds the first of `count` names that the problem is about, and names the member that lists
    /// them.
    #[must_use]
    pub fn with_names(self, member: &'static str, first: impl Into<Box<[String]>>, count: usize) -> Problem {
        Problem { names: Some((member, first.into())), count: Some(count), ..self }
    }

    /// Sets the header field that belongs to the status.
    #[must_use]
    pub fn with_field(self, name: HeaderName, value: HeaderValue) -> Problem {
        Problem { field: Some(Box::new((name, value))), ..self }
    }

    /// Advises the client to retry after `seconds`.
    #[must_use]
    pub fn retry_after(self, seconds: u32) -> Problem {
        self.with_field(RETRY_AFTER, seconds.into())
    }

    /// Sets `WWW-Authenticate`, which every 401 has (RFC 9110, section 15.5.2).
    #[must_use]
    pub fn challenge(self, challenge: HeaderValue) -> Problem {
        self.with_field(WWW_AUTHENTICATE, challenge)
    }

    /// Leaves the link back out of the page, where there is no folder to go back to.
    #[must_use]
    pub fn without_link_back(self) -> Problem {
        Problem { links_back: false, ..self }
    }

    /// The status of the response.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// What happened and what to do.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The response to a request with `method` and `headers`: a page if the client prefers HTML,
    /// problem details otherwise.
    #[must_use]
    pub fn respond(&self, method: &Method, headers: &HeaderMap) -> Response<ResponseBody> {
        let mut response = if accept::prefers_html(headers) {
            small(method, self.status, page::HTML, self.page().into_bytes())
        } else {
            let type_ = HeaderValue::from_static("application/problem+json");
            // Strings and numbers are always JSON.
            small(method, self.status, type_, serde_json::to_vec(self).unwrap_or_default())
        };
        let fields = response.headers_mut();
        fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        fields.insert(VARY, HeaderValue::from_static("Accept"));
        if let Some((name, value)) = self.field.as_deref() {
            fields.insert(name, value.clone());
        }
        debug_assert!(fields.contains_key(CONTENT_TYPE));
        response
    }

    fn page(&self) -> String {
        let names: &[String] = self.names.as_ref().map_or(&[], |(_, names)| names);
        let body = html! {
            h1 { (self.title) }
            p { (self.detail) }
            @if !names.is_empty() {
                ul { @for name in names { li { (name) } } }
            }
            @if self.links_back { p { a href="./" { "To the folder" } } }
            p.soft { "Error " (self.status.as_u16()) }
        };
        page::document(self.title, &body)
    }
}

/// The members in the order of RFC 9457; extension members last.
impl Serialize for Problem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut members = serializer.serialize_map(None)?;
        members.serialize_entry("type", self.kind)?;
        members.serialize_entry("title", self.title)?;
        members.serialize_entry("status", &self.status.as_u16())?;
        members.serialize_entry("detail", &*self.detail)?;
        if let Some((member, names)) = self.names.as_ref().filter(|(_, names)| !names.is_empty()) {
            members.serialize_entry(member, names)?;
        }
        if let Some(count) = self.count {
            members.serialize_entry("count", &count)?;
        }
        members.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problem_details_list_names_behind_the_standard_members() {
        let problem = Problem::bad_request("Two names are wrong.").with_type("urn:x", "Wrong").with_names(
            "missing",
            vec!["a".to_owned()],
            2,
        );
        assert_eq!(
            serde_json::to_string(&problem).unwrap(),
            r#"{"type":"urn:x","title":"Wrong","status":400,"detail":"Two names are wrong.","missing":["a"],"count":2}"#
        );
        assert_eq!(
            serde_json::to_string(&Problem::not_found()).unwrap(),
            r#"{"type":"about:blank","title":"Not Found","status":404,"detail":"There is nothing at this address."}"#
        );
    }
}
