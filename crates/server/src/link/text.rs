//! What people read when a link does not admit a request.

use std::time::Duration;

use outflow_links::LinkError;
use outflow_web::page;

/// The texts of a link's error.
pub(crate) trait LinkErrorText {
    /// What happened, and what to do.
    fn detail(&self) -> String;
    /// The problem's type, a URI.
    fn kind(&self) -> &'static str;
    /// The problem's title.
    fn title(&self) -> &'static str;
}

impl LinkErrorText for LinkError {
    fn detail(&self) -> String {
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

    fn kind(&self) -> &'static str {
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

    fn title(&self) -> &'static str {
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
