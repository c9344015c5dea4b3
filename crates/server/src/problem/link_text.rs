//! What people read when a link does not admit a request.

use std::time::Duration;

use outflow_links::LinkError;
use outflow_web::page;

/// The texts of a link's error.
pub(super) trait LinkErrorText {
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
                "This link is not valid. Perhaps it was not copied completely: open it again from the message that \
                 it came in, or ask the sender for a new one."
                    .to_owned()
            }
            LinkError::Invalid(why) => {
                format!("This link was created with a mistake: {why}. Ask the sender for a new one.")
            }
            LinkError::Expired { since } => format!(
                "This link expired on {} (UTC). Ask the sender for a new one.",
                page::time(*since)
            ),
            LinkError::Exhausted { max: 1 } => {
                "This link was for one download, which is complete. Ask the sender for a new one.".to_owned()
            }
            LinkError::Exhausted { max } => format!(
                "This link was for {max} downloads, which are complete. Ask the sender for a new one."
            ),
            LinkError::Revoked => {
                "The sender has taken back this link. Ask the sender for a new one.".to_owned()
            }
            LinkError::OutOfScope => {
                "This link is for something else. Use it as you received it, or ask the sender for another one.".to_owned()
            }
            LinkError::PasswordNeeded { .. } => {
                "This link needs a password. The sender of the link knows it; enter any user name.".to_owned()
            }
            LinkError::PasswordWrong { .. } => {
                "The password is wrong. The sender of the link knows it; enter any user name.".to_owned()
            }
            LinkError::TooManyTries { wait } => {
                format!("Too many wrong passwords were entered. Try again in {} seconds.", seconds(*wait))
            }
            LinkError::Needed => {
                "These files need a link. Ask the person who sent you here for one.".to_owned()
            }
            LinkError::Failed(_) => "The server could not check the password. Try again.".to_owned(),
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            LinkError::NotGenuine | LinkError::Invalid(_) => "urn:outflow:problem:link-invalid",
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
            LinkError::NotGenuine | LinkError::Invalid(_) => "The link is not valid",
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

/// Whole seconds, rounded up.
pub(super) fn seconds(wait: Duration) -> u32 {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    u32::try_from(seconds).unwrap_or(u32::MAX).max(1)
}
