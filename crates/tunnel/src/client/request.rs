//! The request for a tunnel, and whether the response grants it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, UPGRADE};
use http::{HeaderName, StatusCode};
use outflow_wire::websocket::accept_key;
use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::io::AsyncWriteExt as _;

use super::error::ConnectError;
use super::leg::ClientLeg;
use super::options::{TunnelClientOptions, UpgradeProtocol};
use super::response::{self, ConnectResponse};
use super::url::RequestUrl;
use crate::session::{RESUME_FIELD, ResumeRequest, ResumeResponse};

/// Names of the protocol that a server may switch to: the final one, and that for interoperability
/// tests.
const CONNECT_TCP: [&str; 2] = ["connect-tcp", "connect-tcp-12"];

/// The field by which both ends of purr recognise each other.
const PURR_REQUEST: HeaderName = HeaderName::from_static("purr-request");
const MEOW: &str = "MEOW";

/// A leg that the server has granted.
pub(super) struct GrantedLeg {
    pub(super) leg: ClientLeg,
    pub(super) early: Bytes,
    pub(super) resume: Option<ResumeResponse>,
}

/// A request, and what its response has to contain.
pub(super) struct UpgradeRequest {
    text: String,
    protocol: UpgradeProtocol,
    authority: String,
    /// The `Sec-WebSocket-Accept` for our key.
    accept: String,
}

impl UpgradeRequest {
    pub(super) fn new(
        options: &TunnelClientOptions,
        url: &RequestUrl,
        resume: Option<ResumeRequest>,
    ) -> Result<UpgradeRequest, ConnectError> {
        let mut text =
            format!("GET {} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\n", url.path, url.authority);
        let mut field = |name: &str, value: &str| text.push_str(&format!("{name}: {value}\r\n"));
        let mut accept = String::new();
        match options.protocol {
            UpgradeProtocol::ConnectTcp => {
                field("Upgrade", CONNECT_TCP[0]);
                field("Capsule-Protocol", "?1");
            }
            UpgradeProtocol::WebSocket => {
                let mut nonce = [0; 16];
                SystemRandom::new().fill(&mut nonce).map_err(|_| ConnectError::Random)?;
                let key = STANDARD.encode(nonce);
                accept = accept_key(key.as_bytes());
                field("Upgrade", "websocket");
                field("Sec-WebSocket-Version", "13");
                field("Sec-WebSocket-Key", &key);
            }
            UpgradeProtocol::Purr => {
                field("Upgrade", "purr");
                field("Purr-Request", MEOW);
                field("Purr-Version", "0.1.2");
            }
        }
        // Servers of purr may require this one.
        let agent = match options.protocol {
            UpgradeProtocol::Purr => "Purr Client 0.1.2",
            _ => concat!("outflow/", env!("CARGO_PKG_VERSION")),
        };
        field("User-Agent", agent);
        match (&options.token, &url.user) {
            (Some(token), _) => field("Authorization", &format!("Bearer {}", checked(token)?)),
            (None, Some(user)) => field("Authorization", &format!("Basic {}", STANDARD.encode(user))),
            (None, None) => {}
        }
        if let Some(resume) = resume {
            field(RESUME_FIELD.as_str(), &resume.to_string());
        }
        text.push_str("\r\n");
        Ok(UpgradeRequest { text, protocol: options.protocol, authority: url.authority.clone(), accept })
    }

    /// Whether a 101 switches to the requested protocol.
    fn is_granted_by(&self, response: &ConnectResponse) -> bool {
        let upgrade = response.field(&UPGRADE).unwrap_or_default();
        let says = |word: &str| upgrade.eq_ignore_ascii_case(word);
        let connection = response.field(&CONNECTION).unwrap_or_default();
        let switches = connection.split(',').any(|one| one.trim().eq_ignore_ascii_case("upgrade"));
        switches
            && match self.protocol {
                UpgradeProtocol::ConnectTcp => CONNECT_TCP.into_iter().any(says),
                UpgradeProtocol::WebSocket => {
                    says("websocket") && response.field(&SEC_WEBSOCKET_ACCEPT) == Some(self.accept.as_str())
                }
                UpgradeProtocol::Purr => says("purr") && response.field(&PURR_REQUEST) == Some(MEOW),
            }
    }
}

/// Checks that a token fits in a header field.
fn checked(token: &str) -> Result<&str, ConnectError> {
    let visible = |byte: u8| byte.is_ascii_graphic();
    if token.is_empty() || !token.bytes().all(visible) { Err(ConnectError::Token) } else { Ok(token) }
}

/// Sends the request, and waits for the response.
pub(super) async fn send(mut leg: ClientLeg, request: &UpgradeRequest) -> Result<GrantedLeg, ConnectError> {
    let broken = |error| ConnectError::Broken(request.authority.clone(), error);
    leg.write_all(request.text.as_bytes()).await.map_err(broken)?;
    leg.flush().await.map_err(broken)?;
    let response = response::read(&mut leg).await.map_err(broken)?;
    if response.status != StatusCode::SWITCHING_PROTOCOLS {
        return Err(ConnectError::Refused(request.authority.clone(), response.refusal(&mut leg).await));
    }
    if !request.is_granted_by(&response) {
        return Err(ConnectError::WrongProtocol(request.authority.clone()));
    }
    let resume = response.field(&RESUME_FIELD).and_then(|field| field.parse().ok());
    Ok(GrantedLeg { leg, early: Bytes::from(response.early), resume })
}
