//! `Outflow-Resume`, the header field by which both ends agree on a session, and find it
//! again.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderName;

/// The field, in requests and in responses.
pub const RESUME_FIELD: HeaderName = HeaderName::from_static("outflow-resume");

/// Identifies a session: 128 random bits. Only the owner of the session can use it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionId(pub(super) [u8; 16]);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

/// For logs: enough to distinguish sessions, too little to resume one.
impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}{:02x}…", self.0[0], self.0[1])
    }
}

impl FromStr for SessionId {
    type Err = InvalidResumeField;

    fn from_str(text: &str) -> Result<SessionId, InvalidResumeField> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| InvalidResumeField)?;
        Ok(SessionId(bytes.try_into().map_err(|_| InvalidResumeField)?))
    }
}

/// The field in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResumeRequest {
    /// Requests a resumable tunnel.
    New,
    /// Resumes a session.
    Again {
        /// Which one.
        id: SessionId,
        /// The client has everything before this offset.
        received: u64,
    },
}

/// The field in a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResumeResponse {
    /// The tunnel is resumable.
    Granted {
        /// Its session.
        id: SessionId,
        /// How many unacknowledged bytes the server keeps.
        window: usize,
        /// For how long the server waits for the client.
        keep: Duration,
    },
    /// The session is resumed.
    Again {
        /// Which one.
        id: SessionId,
        /// The server has everything before this offset.
        received: u64,
    },
}

/// A value that the field may not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Outflow-Resume has to be `new`, or an id and `received=`")]
pub struct InvalidResumeField;

impl fmt::Display for ResumeRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ResumeRequest::New => f.write_str("new"),
            ResumeRequest::Again { id, received } => write!(f, "{id}; received={received}"),
        }
    }
}

impl fmt::Display for ResumeResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ResumeResponse::Granted { id, window, keep } => {
                write!(f, "{id}; window={window}; for={}", keep.as_secs())
            }
            ResumeResponse::Again { id, received } => write!(f, "{id}; received={received}"),
        }
    }
}

impl FromStr for ResumeRequest {
    type Err = InvalidResumeField;

    fn from_str(text: &str) -> Result<ResumeRequest, InvalidResumeField> {
        if text.trim() == "new" {
            return Ok(ResumeRequest::New);
        }
        let (id, parameters) = split(text)?;
        Ok(ResumeRequest::Again { id, received: parameters.number("received").ok_or(InvalidResumeField)? })
    }
}

impl FromStr for ResumeResponse {
    type Err = InvalidResumeField;

    fn from_str(text: &str) -> Result<ResumeResponse, InvalidResumeField> {
        let (id, parameters) = split(text)?;
        if let Some(received) = parameters.number("received") {
            return Ok(ResumeResponse::Again { id, received });
        }
        let (window, keep) = (parameters.number("window"), parameters.number("for"));
        Ok(ResumeResponse::Granted {
            id,
            window: window.and_then(|window| usize::try_from(window).ok()).ok_or(InvalidResumeField)?,
            keep: Duration::from_secs(keep.ok_or(InvalidResumeField)?),
        })
    }
}

/// Parameters after an id: `; name=number`, any number of times.
struct Parameters<'a>(&'a str);

impl Parameters<'_> {
    /// The first parameter of that name. Unknown ones are ignored, for later versions.
    fn number(&self, name: &str) -> Option<u64> {
        let mut named = self.0.split(';').filter_map(|one| one.trim().split_once('='));
        named.find(|(found, _)| *found == name)?.1.parse().ok()
    }
}

fn split(text: &str) -> Result<(SessionId, Parameters<'_>), InvalidResumeField> {
    let (id, parameters) = text.split_once(';').unwrap_or((text, ""));
    Ok((id.trim().parse()?, Parameters(parameters)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: SessionId = SessionId([0xfb; 16]);

    #[test]
    fn what_is_printed_is_read() {
        for ask in [ResumeRequest::New, ResumeRequest::Again { id: ID, received: u64::MAX }] {
            assert_eq!(ask.to_string().parse(), Ok(ask));
        }
        let keep = Duration::from_secs(60);
        for answer in [
            ResumeResponse::Granted { id: ID, window: 1 << 20, keep },
            ResumeResponse::Again { id: ID, received: 0 },
        ] {
            assert_eq!(answer.to_string().parse(), Ok(answer));
        }
        assert_eq!(
            ResumeResponse::Granted { id: ID, window: 1 << 20, keep }.to_string(),
            "-_v7-_v7-_v7-_v7-_v7-w; window=1048576; for=60"
        );
        assert_eq!(
            ResumeRequest::Again { id: ID, received: 7 }.to_string(),
            "-_v7-_v7-_v7-_v7-_v7-w; received=7"
        );
    }

    #[test]
    fn spaces_and_what_is_not_known_do_no_harm() {
        let text = " -_v7-_v7-_v7-_v7-_v7-w;later=x ;received=12;  more";
        assert_eq!(text.parse(), Ok(ResumeRequest::Again { id: ID, received: 12 }));
    }

    #[test]
    fn all_else_is_bad() {
        for text in
            ["", "NEW", "abc; received=1", "-_v7-_v7-_v7-_v7-_v7-w", "-_v7-_v7-_v7-_v7-_v7-w; received=-1"]
        {
            assert_eq!(text.parse::<ResumeRequest>(), Err(InvalidResumeField), "{text}");
            assert_eq!(text.parse::<ResumeResponse>(), Err(InvalidResumeField), "{text}");
        }
    }

    #[test]
    fn a_log_does_not_tell_the_id() {
        assert_eq!(format!("{ID:?}"), "fbfb…");
    }
}
