//! What a request asks for.
//!
//! ```text
//! GET /.well-known/masque/tcp/HOST/PORT/    a tunnel to a target (draft-ietf-httpbis-connect-tcp)
//! GET /tunnel/c/TOKEN                       a tunnel to the target of a capability
//!   Upgrade: connect-tcp                      capsules
//!   Upgrade: websocket                        binary frames
//!   Upgrade: purr                             raw bytes (Purr 0.1.0 to 0.1.2)
//! CONNECT HOST:PORT                         raw bytes (RFC 9110, 9.3.6)
//! GET /.well-known/outflow/listen/HOST/PORT/   listen on an address of the server
//! GET /.well-known/outflow/accept/ID/       a tunnel to a connection that was accepted there
//! GET /.well-known/outflow/tunnels          counters for monitoring
//! ```
//!
//! On HTTP/2 the same requests are extended CONNECTs (RFC 8441), whose protocol takes the place of
//! `Upgrade`.

use http::header::{CONNECTION, UPGRADE};
use http::{HeaderMap, Method, Request};
use outflow_texts::text;
use outflow_wire::upgrade::ConnectProtocol;
use percent_encoding::percent_decode_str;

use super::access::allow::TunnelTarget;
use super::access::capability;
use super::rejection::Rejection;

const TARGET: &str = "/.well-known/masque/tcp/";
const LISTEN: &str = "/.well-known/outflow/listen/";
const ACCEPT: &str = "/.well-known/outflow/accept/";
const METRICS: &str = "/.well-known/outflow/tunnels";

/// All versions of Purr. Their messages are the same.
const PURR_VERSIONS: [&str; 3] = ["0.1.0", "0.1.1", "0.1.2"];

/// The protocol that carries the bytes of a tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Carrier {
    /// `connect-tcp`, as the request spells it.
    Capsules(String),
    WebSocket,
    /// With the version, and the word in `Upgrade`.
    Purr(&'static str, String),
    /// `CONNECT` without a protocol.
    Connect,
}

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TunnelRequest {
    /// A tunnel to a target.
    Tunnel(Carrier, TunnelTarget),
    /// A tunnel to the target of a capability.
    Capability(Carrier, String),
    /// To listen on an address of the server; port 0 is any.
    Listen(String, u16),
    /// A tunnel to a connection that was accepted there.
    Accept(Carrier, String),
    /// The counters.
    Metrics,
}

impl TunnelRequest {
    /// `None` if the request is not about tunnels.
    pub(super) fn parse<B>(request: &Request<B>) -> Option<Result<TunnelRequest, Rejection>> {
        let uri = request.uri();
        let protocol = request.extensions().get::<ConnectProtocol>();
        if request.method() == Method::CONNECT && protocol.is_none() {
            return Some(TunnelRequest::connect(uri.authority().map(http::uri::Authority::as_str)));
        }
        let path = uri.path();
        let parsed = if let Some(rest) = path.strip_prefix(TARGET) {
            target(rest).and_then(|target| Ok(TunnelRequest::Tunnel(carrier(request, protocol)?, target)))
        } else if let Some(token) = path.strip_prefix(capability::PATH) {
            carrier(request, protocol).map(|carrier| TunnelRequest::Capability(carrier, token.to_owned()))
        } else if let Some(rest) = path.strip_prefix(LISTEN) {
            listen(request, protocol, rest)
        } else if let Some(id) = path.strip_prefix(ACCEPT) {
            let id = id.trim_end_matches('/').to_owned();
            carrier(request, protocol).map(|carrier| TunnelRequest::Accept(carrier, id))
        } else if path == METRICS {
            Ok(TunnelRequest::Metrics)
        } else {
            return None;
        };
        Some(parsed)
    }

    fn connect(authority: Option<&str>) -> Result<TunnelRequest, Rejection> {
        let target = authority.and_then(|authority| authority.parse().ok());
        let target = target.ok_or_else(|| Rejection::bad_request(text!(tunnel_connect_target)))?;
        Ok(TunnelRequest::Tunnel(Carrier::Connect, target))
    }
}

/// `HOST/PORT/` after the prefix of a template.
fn host_and_port(rest: &str) -> Option<(String, u16)> {
    let (host, port) = rest.strip_suffix('/').unwrap_or(rest).split_once('/')?;
    let host = percent_decode_str(host).decode_utf8().ok()?;
    Some((host.into_owned(), port.parse().ok()?))
}

fn target(rest: &str) -> Result<TunnelTarget, Rejection> {
    let target = host_and_port(rest).and_then(|(host, port)| TunnelTarget::new(&host, port));
    target.ok_or_else(|| Rejection::bad_request(text!(tunnel_no_target)))
}

fn listen<B>(
    request: &Request<B>,
    protocol: Option<&ConnectProtocol>,
    rest: &str,
) -> Result<TunnelRequest, Rejection> {
    match carrier(request, protocol)? {
        Carrier::Capsules(_) => {}
        _ => {
            return Err(Rejection::bad_request(text!(tunnel_listen_needs_capsules)));
        }
    }
    let (host, port) =
        host_and_port(rest).ok_or_else(|| Rejection::bad_request(text!(tunnel_no_listen_address)))?;
    Ok(TunnelRequest::Listen(host, port))
}

/// The carrier for the protocol that is requested.
fn carrier<B>(request: &Request<B>, protocol: Option<&ConnectProtocol>) -> Result<Carrier, Rejection> {
    let headers = request.headers();
    if let Some(protocol) = protocol {
        return match &*protocol.0 {
            "websocket" => websocket_version(headers).map(|()| Carrier::WebSocket),
            name if is_connect_tcp(name) => Ok(Carrier::Capsules(name.to_owned())),
            _ => Err(Rejection::upgrade_required()),
        };
    }
    if request.method() != Method::GET {
        return Err(Rejection::method());
    }
    let requested = options(headers, UPGRADE);
    if !options(headers, CONNECTION).iter().any(|option| option.eq_ignore_ascii_case("upgrade")) {
        return Err(Rejection::upgrade_required());
    }
    let named = |name: &str| requested.iter().find(|one| one.eq_ignore_ascii_case(name));
    if headers.contains_key("purr-request") {
        let word = named("purr").or_else(|| named("websocket")).ok_or_else(Rejection::upgrade_required)?;
        return Ok(Carrier::Purr(purr_version(headers)?, word.to_ascii_lowercase()));
    }
    if let Some(name) = requested.iter().find(|name| is_connect_tcp(name)) {
        return Ok(Carrier::Capsules(name.to_ascii_lowercase()));
    }
    if named("websocket").is_some() {
        return Ok(Carrier::WebSocket);
    }
    Err(Rejection::upgrade_required())
}

/// The protocol of the draft, also under the name of its twelfth version.
fn is_connect_tcp(name: &str) -> bool {
    name.eq_ignore_ascii_case("connect-tcp") || name.eq_ignore_ascii_case("connect-tcp-12")
}

fn websocket_version(headers: &HeaderMap) -> Result<(), Rejection> {
    match headers.get("sec-websocket-version") {
        Some(version) if version == "13" => Ok(()),
        _ => Err(Rejection::bad_request(text!(tunnel_websocket_version))),
    }
}

fn purr_version(headers: &HeaderMap) -> Result<&'static str, Rejection> {
    let text = |name| headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok());
    if text("purr-request") != Some("MEOW") {
        return Err(Rejection::bad_request(text!(tunnel_purr_request)));
    }
    let version =
        text("purr-version").and_then(|version| PURR_VERSIONS.iter().find(|known| **known == version));
    version.copied().ok_or_else(|| {
        Rejection::bad_request(text!(tunnel_purr_version, versions = PURR_VERSIONS.join(", ")))
    })
}

/// The options that a field lists.
fn options(headers: &HeaderMap, name: http::HeaderName) -> Vec<&str> {
    let lines = headers.get_all(name).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(method: &str, uri: &str, fields: &[(&str, &str)]) -> Option<Result<TunnelRequest, u16>> {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        TunnelRequest::parse(&request.body(()).unwrap())
            .map(|parsed| parsed.map_err(|rejection| rejection.status.as_u16()))
    }

    const UPGRADE_TO: fn(&'static str) -> [(&'static str, &'static str); 2] =
        |protocol| [("connection", "keep-alive, Upgrade"), ("upgrade", protocol)];

    #[test]
    fn each_protocol_asks_in_its_own_way() {
        let target = |text: &str| text.parse::<TunnelTarget>().unwrap();
        let capsules = |name: &str| Carrier::Capsules(name.to_owned());
        let to = |host: &str| format!("/.well-known/masque/tcp/{host}/22/");
        for (uri, fields, want) in [
            (
                to("a.test"),
                &UPGRADE_TO("connect-tcp")[..],
                TunnelRequest::Tunnel(capsules("connect-tcp"), target("a.test:22")),
            ),
            (
                to("a.test"),
                &UPGRADE_TO("connect-tcp-12"),
                TunnelRequest::Tunnel(capsules("connect-tcp-12"), target("a.test:22")),
            ),
            (
                to("%5B::1%5D"),
                &UPGRADE_TO("websocket"),
                TunnelRequest::Tunnel(Carrier::WebSocket, target("[::1]:22")),
            ),
            (
                to("%3A%3A1"),
                &UPGRADE_TO("h2c, WebSocket"),
                TunnelRequest::Tunnel(Carrier::WebSocket, target("[::1]:22")),
            ),
            (
                "/tunnel/c/abc".to_owned(),
                &UPGRADE_TO("connect-tcp"),
                TunnelRequest::Capability(capsules("connect-tcp"), "abc".into()),
            ),
            (
                "/.well-known/outflow/accept/id/".to_owned(),
                &UPGRADE_TO("connect-tcp"),
                TunnelRequest::Accept(capsules("connect-tcp"), "id".into()),
            ),
            (
                "/.well-known/outflow/listen/127.0.0.1/0/".to_owned(),
                &UPGRADE_TO("connect-tcp"),
                TunnelRequest::Listen("127.0.0.1".into(), 0),
            ),
        ] {
            assert_eq!(parse("GET", &uri, fields), Some(Ok(want)), "{uri}");
        }
        for version in PURR_VERSIONS {
            let fields = [UPGRADE_TO("purr"), [("purr-request", "MEOW"), ("purr-version", version)]].concat();
            let want = TunnelRequest::Tunnel(Carrier::Purr(version, "purr".into()), target("a.test:22"));
            assert_eq!(parse("GET", &to("a.test"), &fields), Some(Ok(want)));
        }
        assert_eq!(
            parse("CONNECT", "a.test:22", &[]),
            Some(Ok(TunnelRequest::Tunnel(Carrier::Connect, target("a.test:22"))))
        );
        assert_eq!(parse("GET", "/", &UPGRADE_TO("connect-tcp")), None);
        assert_eq!(parse("GET", "/.well-known/other", &[]), None);
    }

    #[test]
    fn what_is_asked_wrongly_gets_a_status() {
        let to = "/.well-known/masque/tcp/a.test/22/";
        let purr = |request, version| {
            [UPGRADE_TO("purr"), [("purr-request", request), ("purr-version", version)]].concat()
        };
        for (method, uri, fields, status) in [
            ("GET", to, vec![], 426),
            ("GET", to, vec![("upgrade", "connect-tcp")], 426),
            ("GET", to, UPGRADE_TO("h2c").to_vec(), 426),
            ("POST", to, UPGRADE_TO("connect-tcp").to_vec(), 405),
            ("GET", to, purr("MEOW", "0.1.3"), 400),
            ("GET", to, purr("WOOF", "0.1.2"), 400),
            ("GET", "/.well-known/masque/tcp/a.test/", UPGRADE_TO("connect-tcp").to_vec(), 400),
            ("GET", "/.well-known/masque/tcp/a.test/0/", UPGRADE_TO("connect-tcp").to_vec(), 400),
            ("GET", "/.well-known/masque/tcp/a.test/70000/", UPGRADE_TO("connect-tcp").to_vec(), 400),
            ("GET", "/.well-known/masque/tcp/127.1/22/", UPGRADE_TO("connect-tcp").to_vec(), 400),
            ("GET", "/.well-known/masque/tcp/a%2Fb/22/", UPGRADE_TO("connect-tcp").to_vec(), 400),
            ("GET", "/.well-known/masque/tcp/%ff/22/", UPGRADE_TO("connect-tcp").to_vec(), 400),
            ("GET", "/.well-known/outflow/listen/127.0.0.1/1/", UPGRADE_TO("websocket").to_vec(), 400),
            ("CONNECT", "a.test:0", vec![], 400),
            ("CONNECT", "127.1:22", vec![], 400),
        ] {
            assert_eq!(parse(method, uri, &fields), Some(Err(status)), "{method} {uri} {fields:?}");
        }
    }
}
