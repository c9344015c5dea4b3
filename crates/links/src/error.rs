//! Why a request is not let in, and how it is told.

use std::time::Duration;

use http::StatusCode;

/// Why a link does not let a request in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// Forged, altered, cut off, or signed with a key that is not known: nobody is told which.
    #[error("the link was not made by this server's keys, or not all of it is there")]
    NotGenuine,
    /// Signed, but not a link that could be understood.
    #[error("the link is signed, but makes no sense: {0}")]
    Nonsense(Box<str>),
    /// Its time is over.
    #[error("the link expired")]
    Expired {
        /// When, in seconds since 1970.
        since: i64,
    },
    /// It was used as often as it may be.
    #[error("the link is exhausted: it was for {max} downloads")]
    Exhausted {
        /// How often that is.
        max: u32,
    },
    /// It was taken back.
    #[error("the link was revoked")]
    Revoked,
    /// It is for something else.
    #[error("the address is not in the link's scope")]
    OutOfScope,
    /// It asks for a password, and none was given.
    #[error("the link asks for a password")]
    PasswordNeeded {
        /// The link's id.
        id: Box<str>,
    },
    /// The password is another one.
    #[error("a wrong password")]
    PasswordWrong {
        /// The link's id.
        id: Box<str>,
    },
    /// There were too many wrong passwords.
    #[error("too many wrong passwords")]
    TooManyTries {
        /// After this time one more is looked at.
        wait: Duration,
    },
    /// Without a link nothing is served.
    #[error("a link is needed")]
    Needed,
    /// The server could not look at the password.
    #[error("the password could not be checked: {0}")]
    Failed(Box<str>),
}

impl LinkError {
    /// The status that a request is answered with: 403 for what is no link, or not for this; 410 for what is over; 401
    /// and 429 for passwords.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            LinkError::NotGenuine | LinkError::Nonsense(_) | LinkError::OutOfScope | LinkError::Needed => {
                StatusCode::FORBIDDEN
            }
            LinkError::Expired { .. } | LinkError::Exhausted { .. } | LinkError::Revoked => StatusCode::GONE,
            LinkError::PasswordNeeded { .. } | LinkError::PasswordWrong { .. } => StatusCode::UNAUTHORIZED,
            LinkError::TooManyTries { .. } => StatusCode::TOO_MANY_REQUESTS,
            LinkError::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}
