//! Why there is no tunnel, and what to do.

use std::fmt;
use std::io;
use std::time::Duration;

use http::StatusCode;

use super::url::BadAddress;

/// The longest line of a refusal's body that is shown, in characters.
const LONGEST_LINE: usize = 300;

/// Why there is no tunnel.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An address or a proxy's that cannot be used.
    #[error(transparent)]
    Address(#[from] BadAddress),
    /// The token cannot be sent.
    #[error("the token has to be one line of visible ASCII characters")]
    Token,
    /// The system's random numbers are not to be had.
    #[error("the system has no random numbers")]
    Random,
    /// The certificates to check with.
    #[error("no certificates to check the server's with: {0}; give some with --cacert")]
    Roots(String),
    /// Nobody listens there.
    #[error("{0} cannot be reached: {1}")]
    Unreachable(String, io::Error),
    /// No TLS with it.
    #[error("{0}: TLS failed: {1}{hint}", hint = tls_hint(.1))]
    Tls(String, io::Error),
    /// No answer in time.
    #[error("{0} did not answer within {seconds} s", seconds = .1.as_secs())]
    Silent(String, Duration),
    /// The connection broke before the answer, or it was none.
    #[error("{0} did not answer as a tunnel server does: {1}")]
    Broken(String, io::Error),
    /// The proxy in between refused.
    #[error("{0} refused to connect: {1}")]
    Proxy(String, Refusal),
    /// The server refused.
    #[error("{0} refused the tunnel: {1}{hint}", hint = hint(.1))]
    Refused(String, Refusal),
    /// It agreed to something else.
    #[error("{0} switched to another protocol than was asked for; try --via websocket")]
    Disagreed(String),
}

impl Error {
    /// Whether it may be better in a moment.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Error::Unreachable(..) | Error::Silent(..) | Error::Broken(..) => true,
            // A handshake that was cut, not one that found something wrong.
            Error::Tls(_, error) => error.kind() != io::ErrorKind::InvalidData,
            Error::Proxy(_, refusal) | Error::Refused(_, refusal) => {
                refusal.status.is_server_error() || refusal.status == StatusCode::TOO_MANY_REQUESTS
            }
            Error::Address(_) | Error::Token | Error::Random | Error::Roots(_) | Error::Disagreed(_) => false,
        }
    }
}

/// An answer that is no tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    status: StatusCode,
    /// What `Proxy-Status` says (RFC 9209).
    proxy_status: Option<String>,
    /// The body's first line.
    line: String,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, proxy_status: Option<&str>, body: &[u8]) -> Refusal {
        let text = String::from_utf8_lossy(body);
        let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
        // A page for people says nothing in its first line.
        let line = if line.starts_with('<') { "" } else { line };
        // Nothing that a terminal would obey.
        let line = line.chars().filter(|c| !c.is_control()).take(LONGEST_LINE).collect();
        Refusal { status, proxy_status: proxy_status.map(str::to_owned), line }
    }

    /// The answer's status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.status.to_string();
        // Ours begin with the status.
        let line =
            self.line.strip_prefix(&status).map_or(&*self.line, |rest| rest.trim_start_matches([':', ' ']));
        f.write_str(&status)?;
        if !line.is_empty() {
            write!(f, ": {line}")?;
        }
        match &self.proxy_status {
            Some(proxy_status) => write!(f, " (Proxy-Status: {proxy_status})"),
            None => Ok(()),
        }
    }
}

/// What to do about a status.
fn hint(refusal: &Refusal) -> &'static str {
    match refusal.status.as_u16() {
        401 | 407 => "; give a token with --token-file or OUTFLOW_TUNNEL_TOKEN",
        403 => "; whoever runs the server has to allow this target",
        404 | 405 => "; check the URL: are tunnels served there?",
        200..=399 | 400 | 426 => {
            "; either no tunnels are served there, or a proxy in between does not pass upgrades on: try --via websocket"
        }
        502 | 504 if refusal.proxy_status.is_none() => {
            "; either the target or, behind a proxy, the server itself cannot be reached"
        }
        429 | 503 => "; try again later",
        _ => "",
    }
}

fn tls_hint(error: &io::Error) -> &'static str {
    let text = error.to_string();
    if text.contains("UnknownIssuer") {
        "; if its certificate is from an authority of your own, give that with --cacert"
    } else if text.contains("InvalidContentType") {
        "; is it http:// that is spoken there?"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, proxy_status: Option<&str>, body: &str) -> String {
        let refusal = Refusal::new(StatusCode::from_u16(status).unwrap(), proxy_status, body.as_bytes());
        Error::Refused("h".to_owned(), refusal).to_string()
    }

    #[test]
    fn a_refusal_says_what_happened_and_what_to_do() {
        assert_eq!(
            refused(403, Some("outflow; error=http_request_denied"), "403 Forbidden: not this port\nmore"),
            "h refused the tunnel: 403 Forbidden: not this port (Proxy-Status: outflow; \
             error=http_request_denied); whoever runs the server has to allow this target"
        );
        assert!(refused(401, None, "").ends_with("--token-file or OUTFLOW_TUNNEL_TOKEN"));
        let page = refused(200, None, "<!doctype html><title>Welcome</title>");
        assert!(page.starts_with("h refused the tunnel: 200 OK; either no tunnels"), "{page}");
        assert!(!refused(500, None, "\u{1b}[31mred\u{7}").contains('\u{1b}'));
    }

    #[test]
    fn what_may_pass_is_tried_again_and_what_does_not_is_not() {
        for (status, passes) in
            [(502, true), (503, true), (429, true), (404, false), (401, false), (409, false)]
        {
            let refusal = Refusal::new(StatusCode::from_u16(status).unwrap(), None, b"");
            assert_eq!(Error::Refused(String::new(), refusal).may_pass(), passes, "{status}");
        }
    }
}
