//! The request for a tunnel, and whether the answer grants it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, UPGRADE};
use http::{HeaderName, StatusCode};
use outflow_wire::websocket::accept_key;
use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::io::AsyncWriteExt as _;

use super::error::Error;
use super::leg::Leg;
use super::options::{Options, Via};
use super::response::{self, Answered};
use super::url::Place;
use crate::session::{self, Answer};

/// The protocols that may be agreed on by `connect-tcp`: the name, and the one for tests between implementations.
const CONNECT_TCP: [&str; 2] = ["connect-tcp", "connect-tcp-12"];

/// What purr's ends know each other by.
const PURR_REQUEST: HeaderName = HeaderName::from_static("purr-request");
const MEOW: &str = "MEOW";

/// A leg that the server has granted.
pub(super) struct Dialled {
    pub(super) leg: Leg,
    pub(super) early: Bytes,
    pub(super) resume: Option<Answer>,
}

/// A request, and what its answer has to say.
pub(super) struct Request {
    text: String,
    via: Via,
    authority: String,
    /// What a WebSocket server makes of our key.
    accept: String,
}

impl Request {
    pub(super) fn new(
        options: &Options,
        place: &Place,
        resume: Option<session::Ask>,
    ) -> Result<Request, Error> {
        let mut text =
            format!("GET {} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\n", place.path, place.authority);
        let mut field = |name: &str, value: &str| text.push_str(&format!("{name}: {value}\r\n"));
        let mut accept = String::new();
        match options.via {
            Via::ConnectTcp => {
                field("Upgrade", CONNECT_TCP[0]);
                field("Capsule-Protocol", "?1");
            }
            Via::WebSocket => {
                let mut nonce = [0; 16];
                SystemRandom::new().fill(&mut nonce).map_err(|_| Error::Random)?;
                let key = STANDARD.encode(nonce);
                accept = accept_key(key.as_bytes());
                field("Upgrade", "websocket");
                field("Sec-WebSocket-Version", "13");
                field("Sec-WebSocket-Key", &key);
            }
            Via::Purr => {
                field("Upgrade", "purr");
                field("Purr-Request", MEOW);
                field("Purr-Version", "0.1.2");
            }
        }
        // Servers of purr may ask for this one.
        let agent = match options.via {
            Via::Purr => "Purr Client 0.1.2",
            _ => concat!("outflow/", env!("CARGO_PKG_VERSION")),
        };
        field("User-Agent", agent);
        match (&options.token, &place.user) {
            (Some(token), _) => field("Authorization", &format!("Bearer {}", checked(token)?)),
            (None, Some(user)) => field("Authorization", &format!("Basic {}", STANDARD.encode(user))),
            (None, None) => {}
        }
        if let Some(ask) = resume {
            field(session::NAME.as_str(), &ask.to_string());
        }
        text.push_str("\r\n");
        Ok(Request { text, via: options.via, authority: place.authority.clone(), accept })
    }

    /// Whether an answer with 101 is one to this.
    fn agrees(&self, answer: &Answered) -> bool {
        let upgrade = answer.field(&UPGRADE).unwrap_or_default();
        let says = |word: &str| upgrade.eq_ignore_ascii_case(word);
        let connection = answer.field(&CONNECTION).unwrap_or_default();
        let switches = connection.split(',').any(|one| one.trim().eq_ignore_ascii_case("upgrade"));
        switches
            && match self.via {
                Via::ConnectTcp => CONNECT_TCP.into_iter().any(says),
                Via::WebSocket => {
                    says("websocket") && answer.field(&SEC_WEBSOCKET_ACCEPT) == Some(self.accept.as_str())
                }
                Via::Purr => says("purr") && answer.field(&PURR_REQUEST) == Some(MEOW),
            }
    }
}

/// What may stand in a field.
fn checked(token: &str) -> Result<&str, Error> {
    let visible = |byte: u8| byte.is_ascii_graphic();
    if token.is_empty() || !token.bytes().all(visible) { Err(Error::Token) } else { Ok(token) }
}

/// Sends the request, and waits for the answer.
pub(super) async fn ask(mut leg: Leg, request: &Request) -> Result<Dialled, Error> {
    let broken = |error| Error::Broken(request.authority.clone(), error);
    leg.write_all(request.text.as_bytes()).await.map_err(broken)?;
    leg.flush().await.map_err(broken)?;
    let answer = response::read(&mut leg).await.map_err(broken)?;
    if answer.status != StatusCode::SWITCHING_PROTOCOLS {
        return Err(Error::Refused(request.authority.clone(), answer.refusal(&mut leg).await));
    }
    if !request.agrees(&answer) {
        return Err(Error::Disagreed(request.authority.clone()));
    }
    let resume = answer.field(&session::NAME).and_then(|field| field.parse().ok());
    Ok(Dialled { leg, early: Bytes::from(answer.early), resume })
}
