//! What went wrong, told to whoever asked: problem details (RFC 9457) to programs, a page to people.

use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, VARY, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use outflow_catalog::{OpenError, OpenErrorKind, StoreError, StoreErrorKind, Unreadable, WalkError};
use serde::Serialize;

use crate::body::ServerBody;
use crate::shared::small;
use crate::{accept, page};

/// An answer that is not what was asked for.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Problem {
    /// `about:blank` where the status says it all.
    #[serde(rename = "type")]
    kind: &'static str,
    pub(crate) title: &'static str,
    #[serde(serialize_with = "as_number")]
    pub(crate) status: StatusCode,
    /// What happened and what to do.
    pub(crate) detail: Box<str>,
    /// Selected files that are not there; the first of them.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    missing: Box<[String]>,
    /// Files that cannot be read; the first of them.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    unreadable: Box<[String]>,
    /// How many are missing or unreadable in all.
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<usize>,
    /// A field that belongs to the status.
    #[serde(skip)]
    field: Option<Box<(HeaderName, HeaderValue)>>,
    /// There is a folder to go back to.
    #[serde(skip)]
    pub(crate) way_back: bool,
}

// The signature is serde's.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn as_number<S: serde::Serializer>(status: &StatusCode, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u16(status.as_u16())
}

impl Problem {
    pub(crate) fn new(status: StatusCode, detail: impl Into<Box<str>>) -> Problem {
        Problem {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status,
            detail: detail.into(),
            missing: Box::default(),
            unreadable: Box::default(),
            count: None,
            field: None,
            way_back: true,
        }
    }

    /// Where it happened there is no folder that a page could lead back to.
    pub(crate) fn without_way_back(self) -> Problem {
        Problem { way_back: false, ..self }
    }

    pub(crate) fn bad_request(detail: impl Into<Box<str>>) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, detail)
    }

    pub(crate) fn not_found() -> Problem {
        Problem::new(StatusCode::NOT_FOUND, "There is nothing at this address.")
    }

    pub(crate) fn method(allow: &'static str) -> Problem {
        let detail = format!("This address answers {allow}.");
        let allow = (ALLOW, HeaderValue::from_static(allow));
        Problem { field: Some(allow.into()), ..Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail) }
    }

    pub(crate) fn internal(detail: impl Into<Box<str>>) -> Problem {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail)
    }

    /// There is no room for this right now.
    pub(crate) fn busy(detail: impl Into<Box<str>>) -> Problem {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).retry_after(5)
    }

    /// With a type and a title of its own.
    pub(crate) fn of_kind(self, kind: &'static str, title: &'static str) -> Problem {
        Problem { kind, title, ..self }
    }

    /// With a field that belongs to its status.
    pub(crate) fn field(self, name: HeaderName, value: HeaderValue) -> Problem {
        Problem { field: Some(Box::new((name, value))), ..self }
    }

    /// With the advice to try again after so many seconds.
    pub(crate) fn retry_after(self, seconds: u32) -> Problem {
        self.field(RETRY_AFTER, seconds.into())
    }

    /// With the field `WWW-Authenticate`, which every 401 has (RFC 9110, section 15.5.2).
    pub(crate) fn challenge(self, challenge: HeaderValue) -> Problem {
        self.field(WWW_AUTHENTICATE, challenge)
    }

    /// Selected files that are not there: `first` of `count`.
    pub(crate) fn missing(first: Vec<String>, count: usize) -> Problem {
        let detail = match (count, first.first()) {
            (1, Some(name)) => format!("{name} is not in this folder. Select again."),
            _ => format!("{count} of the selected files are not in this folder. Select again."),
        };
        Problem {
            kind: "urn:outflow:problem:missing-files",
            title: "Selected files are missing",
            missing: first.into(),
            count: Some(count),
            ..Problem::new(StatusCode::NOT_FOUND, detail)
        }
    }

    /// `gone` of the `selected` files that a token stands for are not there any more.
    pub(crate) fn gone(gone: usize, selected: usize) -> Problem {
        let verb = if gone == 1 { "is" } else { "are" };
        let files = if selected == 1 { "file" } else { "files" };
        let detail = format!(
            "{gone} of the {selected} selected {files} {verb} no longer there. Select again in the folder."
        );
        Problem {
            kind: "urn:outflow:problem:missing-files",
            title: "Selected files are missing",
            count: Some(gone),
            ..Problem::new(StatusCode::NOT_FOUND, detail)
        }
    }

    /// Files of an archive that the server may not read.
    pub(crate) fn unreadable(unreadable: &Unreadable) -> Problem {
        let detail = match (unreadable.count, unreadable.first.first()) {
            (1, Some(name)) => {
                format!(
                    "The server may not read {name}, so the archive would not be complete. Select other files."
                )
            }
            (count, _) => format!(
                "The server may not read {count} of the files, so the archive would not be complete. Select other files."
            ),
        };
        Problem {
            kind: "urn:outflow:problem:unreadable-files",
            title: "Some files cannot be read",
            unreadable: unreadable.first.as_slice().into(),
            count: Some(unreadable.count),
            ..Problem::new(StatusCode::FORBIDDEN, detail)
        }
    }

    /// The answer: a page if `headers` ask for one, problem details otherwise.
    pub(crate) fn respond(&self, method: &Method, headers: &HeaderMap) -> Response<ServerBody> {
        let mut response = if accept::prefers_html(headers) {
            small(method, self.status, page::HTML, page::problem(self).into_bytes())
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

    /// The names that belong to it, for the page.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.missing.iter().chain(&self.unreadable).map(String::as_str)
    }
}

impl From<&OpenError> for Problem {
    fn from(error: &OpenError) -> Problem {
        let forbidden = |detail: &str| Problem::new(StatusCode::FORBIDDEN, detail);
        match &error.kind {
            OpenErrorKind::NotFound => Problem::not_found(),
            OpenErrorKind::Denied => {
                forbidden("The server may not read this. Ask its owner for the permission.")
            }
            OpenErrorKind::LinkRefused => forbidden("This is a link that leads out of the served folder."),
            OpenErrorKind::NotAFile => forbidden("This is neither a file nor a folder."),
            OpenErrorKind::NoDescriptors => {
                tracing::warn!(path = error.path, "no file can be opened: too many are open already");
                Problem::busy("The server has too many files open. Try again in a few seconds.")
            }
            OpenErrorKind::TooBig { limit } => Problem::internal(format!(
                "This folder has more than {limit} entries, too many for one page. Its files and its archive (?zip) can be had all the same."
            )),
            OpenErrorKind::Store(error) => error.into(),
            OpenErrorKind::WouldBlock | OpenErrorKind::Io(_) => {
                tracing::warn!(%error, "cannot open");
                Problem::internal("The system could not read this. The server's log says why.")
            }
        }
    }
}

/// What a store says names objects, and so is for the log; clients are told what it means for them.
impl From<&StoreError> for Problem {
    fn from(error: &StoreError) -> Problem {
        match &error.kind {
            StoreErrorKind::NotFound => Problem::not_found(),
            StoreErrorKind::Unsupported(_) => {
                tracing::debug!(%error, "the store cannot do this");
                let detail = "The store behind this server cannot list what it has. Ask for a file by its full address.";
                Problem::new(StatusCode::NOT_IMPLEMENTED, detail)
            }
            StoreErrorKind::Unavailable(_) => {
                tracing::warn!(%error, "the store cannot be reached");
                Problem::busy("The store behind this server does not answer. Try again in a few seconds.")
            }
            StoreErrorKind::Denied(_) | StoreErrorKind::Misconfigured(_) | StoreErrorKind::TooBig { .. } => {
                tracing::warn!(%error, "the store does not give this");
                let detail = "The store behind this server does not give this. The server's log says why.";
                Problem::new(StatusCode::BAD_GATEWAY, detail)
            }
        }
    }
}

impl From<&WalkError> for Problem {
    fn from(error: &WalkError) -> Problem {
        match error {
            WalkError::Open(error) => error.into(),
            WalkError::Missing { count, first } => Problem::missing(first.clone(), *count),
            WalkError::TooMany { .. } | WalkError::TooDeep { .. } => {
                tracing::warn!(%error, "no archive of this folder");
                Problem::new(
                    StatusCode::FORBIDDEN,
                    format!("No archive of this folder: {error}. Select parts of it."),
                )
            }
        }
    }
}
