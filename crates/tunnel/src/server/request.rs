//! What a request asks of the tunnel.
//!
//! ```text
//! GET /.well-known/masque/tcp/HOST/PORT/    a tunnel to a target (draft-ietf-httpbis-connect-tcp's default template)
//! GET /tunnel/c/TOKEN                       one to the target of a capability
//!   Upgrade: connect-tcp                      capsules
//!   Upgrade: websocket                        binary frames
//!   Upgrade: purr                             bytes as they are (Purr 0.1.0 to 0.1.2)
//! CONNECT HOST:PORT                         bytes as they are (RFC 9110, 9.3.6)
//! GET /.well-known/outflow/listen/HOST/PORT/   an address of the server to be listened on
//! GET /.well-known/outflow/accept/ID/       a connection that was accepted there
//! GET /.well-known/outflow/tunnels          how many there are, for monitoring
//! ```
//!
//! On HTTP/2 the same are extended CONNECTs (RFC 8441), whose protocol takes the place of `Upgrade`.

use http::header::{CONNECTION, UPGRADE};
use http::{HeaderMap, Method, Request};
use outflow_wire::upgrade::ConnectProtocol;
use percent_encoding::percent_decode_str;

use super::access::allow::Target;
use super::access::capability;
use super::rejection::Refusal;

const TARGET: &str = "/.well-known/masque/tcp/";
const LISTEN: &str = "/.well-known/outflow/listen/";
const ACCEPT: &str = "/.well-known/outflow/accept/";
const METRICS: &str = "/.well-known/outflow/tunnels";

/// The versions of Purr that there are; they differ in nothing that is said.
const PURR: [&str; 3] = ["0.1.0", "0.1.1", "0.1.2"];

/// How the bytes of a tunnel are to travel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Carrier {
    /// `connect-tcp`; as it was spelled.
    Capsules(String),
    WebSocket,
    /// With the version, and the word that was asked for.
    Purr(&'static str, String),
    /// `CONNECT` without a protocol.
    Connect,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// A tunnel to a target.
    Tunnel(Carrier, Target),
    /// A tunnel to what a capability says.
    Capability(Carrier, String),
    /// To listen at an address; port 0 is any.
    Listen(String, u16),
    /// A connection that was accepted.
    Accept(Carrier, String),
    Metrics,
}

impl Ask {
    /// `None` if the request is no business of the tunnel's.
    pub(super) fn of<B>(request: &Request<B>) -> Option<Result<Ask, Refusal>> {
        let uri = request.uri();
        let protocol = request.extensions().get::<ConnectProtocol>();
        if request.method() == Method::CONNECT && protocol.is_none() {
            return Some(Ask::connect(uri.authority().map(http::uri::Authority::as_str)));
        }
        let path = uri.path();
        let ask = if let Some(rest) = path.strip_prefix(TARGET) {
            target(rest).and_then(|target| Ok(Ask::Tunnel(carrier(request, protocol)?, target)))
        } else if let Some(token) = path.strip_prefix(capability::PATH) {
            carrier(request, protocol).map(|carrier| Ask::Capability(carrier, token.to_owned()))
        } else if let Some(rest) = path.strip_prefix(LISTEN) {
            listen(request, protocol, rest)
        } else if let Some(id) = path.strip_prefix(ACCEPT) {
            let id = id.trim_end_matches('/').to_owned();
            carrier(request, protocol).map(|carrier| Ask::Accept(carrier, id))
        } else if path == METRICS {
            Ok(Ask::Metrics)
        } else {
            return None;
        };
        Some(ask)
    }

    fn connect(authority: Option<&str>) -> Result<Ask, Refusal> {
        let target = authority.and_then(|authority| authority.parse().ok());
        let target = target.ok_or_else(|| Refusal::wrong("CONNECT names a host and a port: host:22"))?;
        Ok(Ask::Tunnel(Carrier::Connect, target))
    }
}

/// `HOST/PORT/` behind a template's beginning.
fn split(rest: &str) -> Option<(String, u16)> {
    let (host, port) = rest.strip_suffix('/').unwrap_or(rest).split_once('/')?;
    let host = percent_decode_str(host).decode_utf8().ok()?;
    Some((host.into_owned(), port.parse().ok()?))
}

fn target(rest: &str) -> Result<Target, Refusal> {
    let target = split(rest).and_then(|(host, port)| Target::new(&host, port));
    target.ok_or_else(|| Refusal::wrong("the address has no host and port: …/tcp/HOST/PORT/"))
}

fn listen<B>(request: &Request<B>, protocol: Option<&ConnectProtocol>, rest: &str) -> Result<Ask, Refusal> {
    match carrier(request, protocol)? {
        Carrier::Capsules(_) => {}
        _ => {
            return Err(Refusal::wrong(
                "what listens is told of connections in capsules: Upgrade: connect-tcp",
            ));
        }
    }
    let (host, port) = split(rest).ok_or_else(|| {
        Refusal::wrong("the address has no host and port to listen on: …/listen/HOST/PORT/")
    })?;
    Ok(Ask::Listen(host, port))
}

/// How the tunnel is to travel, by the protocol that is asked for.
fn carrier<B>(request: &Request<B>, protocol: Option<&ConnectProtocol>) -> Result<Carrier, Refusal> {
    let headers = request.headers();
    if let Some(protocol) = protocol {
        return match &*protocol.0 {
            "websocket" => websocket_version(headers).map(|()| Carrier::WebSocket),
            name if is_connect_tcp(name) => Ok(Carrier::Capsules(name.to_owned())),
            _ => Err(Refusal::upgrade_required()),
        };
    }
    if request.method() != Method::GET {
        return Err(Refusal::method());
    }
    let asked = options(headers, UPGRADE);
    if !options(headers, CONNECTION).iter().any(|option| option.eq_ignore_ascii_case("upgrade")) {
        return Err(Refusal::upgrade_required());
    }
    let named = |name: &str| asked.iter().find(|one| one.eq_ignore_ascii_case(name));
    if headers.contains_key("purr-request") {
        let word = named("purr").or_else(|| named("websocket")).ok_or_else(Refusal::upgrade_required)?;
        return Ok(Carrier::Purr(purr_version(headers)?, word.to_ascii_lowercase()));
    }
    if let Some(name) = asked.iter().find(|name| is_connect_tcp(name)) {
        return Ok(Carrier::Capsules(name.to_ascii_lowercase()));
    }
    if named("websocket").is_some() {
        return Ok(Carrier::WebSocket);
    }
    Err(Refusal::upgrade_required())
}

/// The protocol of the draft, also as its twelfth version names itself.
fn is_connect_tcp(name: &str) -> bool {
    name.eq_ignore_ascii_case("connect-tcp") || name.eq_ignore_ascii_case("connect-tcp-12")
}

fn websocket_version(headers: &HeaderMap) -> Result<(), Refusal> {
    match headers.get("sec-websocket-version") {
        Some(version) if version == "13" => Ok(()),
        _ => Err(Refusal::wrong("Sec-WebSocket-Version has to be 13")),
    }
}

fn purr_version(headers: &HeaderMap) -> Result<&'static str, Refusal> {
    let text = |name| headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok());
    if text("purr-request") != Some("MEOW") {
        return Err(Refusal::wrong("Purr-Request has to be MEOW"));
    }
    let version = text("purr-version").and_then(|version| PURR.iter().find(|known| **known == version));
    version
        .copied()
        .ok_or_else(|| Refusal::wrong(format!("Purr-Version has to be one of {}", PURR.join(", "))))
}

/// What a field of options lists.
fn options(headers: &HeaderMap, name: http::HeaderName) -> Vec<&str> {
    let lines = headers.get_all(name).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(method: &str, uri: &str, fields: &[(&str, &str)]) -> Option<Result<Ask, u16>> {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        Ask::of(&request.body(()).unwrap()).map(|ask| ask.map_err(|refusal| refusal.status.as_u16()))
    }

    const UPGRADE_TO: fn(&'static str) -> [(&'static str, &'static str); 2] =
        |protocol| [("connection", "keep-alive, Upgrade"), ("upgrade", protocol)];

    #[test]
    fn each_protocol_asks_in_its_own_way() {
        let target = |text: &str| text.parse::<Target>().unwrap();
        let capsules = |name: &str| Carrier::Capsules(name.to_owned());
        let to = |host: &str| format!("/.well-known/masque/tcp/{host}/22/");
        for (uri, fields, want) in [
            (
                to("a.test"),
                &UPGRADE_TO("connect-tcp")[..],
                Ask::Tunnel(capsules("connect-tcp"), target("a.test:22")),
            ),
            (
                to("a.test"),
                &UPGRADE_TO("connect-tcp-12"),
                Ask::Tunnel(capsules("connect-tcp-12"), target("a.test:22")),
            ),
            (to("%5B::1%5D"), &UPGRADE_TO("websocket"), Ask::Tunnel(Carrier::WebSocket, target("[::1]:22"))),
            (
                to("%3A%3A1"),
                &UPGRADE_TO("h2c, WebSocket"),
                Ask::Tunnel(Carrier::WebSocket, target("[::1]:22")),
            ),
            (
                "/tunnel/c/abc".to_owned(),
                &UPGRADE_TO("connect-tcp"),
                Ask::Capability(capsules("connect-tcp"), "abc".into()),
            ),
            (
                "/.well-known/outflow/accept/id/".to_owned(),
                &UPGRADE_TO("connect-tcp"),
                Ask::Accept(capsules("connect-tcp"), "id".into()),
            ),
            (
                "/.well-known/outflow/listen/127.0.0.1/0/".to_owned(),
                &UPGRADE_TO("connect-tcp"),
                Ask::Listen("127.0.0.1".into(), 0),
            ),
        ] {
            assert_eq!(ask("GET", &uri, fields), Some(Ok(want)), "{uri}");
        }
        for version in PURR {
            let fields = [UPGRADE_TO("purr"), [("purr-request", "MEOW"), ("purr-version", version)]].concat();
            let want = Ask::Tunnel(Carrier::Purr(version, "purr".into()), target("a.test:22"));
            assert_eq!(ask("GET", &to("a.test"), &fields), Some(Ok(want)));
        }
        assert_eq!(
            ask("CONNECT", "a.test:22", &[]),
            Some(Ok(Ask::Tunnel(Carrier::Connect, target("a.test:22"))))
        );
        assert_eq!(ask("GET", "/", &UPGRADE_TO("connect-tcp")), None);
        assert_eq!(ask("GET", "/.well-known/other", &[]), None);
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
            assert_eq!(ask(method, uri, &fields), Some(Err(status)), "{method} {uri} {fields:?}");
        }
    }
}
