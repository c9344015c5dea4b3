//! The errors of collections, stores and links as problems that the client sees.
//!
//! ```text
//! link_text   what people read when a link does not admit them
//! ```

mod link_text;

use http::{HeaderValue, StatusCode};
use outflow_catalog::{OpenError, OpenErrorKind, StoreError, StoreErrorKind, Unreadable, WalkError};
use outflow_links::LinkError;
use outflow_web::Problem;

use link_text::{LinkErrorText as _, seconds};

/// An error that becomes a problem.
pub(crate) trait ToProblem {
    fn to_problem(&self) -> Problem;
}

/// Selected files that are not there: `first` of `count`.
pub(crate) fn missing_files(first: Vec<String>, count: usize) -> Problem {
    let detail = match (count, first.first()) {
        (1, Some(name)) => format!("{name} is not in this folder. Select again."),
        _ => format!("{count} of the selected files are not in this folder. Select again."),
    };
    missing(detail, first, count)
}

/// `gone` of the `selected` files that a selection's token stands for are no longer there.
pub(crate) fn gone_files(gone: usize, selected: usize) -> Problem {
    let verb = if gone == 1 { "is" } else { "are" };
    let files = if selected == 1 { "file" } else { "files" };
    let detail = format!(
        "{gone} of the {selected} selected {files} {verb} no longer there. Select again in the folder."
    );
    missing(detail, Vec::new(), gone)
}

fn missing(detail: String, first: Vec<String>, count: usize) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, detail)
        .with_type("urn:outflow:problem:missing-files", "Selected files are missing")
        .with_names("missing", first, count)
}

/// Files of an archive that the server may not read.
pub(crate) fn unreadable_files(unreadable: &Unreadable) -> Problem {
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
    Problem::new(StatusCode::FORBIDDEN, detail)
        .with_type("urn:outflow:problem:unreadable-files", "Some files cannot be read")
        .with_names("unreadable", unreadable.first.as_slice(), unreadable.count)
}

impl ToProblem for OpenError {
    fn to_problem(&self) -> Problem {
        let forbidden = |detail: &str| Problem::new(StatusCode::FORBIDDEN, detail);
        match &self.kind {
            OpenErrorKind::NotFound => Problem::not_found(),
            OpenErrorKind::Denied => {
                forbidden("The server may not read this. Ask its owner for the permission.")
            }
            OpenErrorKind::LinkRefused => {
                forbidden("This is a symbolic link to a place outside the served folder.")
            }
            OpenErrorKind::NotAFile => forbidden("This is neither a file nor a folder."),
            OpenErrorKind::NoDescriptors => {
                tracing::warn!(
                    path = self.path,
                    "cannot open a file: too many files are open; raise the limit of open files"
                );
                Problem::busy("The server has too many files open. Try again in a few seconds.")
            }
            OpenErrorKind::TooBig { limit } => Problem::internal(format!(
                "This folder has more than {limit} entries, too many for one page. Open its files by their addresses, or download its archive (?zip)."
            )),
            OpenErrorKind::Other(error) if error.is::<StoreError>() => {
                error.downcast_ref::<StoreError>().map_or_else(Problem::not_found, ToProblem::to_problem)
            }
            OpenErrorKind::WouldBlock | OpenErrorKind::Io(_) | OpenErrorKind::Other(_) => {
                tracing::warn!(error = %self, "cannot open a file or folder");
                Problem::internal("The server could not read this. Its log says why.")
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
                let detail =
                    "The store behind this server cannot list its files. Open a file by its full address.";
                Problem::new(StatusCode::NOT_IMPLEMENTED, detail)
            }
            StoreErrorKind::Unavailable(_) => {
                tracing::warn!(error = %self, "cannot reach the store");
                Problem::busy("The store behind this server does not answer. Try again in a few seconds.")
            }
            StoreErrorKind::Denied(_) | StoreErrorKind::Misconfigured(_) | StoreErrorKind::TooBig { .. } => {
                tracing::warn!(error = %self, "the store rejects a request");
                let detail = "The store behind this server rejects the request. The server's log says why.";
                Problem::new(StatusCode::BAD_GATEWAY, detail)
            }
        }
    }
}

impl ToProblem for WalkError {
    fn to_problem(&self) -> Problem {
        match self {
            WalkError::Open(error) => error.to_problem(),
            WalkError::Missing { count, first } => missing_files(first.clone(), *count),
            WalkError::TooMany { .. } | WalkError::TooDeep { .. } => {
                tracing::warn!(error = %self, "cannot make an archive of a folder");
                Problem::new(
                    StatusCode::FORBIDDEN,
                    format!("This folder is too large for one archive: {self}. Select parts of it."),
                )
            }
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
