//! Entry point for a fuzz target; compiled for it only.

use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, UPGRADE};
use http::{Request, StatusCode, Version};

use super::access::allow::TunnelTarget;
use super::handshake;
use super::request::{Carrier, TunnelRequest};

/// Reads `request` as one for a tunnel. One that is accepted gets the response that makes a tunnel
/// of its connection, and its target is printed as it is read.
pub fn request(request: &Request<()>) {
    let carrier = match TunnelRequest::parse(request) {
        Some(Ok(TunnelRequest::Tunnel(carrier, target))) => {
            assert_eq!(target.to_string().parse::<TunnelTarget>(), Ok(target));
            carrier
        }
        Some(Ok(TunnelRequest::Capability(carrier, _) | TunnelRequest::Accept(carrier, _))) => carrier,
        Some(Ok(TunnelRequest::Listen(..) | TunnelRequest::Metrics) | Err(_)) | None => return,
    };
    if handshake::check(&carrier, request.headers()).is_err() {
        return;
    }
    let (head, ()) = request.clone().into_parts();
    let Ok(response) = handshake::response(&carrier, &head) else {
        panic!("a request that was checked gets no response: {request:?}");
    };
    let fields = response.headers();
    let switches = head.version != Version::HTTP_2 && carrier != Carrier::Connect;
    let status = if switches { StatusCode::SWITCHING_PROTOCOLS } else { StatusCode::OK };
    assert_eq!(response.status(), status);
    assert!([UPGRADE, CONNECTION].iter().all(|name| fields.contains_key(name) == switches));
    assert_eq!(fields.contains_key(SEC_WEBSOCKET_ACCEPT), switches && carrier == Carrier::WebSocket);
}
