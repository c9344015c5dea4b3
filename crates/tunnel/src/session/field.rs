//! `Outflow-Resume`, by which a session is agreed on, and found again.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderName;

/// The field, in requests and in answers.
pub const NAME: HeaderName = HeaderName::from_static("outflow-resume");

/// What a session is known by: 128 random bits. Whoever has it, and is who began the session, gets its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Id(pub(super) [u8; 16]);

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

/// For logs: enough to tell two apart, too little to use one.
impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}{:02x}…", self.0[0], self.0[1])
    }
}

impl FromStr for Id {
    type Err = BadField;

    fn from_str(text: &str) -> Result<Id, BadField> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| BadField)?;
        Ok(Id(bytes.try_into().map_err(|_| BadField)?))
    }
}

/// What a client says in its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// It would like to be able to come back.
    New,
    /// It is back.
    Again {
        /// To this session,
        id: Id,
        /// and everything before this offset has arrived.
        received: u64,
    },
}

/// What the server says in its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The client may come back.
    Granted {
        /// To this session.
        id: Id,
        /// What the server keeps for it, in bytes.
        window: usize,
        /// And for how long.
        keep: Duration,
    },
    /// It is welcome.
    Again {
        /// In this session.
        id: Id,
        /// Everything before this offset has arrived.
        received: u64,
    },
}

/// Not what the field may say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Outflow-Resume is neither new, nor an id and what was received")]
pub struct BadField;

impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ask::New => f.write_str("new"),
            Ask::Again { id, received } => write!(f, "{id}; received={received}"),
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Answer::Granted { id, window, keep } => {
                write!(f, "{id}; window={window}; for={}", keep.as_secs())
            }
            Answer::Again { id, received } => write!(f, "{id}; received={received}"),
        }
    }
}

impl FromStr for Ask {
    type Err = BadField;

    fn from_str(text: &str) -> Result<Ask, BadField> {
        if text.trim() == "new" {
            return Ok(Ask::New);
        }
        let (id, parameters) = split(text)?;
        Ok(Ask::Again { id, received: parameters.number("received").ok_or(BadField)? })
    }
}

impl FromStr for Answer {
    type Err = BadField;

    fn from_str(text: &str) -> Result<Answer, BadField> {
        let (id, parameters) = split(text)?;
        if let Some(received) = parameters.number("received") {
            return Ok(Answer::Again { id, received });
        }
        let (window, keep) = (parameters.number("window"), parameters.number("for"));
        Ok(Answer::Granted {
            id,
            window: window.and_then(|window| usize::try_from(window).ok()).ok_or(BadField)?,
            keep: Duration::from_secs(keep.ok_or(BadField)?),
        })
    }
}

/// What follows an id: `; name=number`, any number of times.
struct Parameters<'a>(&'a str);

impl Parameters<'_> {
    /// The first of that name; unknown ones are for later versions.
    fn number(&self, name: &str) -> Option<u64> {
        let mut named = self.0.split(';').filter_map(|one| one.trim().split_once('='));
        named.find(|(found, _)| *found == name)?.1.parse().ok()
    }
}

fn split(text: &str) -> Result<(Id, Parameters<'_>), BadField> {
    let (id, parameters) = text.split_once(';').unwrap_or((text, ""));
    Ok((id.trim().parse()?, Parameters(parameters)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: Id = Id([0xfb; 16]);

    #[test]
    fn what_is_printed_is_read() {
        for ask in [Ask::New, Ask::Again { id: ID, received: u64::MAX }] {
            assert_eq!(ask.to_string().parse(), Ok(ask));
        }
        let keep = Duration::from_secs(60);
        for answer in
            [Answer::Granted { id: ID, window: 1 << 20, keep }, Answer::Again { id: ID, received: 0 }]
        {
            assert_eq!(answer.to_string().parse(), Ok(answer));
        }
        assert_eq!(
            Answer::Granted { id: ID, window: 1 << 20, keep }.to_string(),
            "-_v7-_v7-_v7-_v7-_v7-w; window=1048576; for=60"
        );
        assert_eq!(Ask::Again { id: ID, received: 7 }.to_string(), "-_v7-_v7-_v7-_v7-_v7-w; received=7");
    }

    #[test]
    fn spaces_and_what_is_not_known_do_no_harm() {
        let text = " -_v7-_v7-_v7-_v7-_v7-w;later=x ;received=12;  more";
        assert_eq!(text.parse(), Ok(Ask::Again { id: ID, received: 12 }));
    }

    #[test]
    fn all_else_is_bad() {
        for text in
            ["", "NEW", "abc; received=1", "-_v7-_v7-_v7-_v7-_v7-w", "-_v7-_v7-_v7-_v7-_v7-w; received=-1"]
        {
            assert_eq!(text.parse::<Ask>(), Err(BadField), "{text}");
            assert_eq!(text.parse::<Answer>(), Err(BadField), "{text}");
        }
    }

    #[test]
    fn a_log_does_not_tell_the_id() {
        assert_eq!(format!("{ID:?}"), "fbfb…");
    }
}
