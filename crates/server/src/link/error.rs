//! Why a request is not let in, and how it is told.

use std::time::Duration;

use http::StatusCode;
use outflow_web::page;

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

    /// What happened and what to do.
    #[must_use]
    pub fn detail(&self) -> String {
        match self {
            LinkError::NotGenuine => {
                "This link is not valid. It may not have been copied as a whole: try it again from where it was sent \
                 to you, or ask whoever sent it for a new one."
                    .to_owned()
            }
            LinkError::Nonsense(why) => {
                format!("This link is signed, but whoever made it made a mistake: {why}. Ask for a new one.")
            }
            LinkError::Expired { since } => format!(
                "This link was good until {} (UTC). Ask whoever sent it for a new one.",
                page::time(*since)
            ),
            LinkError::Exhausted { max: 1 } => {
                "This link was for one download, which is done. Ask whoever sent it for a new one.".to_owned()
            }
            LinkError::Exhausted { max } => format!(
                "This link was for {max} downloads, which are done. Ask whoever sent it for a new one."
            ),
            LinkError::Revoked => {
                "This link was taken back by whoever sent it. Ask there for a new one.".to_owned()
            }
            LinkError::OutOfScope => {
                "This link is for something else. Use it as it was sent to you, or ask for another one.".to_owned()
            }
            LinkError::PasswordNeeded { .. } => {
                "This link asks for a password. Whoever sent the link knows it; any user name will do.".to_owned()
            }
            LinkError::PasswordWrong { .. } => {
                "This is not the link's password. Whoever sent the link knows it; any user name will do.".to_owned()
            }
            LinkError::TooManyTries { wait } => {
                format!("There were too many wrong passwords. Try again in {} seconds.", seconds(*wait))
            }
            LinkError::Needed => {
                "Files are here for whoever has a link to them. Ask whoever sent you here for one.".to_owned()
            }
            LinkError::Failed(_) => "The password could not be checked. Try again.".to_owned(),
        }
    }

    pub(crate) fn kind(&self) -> &'static str {
        match self {
            LinkError::NotGenuine | LinkError::Nonsense(_) => "urn:outflow:problem:link-invalid",
            LinkError::Expired { .. } => "urn:outflow:problem:link-expired",
            LinkError::Exhausted { .. } => "urn:outflow:problem:link-exhausted",
            LinkError::Revoked => "urn:outflow:problem:link-revoked",
            LinkError::OutOfScope => "urn:outflow:problem:link-scope",
            LinkError::PasswordNeeded { .. } | LinkError::PasswordWrong { .. } => {
                "urn:outflow:problem:link-password"
            }
            LinkError::Needed => "urn:outflow:problem:link-needed",
            LinkError::TooManyTries { .. } | LinkError::Failed(_) => "about:blank",
        }
    }

    pub(crate) fn title(&self) -> &'static str {
        match self {
            LinkError::NotGenuine | LinkError::Nonsense(_) => "The link is not valid",
            LinkError::Expired { .. } => "The link has expired",
            LinkError::Exhausted { .. } => "The link has been used",
            LinkError::Revoked => "The link was taken back",
            LinkError::OutOfScope => "The link is for something else",
            LinkError::PasswordNeeded { .. } | LinkError::PasswordWrong { .. } => "A password is needed",
            LinkError::Needed => "A link is needed",
            LinkError::TooManyTries { .. } => "Too many wrong passwords",
            LinkError::Failed(_) => "Internal Server Error",
        }
    }
}

/// Whole ones, rounded up.
pub(crate) fn seconds(wait: Duration) -> u32 {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    u32::try_from(seconds).unwrap_or(u32::MAX).max(1)
}
