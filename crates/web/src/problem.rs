//! An error that the client sees: problem details (RFC 9457) for programs, a page for people.

use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, VARY, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use maud::html;
use outflow_texts::{Language, Text, text};
use serde::ser::{Serialize, SerializeMap as _, Serializer};

use crate::body::ResponseBody;
use crate::reply::small;
use crate::{accept, page};

/// An error response: the status, what happened, and what the client can do.
#[derive(Clone, Debug)]
pub struct Problem {
    /// `about:blank` if the status says it all.
    kind: &'static str,
    title: Text,
    status: StatusCode,
    detail: Text,
    names: Option<Box<ProblemNames>>,
    /// A header field that belongs to the status.
    field: Option<Box<(HeaderName, HeaderValue)>>,
    /// The page links to the folder that the address is in.
    links_back: bool,
}

/// The names that a problem is about.
#[derive(Clone, Debug)]
struct ProblemNames {
    /// The member that lists them.
    member: &'static str,
    first: Box<[String]>,
    /// The number of all names.
    count: usize,
}

impl Problem {
    /// A problem that needs no more than a status and `detail`: sentences that say what happened
    /// and what to do.
    pub fn new(status: StatusCode, detail: Text) -> Problem {
        Problem {
            kind: "about:blank",
            title: title_of(status),
            status,
            detail,
            names: None,
            field: None,
            links_back: true,
        }
    }

    /// 400.
    pub fn bad_request(detail: Text) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, detail)
    }

    /// 404.
    #[must_use]
    pub fn not_found() -> Problem {
        Problem::new(StatusCode::NOT_FOUND, text!(nothing_here))
    }

    /// 405, with the methods that the address allows.
    #[must_use]
    pub fn method_not_allowed(allow: &'static str) -> Problem {
        Problem::new(StatusCode::METHOD_NOT_ALLOWED, text!(method_not_allowed, methods = allow))
            .with_field(ALLOW, HeaderValue::from_static(allow))
    }

    /// 500.
    pub fn internal(detail: Text) -> Problem {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail)
    }

    /// 500: the task that was to answer has ended without an answer.
    #[must_use]
    pub fn task_lost() -> Problem {
        Problem::internal(text!(task_lost))
    }

    /// 503: a limit is reached for the moment.
    pub fn busy(detail: Text) -> Problem {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).retry_after(5)
    }

    /// Sets the type, a URI, and the title that goes with it.
    #[must_use]
    pub fn with_type(self, kind: &'static str, title: Text) -> Problem {
        Problem { kind, title, ..self }
    }

    /// Adds the first of `count` names that the problem is about, and names the member that lists
    /// them.
    #[must_use]
    pub fn with_names(self, member: &'static str, first: impl Into<Box<[String]>>, count: usize) -> Problem {
        let names = ProblemNames { member, first: first.into(), count };
        Problem { names: Some(Box::new(names)), ..self }
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

    /// The response in `language` to a request with `method` and `headers`: a page if the client
    /// prefers HTML, problem details otherwise.
    #[must_use]
    pub fn respond(
        &self,
        method: &Method,
        headers: &HeaderMap,
        language: Language,
    ) -> Response<ResponseBody> {
        let mut response = if accept::prefers_html(headers) {
            small(method, self.status, page::HTML, self.page(language).into_bytes())
        } else {
            let type_ = HeaderValue::from_static("application/problem+json");
            // Strings and numbers are always JSON.
            small(method, self.status, type_, serde_json::to_vec(&self.details(language)).unwrap_or_default())
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

    fn details(&self, language: Language) -> ProblemDetails<'_> {
        ProblemDetails { problem: self, language }
    }

    fn page(&self, language: Language) -> String {
        let names: &[String] = self.names.as_deref().map_or(&[], |names| &names.first);
        let more = self.names.as_deref().map_or(0, |all| all.count.saturating_sub(names.len()));
        let title = language.say(&self.title);
        let body = html! {
            h1 { (title) }
            p { (language.say(&self.detail)) }
            @if !names.is_empty() {
                ul { @for name in names { li { (name) } } }
                @if more > 0 { p { (language.say(&text!(more_names, count = more))) } }
            }
            @if self.links_back { p { a href="./" { (language.say(&text!(to_the_folder))) } } }
            p.soft { (language.say(&text!(error_number, status = self.status.as_u16()))) }
        };
        page::document(language, &title, &body)
    }
}

/// A problem as RFC 9457 writes it.
struct ProblemDetails<'a> {
    problem: &'a Problem,
    language: Language,
}

/// The members in the order of RFC 9457; extension members last.
impl Serialize for ProblemDetails<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let ProblemDetails { problem, language } = self;
        let mut members = serializer.serialize_map(None)?;
        members.serialize_entry("type", problem.kind)?;
        members.serialize_entry("title", &language.say(&problem.title))?;
        members.serialize_entry("status", &problem.status.as_u16())?;
        members.serialize_entry("detail", &language.say(&problem.detail))?;
        if let Some(ProblemNames { member, first, count }) = problem.names.as_deref() {
            if !first.is_empty() {
                members.serialize_entry(member, first)?;
            }
            members.serialize_entry("count", count)?;
        }
        members.end()
    }
}

/// The titles of problems that have no type of their own, one for each status in use.
fn title_of(status: StatusCode) -> Text {
    match status.as_u16() {
        400 => text!(status_400),
        401 => text!(status_401),
        403 => text!(status_403),
        404 => text!(status_404),
        405 => text!(status_405),
        406 => text!(status_406),
        410 => text!(status_410),
        413 => text!(status_413),
        415 => text!(status_415),
        426 => text!(status_426),
        428 => text!(status_428),
        429 => text!(status_429),
        500 => text!(status_500),
        501 => text!(status_501),
        502 => text!(status_502),
        503 => text!(status_503),
        _ => text!(status_other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problem_details_list_names_behind_the_standard_members() {
        let problem = Problem::bad_request(text!(form_empty))
            .with_type("urn:x", text!(status_410))
            .with_names("missing", vec!["a".to_owned()], 2);
        let details =
            |problem: &Problem| serde_json::to_string(&problem.details(Language::default())).unwrap();
        assert_eq!(
            details(&problem),
            r#"{"type":"urn:x","title":"Gone","status":400,"detail":"Nothing is selected. Go back and tick what you want.","missing":["a"],"count":2}"#
        );
        assert_eq!(
            details(&Problem::not_found()),
            r#"{"type":"about:blank","title":"Not Found","status":404,"detail":"There is nothing at this address."}"#
        );
    }

    #[test]
    fn a_page_counts_the_names_that_it_does_not_list() {
        let page = |count| {
            let problem = Problem::not_found().with_names("missing", vec!["a".to_owned()], count);
            problem.page(Language::default())
        };
        assert!(page(3).contains("<ul><li>a</li></ul><p>and 2 more</p>"), "{}", page(3));
        assert!(page(1).contains("<ul><li>a</li></ul>") && !page(1).contains("more"), "{}", page(1));
    }

    #[test]
    fn english_titles_are_the_reasons_of_http() {
        for status in (400..600).filter_map(|code| StatusCode::from_u16(code).ok()) {
            let title = Language::default().say(&title_of(status));
            assert!(title == "Error" || Some(&*title) == status.canonical_reason(), "{status}: {title}");
        }
    }
}
