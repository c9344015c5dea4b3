//! Why there is no tunnel, and what to do.

use std::fmt;
use std::io;
use std::time::Duration;

use http::StatusCode;

/// Characters of a refusal's body that are shown.
///
/// Bound: tunnels.
const MAX_LINE_CHARS: usize = 300;

/// A URL, a target or a proxy that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AddressError(pub(super) String);

/// Why there is no tunnel.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// A URL, a target or a proxy that cannot be used.
    #[error(transparent)]
    TunnelUrl(#[from] AddressError),
    /// The token cannot be sent in a header field.
    #[error("the token has to be one line of visible ASCII characters")]
    Token,
    /// The system has no random numbers.
    #[error("the system has no random numbers")]
    Random,
    /// No certificate authorities to trust.
    #[error("no certificate authorities to check the server with: {0}; name some with --cacert")]
    Roots(String),
    /// No connection.
    #[error("cannot connect to {0}: {1}")]
    Unreachable(String, io::Error),
    /// The TLS handshake failed.
    #[error("{0}: TLS failed: {1}{hint}", hint = tls_hint(.1))]
    Tls(String, io::Error),
    /// No response in time.
    #[error("{0} did not respond within {seconds} s", seconds = .1.as_secs())]
    Timeout(String, Duration),
    /// The connection broke before the response, or the response is not HTTP.
    #[error("{0} did not respond as a tunnel server does: {1}")]
    Broken(String, io::Error),
    /// The proxy refused to connect.
    #[error("{0} refused to connect: {1}")]
    HttpProxy(String, TunnelRefusal),
    /// The server refused.
    #[error("{0} refused the tunnel: {1}{hint}", hint = hint(.1))]
    Refused(String, TunnelRefusal),
    /// The server switched to another protocol.
    #[error("{0} switched to another protocol than the requested one; try --via websocket")]
    WrongProtocol(String),
}

impl ConnectError {
    /// Whether a later attempt may succeed.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        match self {
            ConnectError::Unreachable(..) | ConnectError::Timeout(..) | ConnectError::Broken(..) => true,
            // A handshake that was cut, not one that was rejected.
            ConnectError::Tls(_, error) => error.kind() != io::ErrorKind::InvalidData,
            ConnectError::HttpProxy(_, refusal) | ConnectError::Refused(_, refusal) => {
                refusal.status.is_server_error() || refusal.status == StatusCode::TOO_MANY_REQUESTS
            }
            ConnectError::TunnelUrl(_)
            | ConnectError::Token
            | ConnectError::Random
            | ConnectError::Roots(_)
            | ConnectError::WrongProtocol(_) => false,
        }
    }
}

/// A response that grants no tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TunnelRefusal {
    status: StatusCode,
    /// The `Proxy-Status` field (RFC 9209).
    proxy_status: Option<String>,
    /// The first line of the body.
    line: String,
}

impl TunnelRefusal {
    pub(super) fn new(status: StatusCode, proxy_status: Option<&str>, body: &[u8]) -> TunnelRefusal {
        let text = String::from_utf8_lossy(body);
        let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
        // The first line of an HTML page carries no reason.
        let line = if line.starts_with('<') { "" } else { line };
        // No control characters, which a terminal would obey.
        let line = line.chars().filter(|c| !c.is_control()).take(MAX_LINE_CHARS).collect();
        TunnelRefusal { status, proxy_status: proxy_status.map(str::to_owned), line }
    }

    /// The status of the response.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }
}

impl fmt::Display for TunnelRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.status.to_string();
        // Our servers begin the body with the status.
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
fn hint(refusal: &TunnelRefusal) -> &'static str {
    match refusal.status.as_u16() {
        401 | 407 => "; give a token with --token-file or OUTFLOW_TUNNEL_TOKEN",
        403 => "; the operator of the server has to allow this target",
        404 | 405 => "; check the URL: the server may offer no tunnels there",
        200..=399 | 400 | 426 => {
            "; either the server offers no tunnels there, or a proxy does not forward upgrades: try --via websocket"
        }
        502 | 504 if refusal.proxy_status.is_none() => {
            "; either the target cannot be reached, or a proxy in front of the server cannot reach the server"
        }
        429 | 503 => "; try again later",
        _ => "",
    }
}

fn tls_hint(error: &io::Error) -> &'static str {
    let text = error.to_string();
    if text.contains("UnknownIssuer") {
        "; if its certificate is from a private authority, name that with --cacert"
    } else if text.contains("InvalidContentType") {
        "; the server may speak http:// there"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, proxy_status: Option<&str>, body: &str) -> String {
        let refusal =
            TunnelRefusal::new(StatusCode::from_u16(status).unwrap(), proxy_status, body.as_bytes());
        ConnectError::Refused("h".to_owned(), refusal).to_string()
    }

    #[test]
    fn a_refusal_says_what_happened_and_what_to_do() {
        assert_eq!(
            refused(403, Some("outflow; error=http_request_denied"), "403 Forbidden: not this port\nmore"),
            "h refused the tunnel: 403 Forbidden: not this port (Proxy-Status: outflow; \
             error=http_request_denied); the operator of the server has to allow this target"
        );
        assert!(refused(401, None, "").ends_with("--token-file or OUTFLOW_TUNNEL_TOKEN"));
        let page = refused(200, None, "<!doctype html><title>Welcome</title>");
        assert!(
            page.starts_with("h refused the tunnel: 200 OK; either the server offers no tunnels"),
            "{page}"
        );
        assert!(!refused(500, None, "\u{1b}[31mred\u{7}").contains('\u{1b}'));
    }

    #[test]
    fn what_may_pass_is_tried_again_and_what_does_not_is_not() {
        for (status, passes) in
            [(502, true), (503, true), (429, true), (404, false), (401, false), (409, false)]
        {
            let refusal = TunnelRefusal::new(StatusCode::from_u16(status).unwrap(), None, b"");
            assert_eq!(ConnectError::Refused(String::new(), refusal).is_temporary(), passes, "{status}");
        }
    }
}
