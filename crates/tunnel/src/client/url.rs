//! What people write: the URL of a server, a template or a capability; and a target.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use url::Url;

use super::error::AddressError;
use super::options::UpgradeProtocol;

/// The path of tunnels below the URL of a server (draft-ietf-httpbis-connect-tcp).
const WELL_KNOWN: &str = "/.well-known/masque/tcp/{target_host}/{target_port}/";

/// The paths for listening on an address of the server, and for a connection that was accepted
/// there.
const LISTEN: &str = "/.well-known/outflow/listen/{target_host}/{target_port}/";
const ACCEPT: &str = "/.well-known/outflow/accept/";

/// A part of the path of every capability.
const CAPABILITY: &str = "/tunnel/c/";

/// Characters to percent-encode in the variables of a template (RFC 6570): all that are not
/// unreserved (RFC 3986, 2.3).
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The URL at which a server offers tunnels.
///
/// - A URL of a server, to which `/.well-known/masque/tcp/{target_host}/{target_port}/` is added.
/// - A template, with `{target_host}` and `{target_port}`, or with `{?target_host,target_port}`.
/// - A capability, `…/tunnel/c/<token>`, which is used as it is and determines the target.
#[derive(Clone, PartialEq, Eq)]
pub struct TunnelUrl {
    /// With its variables, if it is a template.
    text: String,
    https: bool,
    kind: UrlKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum UrlKind {
    Base,
    Template,
    Capability,
}

impl FromStr for TunnelUrl {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<TunnelUrl, AddressError> {
        let kind = if text.contains("{target_host}") && text.contains("{target_port}")
            || text.contains("{?target_host,target_port}")
        {
            UrlKind::Template
        } else if text.contains(CAPABILITY) {
            UrlKind::Capability
        } else {
            UrlKind::Base
        };
        let target = RemoteTarget { host: "h".to_owned(), port: 1 };
        let url = parse(&fill(text, &target))?;
        if text.contains(['{', '}'])
            && (kind != UrlKind::Template || fill(text, &target).contains(['{', '}']))
        {
            let what = "a template has {target_host} and {target_port}, or {?target_host,target_port}";
            return Err(AddressError(format!("{text:?}: {what}, and nothing else in braces")));
        }
        Ok(TunnelUrl { text: text.to_owned(), https: url.scheme() == "https", kind })
    }
}

/// Without user, password and the token of a capability.
impl fmt::Debug for TunnelUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for TunnelUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.https { "https" } else { "http" };
        let rest = self.text.split_once("://").map_or("", |(_, rest)| rest);
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let host = authority.rsplit('@').next().unwrap_or_default();
        write!(f, "{scheme}://{host}")
    }
}

impl TunnelUrl {
    /// Whether the server uses TLS.
    pub(super) fn is_https(&self) -> bool {
        self.https
    }

    /// Whether it determines the target. A purr server has its own paths, so a path in its URL
    /// does.
    pub(super) fn is_bound(&self, protocol: UpgradeProtocol) -> bool {
        match self.kind {
            UrlKind::Template => false,
            UrlKind::Capability => true,
            UrlKind::Base => {
                let path = self.text.split_once("://").and_then(|(_, rest)| rest.split_once('/'));
                protocol == UpgradeProtocol::Purr && path.is_some_and(|(_, path)| !path.is_empty())
            }
        }
    }

    /// The URL of one request.
    pub(super) fn request_url(
        &self,
        protocol: UpgradeProtocol,
        destination: &Destination,
    ) -> Result<RequestUrl, AddressError> {
        let path = match destination {
            Destination::Tunnel(_) if self.is_bound(protocol) => return RequestUrl::parse(&self.text),
            Destination::Tunnel(None) => {
                return Err(AddressError(format!("{self} leads to many targets: name a host and a port")));
            }
            Destination::Tunnel(Some(to)) if self.kind == UrlKind::Template => {
                return RequestUrl::parse(&fill(&self.text, to));
            }
            Destination::Tunnel(Some(to)) => fill(WELL_KNOWN, to),
            Destination::Listen(at) => {
                fill(LISTEN, &RemoteTarget { host: at.ip().to_string(), port: at.port() })
            }
            Destination::Accepted(id) => format!("{ACCEPT}{}/", utf8_percent_encode(id, RESERVED)),
        };
        if self.kind != UrlKind::Base || self.text.contains(['?', '#']) {
            return Err(AddressError(format!(
                "{self}: the URL of the server itself is needed, without ? and #"
            )));
        }
        RequestUrl::parse(&format!("{}{path}", self.text.trim_end_matches('/')))
    }
}

fn parse(text: &str) -> Result<Url, AddressError> {
    let url = Url::parse(text).map_err(|error| {
        AddressError(format!("{text:?} is not a URL like https://files.example.com: {error}"))
    })?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(AddressError(format!("{text:?}: a URL begins with https:// or http://")));
    }
    Ok(url)
}

/// Fills in the variables of a template (RFC 6570).
fn fill(template: &str, target: &RemoteTarget) -> String {
    let host = utf8_percent_encode(&target.host, RESERVED).to_string();
    let port = target.port.to_string();
    template
        .replace("{?target_host,target_port}", &format!("?target_host={host}&target_port={port}"))
        .replace("{target_host}", &host)
        .replace("{target_port}", &port)
}

/// The parts of a request's URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RequestUrl {
    pub(super) https: bool,
    /// For `Host`: with the port unless it is the default.
    pub(super) authority: String,
    /// To connect to: without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) path: String,
    /// User and password, separated by a colon.
    pub(super) user: Option<Vec<u8>>,
}

impl RequestUrl {
    fn parse(text: &str) -> Result<RequestUrl, AddressError> {
        let url = parse(text)?;
        let host = url.host_str().unwrap_or_default();
        let port = url.port_or_known_default().unwrap_or_default();
        let path = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        let decoded = |text: &str| percent_encoding::percent_decode_str(text).collect::<Vec<u8>>();
        let user = (!url.username().is_empty() || url.password().is_some()).then(|| {
            [decoded(url.username()), b":".to_vec(), decoded(url.password().unwrap_or_default())].concat()
        });
        Ok(RequestUrl {
            https: url.scheme() == "https",
            authority: url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")),
            host: host.trim_matches(['[', ']']).to_owned(),
            port,
            path,
            user,
        })
    }
}

/// What a client requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Destination {
    /// A tunnel to a target, or to the target that the URL determines.
    Tunnel(Option<RemoteTarget>),
    /// To listen on an address of the server.
    Listen(SocketAddr),
    /// A tunnel to a connection that was accepted there.
    Accepted(String),
}

/// The host and port to tunnel to, as the server knows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteTarget {
    host: String,
    port: u16,
}

impl RemoteTarget {
    /// From a name or an address, and a port. An IPv6 address may have brackets.
    ///
    /// # Errors
    /// The host cannot be a name or an address, or the port is 0.
    pub fn new(host: &str, port: u16) -> Result<RemoteTarget, AddressError> {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let possible = |c: char| c.is_alphanumeric() || matches!(c, '-' | '.' | '_' | ':' | '%');
        if bare.is_empty() || !bare.chars().all(possible) {
            return Err(AddressError(format!("{host:?} is not the name or address of a host")));
        }
        if port == 0 {
            return Err(AddressError("port 0 cannot be connected to".to_owned()));
        }
        Ok(RemoteTarget { host: bare.to_owned(), port })
    }
}

impl RemoteTarget {
    /// A name, or an address without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, never 0.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl fmt::Display for RemoteTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request_url(address: &str, protocol: UpgradeProtocol, host: &str, port: u16) -> RequestUrl {
        let destination = Destination::Tunnel(RemoteTarget::new(host, port).ok());
        address.parse::<TunnelUrl>().unwrap().request_url(protocol, &destination).unwrap()
    }

    #[test]
    fn each_kind_of_address_leads_somewhere() {
        let path = |address: &str| request_url(address, UpgradeProtocol::ConnectTcp, "db.local", 5432).path;
        assert_eq!(path("https://h"), "/.well-known/masque/tcp/db.local/5432/");
        assert_eq!(path("https://h/"), "/.well-known/masque/tcp/db.local/5432/");
        assert_eq!(path("https://h/in/"), "/in/.well-known/masque/tcp/db.local/5432/");
        assert_eq!(path("https://h/t/{target_host}:{target_port}?x=1"), "/t/db.local:5432?x=1");
        assert_eq!(path("https://h/p{?target_host,target_port}"), "/p?target_host=db.local&target_port=5432");
        assert_eq!(path("https://h/tunnel/c/abc.def"), "/tunnel/c/abc.def");
    }

    #[test]
    fn what_is_listened_on_is_an_address_of_the_server() {
        let server: TunnelUrl = "https://h/in".parse().unwrap();
        let path =
            |wanted: Destination| server.request_url(UpgradeProtocol::ConnectTcp, &wanted).unwrap().path;
        let at = "[::]:2222".parse().unwrap();
        assert_eq!(path(Destination::Listen(at)), "/in/.well-known/outflow/listen/%3A%3A/2222/");
        assert_eq!(path(Destination::Accepted("a_-/".to_owned())), "/in/.well-known/outflow/accept/a_-%2F/");
    }

    #[test]
    fn a_purr_server_has_paths_of_its_own() {
        let path = |address: &str| request_url(address, UpgradeProtocol::Purr, "db", 1).path;
        assert_eq!(path("http://h/vnc/7?t=x"), "/vnc/7?t=x");
        assert_eq!(path("http://h/"), "/.well-known/masque/tcp/db/1/");
    }

    #[test]
    fn addresses_of_ipv6_are_written_as_each_place_wants() {
        let url = request_url("https://u%40x:p@[2001:db8::1]:8443", UpgradeProtocol::ConnectTcp, "[::1]", 22);
        assert_eq!(url.path, "/.well-known/masque/tcp/%3A%3A1/22/");
        assert_eq!((&*url.authority, &*url.host, url.port), ("[2001:db8::1]:8443", "2001:db8::1", 8443));
        assert_eq!(url.user.as_deref(), Some(&b"u@x:p"[..]));
        assert_eq!(RemoteTarget::new("::1", 22).unwrap().to_string(), "[::1]:22");
    }

    #[test]
    fn what_leads_nowhere_is_refused_with_a_reason() {
        for (address, why) in [
            ("files.example.com", "https://"),
            ("ftp://h", "begins with"),
            ("https://h/{target_host}/", "template"),
            ("https://h/{target_host}/{target_port}/{x}", "braces"),
        ] {
            let error = address.parse::<TunnelUrl>().unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        let query: TunnelUrl = "https://h/?a".parse().unwrap();
        let wanted = Destination::Tunnel(RemoteTarget::new("h", 1).ok());
        assert!(query.request_url(UpgradeProtocol::WebSocket, &wanted).is_err());
        let capability: TunnelUrl = "https://h/tunnel/c/x".parse().unwrap();
        assert!(
            capability
                .request_url(UpgradeProtocol::ConnectTcp, &Destination::Listen(([127, 0, 0, 1], 0).into()))
                .is_err()
        );
        for host in ["", "a b", "a/b", "[]", "a\r\nb"] {
            assert!(RemoteTarget::new(host, 1).is_err(), "{host:?}");
        }
        assert!(RemoteTarget::new("h", 0).is_err());
    }

    #[test]
    fn secrets_are_not_shown() {
        for address in ["https://u:secret@h:8/", "https://h:8/tunnel/c/secret"] {
            assert_eq!(format!("{:?}", address.parse::<TunnelUrl>().unwrap()), "https://h:8");
        }
    }
}
