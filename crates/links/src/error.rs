//! Why a link does not admit a request.

use std::time::Duration;

use http::StatusCode;

/// Why a link does not admit a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// Forged, altered, cut off, or signed with an unknown key. The error does not say which.
    #[error("the link is not signed with one of this server's keys, or is incomplete")]
    NotGenuine,
    /// Signed, but with invalid terms.
    #[error("the link is signed, but invalid: {0}")]
    Invalid(Box<str>),
    /// It has expired.
    #[error("the link expired")]
    Expired {
        /// When it expired, in seconds since 1970.
        since: i64,
    },
    /// It has been used for its maximum number of downloads.
    #[error("the link is exhausted: it was for {max} downloads")]
    Exhausted {
        /// The maximum.
        max: u32,
    },
    /// It was revoked.
    #[error("the link was revoked")]
    Revoked,
    /// It is for another address.
    #[error("the address is not in the link's scope")]
    OutOfScope,
    /// It needs a password, and the request has none.
    #[error("the link needs a password")]
    PasswordNeeded {
        /// The link's id.
        id: Box<str>,
    },
    /// The password is wrong.
    #[error("a wrong password")]
    PasswordWrong {
        /// The link's id.
        id: Box<str>,
    },
    /// Too many wrong passwords were tried.
    #[error("too many wrong passwords")]
    TooManyTries {
        /// Time until the next attempt.
        wait: Duration,
    },
    /// The server serves nothing without a link.
    #[error("a link is needed")]
    Needed,
    /// The server could not check the password.
    #[error("could not check the password: {0}")]
    Failed(Box<str>),
}

impl LinkError {
    /// The status of the response: 403 for an invalid link or another address, 410 for a link that
    /// is no longer valid, 401 and 429 for passwords.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            LinkError::NotGenuine | LinkError::Invalid(_) | LinkError::OutOfScope | LinkError::Needed => {
                StatusCode::FORBIDDEN
            }
            LinkError::Expired { .. } | LinkError::Exhausted { .. } | LinkError::Revoked => StatusCode::GONE,
            LinkError::PasswordNeeded { .. } | LinkError::PasswordWrong { .. } => StatusCode::UNAUTHORIZED,
            LinkError::TooManyTries { .. } => StatusCode::TOO_MANY_REQUESTS,
            LinkError::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}
