//! The response that makes a tunnel of a connection, or of an HTTP/2 stream.

use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Version};
use outflow_texts::text;
use outflow_wire::websocket;

use super::metrics::TunnelCarrier;
use super::rejection::Rejection;
use super::request::Carrier;
use crate::frame::LegFraming;

/// The only supported subprotocol: noVNC and websockify request it for binary frames.
const BINARY: &str = "binary";

impl Carrier {
    /// How it frames payload.
    pub(super) fn framing(&self) -> LegFraming {
        match self {
            Carrier::Capsules(_) => LegFraming::Capsules,
            Carrier::WebSocket => LegFraming::WebSocket,
            Carrier::Purr(..) | Carrier::Connect => LegFraming::Raw,
        }
    }

    /// Its label in the metrics.
    pub(super) fn label(&self) -> TunnelCarrier {
        match self {
            Carrier::Capsules(_) => TunnelCarrier::Capsules,
            Carrier::WebSocket => TunnelCarrier::WebSocket,
            Carrier::Purr(..) => TunnelCarrier::Purr,
            Carrier::Connect => TunnelCarrier::Connect,
        }
    }

    /// Its name in the log.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Carrier::Capsules(_) => "connect-tcp",
            Carrier::WebSocket => "websocket",
            Carrier::Purr(..) => "purr",
            Carrier::Connect => "connect",
        }
    }
}

/// Checks the header fields that the carrier requires.
pub(super) fn check(carrier: &Carrier, headers: &HeaderMap) -> Result<(), Rejection> {
    match carrier {
        Carrier::WebSocket if headers.contains_key(UPGRADE) => websocket::accept(headers)
            .map(drop)
            .map_err(|error| Rejection::bad_request(text!(tunnel_error, %error))),
        Carrier::Capsules(_) => match headers.get("capsule-protocol") {
            Some(value) if value == "?1" => Ok(()),
            _ => Err(Rejection::bad_request(text!(tunnel_capsule_protocol))),
        },
        Carrier::WebSocket | Carrier::Purr(..) | Carrier::Connect => Ok(()),
    }
}

/// 101, or 200 for HTTP/2 and `CONNECT`, which switch no protocol.
pub(super) fn response(carrier: &Carrier, head: &Parts) -> Result<Response<Vec<u8>>, Rejection> {
    let switches = head.version != Version::HTTP_2 && *carrier != Carrier::Connect;
    let mut response = Response::new(Vec::new());
    let fields = response.headers_mut();
    if switches {
        fields.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    }
    let upgrade = match carrier {
        Carrier::Capsules(name) => {
            fields.insert(HeaderName::from_static("capsule-protocol"), HeaderValue::from_static("?1"));
            Some(name.as_str())
        }
        Carrier::WebSocket => {
            if switches {
                let accept = websocket::accept(&head.headers);
                let accept = accept.map_err(|error| Rejection::bad_request(text!(tunnel_error, %error)))?;
                fields.insert(SEC_WEBSOCKET_ACCEPT, accept);
            }
            if offers_binary(&head.headers) {
                fields.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(BINARY));
            }
            Some("websocket")
        }
        Carrier::Purr(version, word) => {
            fields.insert(HeaderName::from_static("purr-version"), HeaderValue::from_static(version));
            fields.insert(HeaderName::from_static("purr-request"), HeaderValue::from_static("MEOW"));
            Some(word.as_str())
        }
        Carrier::Connect => None,
    };
    if let Some(upgrade) = upgrade.filter(|_| switches) {
        let named = HeaderValue::from_str(upgrade).map_err(|_| Rejection::upgrade_required())?;
        fields.insert(UPGRADE, named);
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    }
    Ok(response)
}

fn offers_binary(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|offered| offered.trim() == BINARY)
}
