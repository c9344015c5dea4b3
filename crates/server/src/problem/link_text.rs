//! What people read when a link does not admit a request.

use std::time::Duration;

use outflow_links::LinkError;
use outflow_texts::{Text, Time, text};

/// The texts of a link's error.
pub(super) trait LinkErrorText {
    /// What happened, and what to do.
    fn detail(&self) -> Text;
    /// The problem's type, a URI.
    fn kind(&self) -> &'static str;
    /// The problem's title.
    fn title(&self) -> Text;
}

impl LinkErrorText for LinkError {
    fn detail(&self) -> Text {
        match self {
            LinkError::NotGenuine => text!(link_not_genuine),
            LinkError::Invalid(why) => text!(link_invalid, %why),
            LinkError::Expired { since } => text!(link_expired, time = Time(*since)),
            LinkError::Exhausted { max } => text!(link_exhausted, max = *max),
            LinkError::Revoked => text!(link_revoked),
            LinkError::OutOfScope => text!(link_out_of_scope),
            LinkError::PasswordNeeded { .. } => text!(link_password_needed),
            LinkError::PasswordWrong { .. } => text!(link_password_wrong),
            LinkError::TooManyTries { wait } => text!(link_too_many_tries, seconds = seconds(*wait)),
            LinkError::Needed => text!(link_needed),
            LinkError::Failed(_) => text!(link_password_unchecked),
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

    fn title(&self) -> Text {
        match self {
            LinkError::NotGenuine | LinkError::Invalid(_) => text!(link_invalid_title),
            LinkError::Expired { .. } => text!(link_expired_title),
            LinkError::Exhausted { .. } => text!(link_exhausted_title),
            LinkError::Revoked => text!(link_revoked_title),
            LinkError::OutOfScope => text!(link_out_of_scope_title),
            LinkError::PasswordNeeded { .. } | LinkError::PasswordWrong { .. } => text!(link_password_title),
            LinkError::Needed => text!(link_needed_title),
            LinkError::TooManyTries { .. } => text!(link_too_many_tries_title),
            LinkError::Failed(_) => text!(status_500),
        }
    }
}

/// Whole seconds, rounded up.
pub(super) fn seconds(wait: Duration) -> u32 {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    u32::try_from(seconds).unwrap_or(u32::MAX).max(1)
}
