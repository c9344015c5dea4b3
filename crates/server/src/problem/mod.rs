//! The errors of collections, stores and links as problems that the client sees.
//!
//! ```text
//! link_text   what people read when a link does not admit them
//! ```

mod link_text;

use http::{HeaderValue, StatusCode};
use outflow_catalog::{OpenError, OpenErrorKind, StoreError, StoreErrorKind, Unreadable, WalkError};
use outflow_content::MalformedUrlPath;
use outflow_links::LinkError;
use outflow_texts::{Text, text};
use outflow_web::Problem;

use link_text::{LinkErrorText as _, seconds};

/// An error that becomes a problem.
pub(crate) trait ToProblem {
    fn to_problem(&self) -> Problem;
}

/// Selected files that are not there: `first` of `count`.
pub(crate) fn missing_files(first: Vec<String>, count: usize) -> Problem {
    let detail = match (count, first.first()) {
        (1, Some(name)) => text!(selected_file_missing, name),
        _ => text!(selected_files_missing, count),
    };
    missing(detail, first, count)
}

/// `gone` of the `selected` files that a selection's token stands for are no longer there.
pub(crate) fn gone_files(gone: usize, selected: usize) -> Problem {
    missing(text!(selected_files_gone, gone, selected), Vec::new(), gone)
}

fn missing(detail: Text, first: Vec<String>, count: usize) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, detail)
        .with_type("urn:outflow:problem:missing-files", text!(missing_files_title))
        .with_names("missing", first, count)
}

/// Files of an archive that the server may not read.
pub(crate) fn unreadable_files(unreadable: &Unreadable) -> Problem {
    let detail = match (unreadable.count, unreadable.first.first()) {
        (1, Some(name)) => text!(unreadable_file, name),
        (count, _) => text!(unreadable_files, count),
    };
    Problem::new(StatusCode::FORBIDDEN, detail)
        .with_type("urn:outflow:problem:unreadable-files", text!(unreadable_files_title))
        .with_names("unreadable", unreadable.first.as_slice(), unreadable.count)
}

/// Why there can be no address like this.
pub(crate) fn malformed_address(why: MalformedUrlPath) -> Problem {
    let why = match why {
        MalformedUrlPath::NoSlash => text!(address_without_slash),
        MalformedUrlPath::Dots => text!(address_with_dots),
        MalformedUrlPath::Nul => text!(address_with_nul),
        MalformedUrlPath::EncodedSlash => text!(address_with_encoded_slash),
        MalformedUrlPath::Percent => text!(address_with_bad_percent),
        MalformedUrlPath::Backslash => text!(address_with_backslash),
    };
    Problem::bad_request(text!(bad_address, why))
}

impl ToProblem for OpenError {
    fn to_problem(&self) -> Problem {
        let forbidden = |detail| Problem::new(StatusCode::FORBIDDEN, detail);
        match &self.kind {
            OpenErrorKind::NotFound => Problem::not_found(),
            OpenErrorKind::Denied => forbidden(text!(file_denied)),
            OpenErrorKind::LinkRefused => forbidden(text!(symbolic_link_refused)),
            OpenErrorKind::NotAFile => forbidden(text!(not_a_file)),
            OpenErrorKind::NoDescriptors => {
                tracing::warn!(
                    path = self.path,
                    "cannot open a file: too many files are open; raise the limit of open files"
                );
                Problem::busy(text!(too_many_open_files))
            }
            OpenErrorKind::TooBig { limit } => Problem::internal(text!(folder_too_big, limit = *limit)),
            OpenErrorKind::Other(error) if error.is::<StoreError>() => {
                error.downcast_ref::<StoreError>().map_or_else(Problem::not_found, ToProblem::to_problem)
            }
            OpenErrorKind::WouldBlock | OpenErrorKind::Io(_) | OpenErrorKind::Other(_) => {
                tracing::warn!(error = %self, "cannot open a file or folder");
                Problem::internal(text!(unreadable))
            }
        }
    }
}

/// The error itself names objects of the store, so it goes to the log only.
impl ToProblem for StoreError {
    fn to_problem(&self) -> Problem {
        match &self.kind {
            StoreErrorKind::NotFound => Problem::not_found(),
            StoreErrorKind::Unsupported(_) => {
                tracing::debug!(error = %self, "the store does not support a request");
                Problem::new(StatusCode::NOT_IMPLEMENTED, text!(store_cannot_list))
            }
            StoreErrorKind::Unavailable(_) => {
                tracing::warn!(error = %self, "cannot reach the store");
                Problem::busy(text!(store_unavailable))
            }
            StoreErrorKind::Denied(_) | StoreErrorKind::Misconfigured(_) | StoreErrorKind::TooBig { .. } => {
                tracing::warn!(error = %self, "the store rejects a request");
                Problem::new(StatusCode::BAD_GATEWAY, text!(store_rejects))
            }
        }
    }
}

/// `error` says that a folder is too large for an archive, and so does `why`.
fn too_large(error: &WalkError, why: Text) -> Problem {
    tracing::warn!(%error, "cannot make an archive of a folder");
    Problem::new(StatusCode::FORBIDDEN, text!(archive_too_large, why))
}

impl ToProblem for WalkError {
    fn to_problem(&self) -> Problem {
        match self {
            WalkError::Open(error) => error.to_problem(),
            WalkError::Missing { count, first } => missing_files(first.clone(), *count),
            WalkError::TooMany { limit } => too_large(self, text!(more_than_files, limit = *limit)),
            WalkError::TooDeep { path } => too_large(self, text!(nested_too_deeply, path)),
        }
    }
}

impl ToProblem for LinkError {
    fn to_problem(&self) -> Problem {
        if let LinkError::Failed(why) = self {
            tracing::error!(why, "could not check a password");
        }
        let problem = Problem::new(self.status(), self.detail()).with_type(self.kind(), self.title());
        let problem = match self {
            LinkError::PasswordNeeded { id } | LinkError::PasswordWrong { id } => {
                // A realm of its own, so that no password is offered to another link.
                let challenge = format!("Basic realm=\"Outflow link {id}\", charset=\"UTF-8\"");
                // An id is letters and digits.
                let plain = HeaderValue::from_static("Basic realm=\"Outflow link\", charset=\"UTF-8\"");
                problem.challenge(HeaderValue::try_from(challenge).unwrap_or(plain))
            }
            LinkError::TooManyTries { wait } => problem.retry_after(seconds(*wait)),
            _ => problem,
        };
        problem.without_link_back()
    }
}
