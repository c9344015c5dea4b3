//! What people write: a server, a template, a capability; and a target.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use url::Url;

use super::options::Via;

/// Where tunnels are below a server's address (draft-ietf-httpbis-connect-tcp).
const WELL_KNOWN: &str = "/.well-known/masque/tcp/{target_host}/{target_port}/";

/// Where addresses of the server are listened on, and what was accepted there is had.
const LISTEN: &str = "/.well-known/outflow/listen/{target_host}/{target_port}/";
const ACCEPT: &str = "/.well-known/outflow/accept/";

/// What a capability's path has in it.
const CAPABILITY: &str = "/tunnel/c/";

/// What is not unreserved (RFC 3986, 2.3): as RFC 6570 writes variables.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Where a server's tunnels are asked for.
///
/// - A URL: below it `/.well-known/masque/tcp/{target_host}/{target_port}/` is added.
/// - A template, with `{target_host}` and `{target_port}`, or with `{?target_host,target_port}`.
/// - A capability, `…/tunnel/c/<token>`: as it is, since it says where it leads to.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    /// With its variables, if it is a template.
    text: String,
    https: bool,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Base,
    Template,
    Capability,
}

/// Not an address or target that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadAddress(pub(super) String);

impl FromStr for Address {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Address, BadAddress> {
        let kind = if text.contains("{target_host}") && text.contains("{target_port}")
            || text.contains("{?target_host,target_port}")
        {
            Kind::Template
        } else if text.contains(CAPABILITY) {
            Kind::Capability
        } else {
            Kind::Base
        };
        let target = Target { host: "h".to_owned(), port: 1 };
        let url = parse(&fill(text, &target))?;
        if text.contains(['{', '}']) && (kind != Kind::Template || fill(text, &target).contains(['{', '}'])) {
            let what = "a template has {target_host} and {target_port}, or {?target_host,target_port}";
            return Err(BadAddress(format!("{text:?}: {what}, and nothing else in braces")));
        }
        Ok(Address { text: text.to_owned(), https: url.scheme() == "https", kind })
    }
}

/// Without user and password, and without the token of a capability.
impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.https { "https" } else { "http" };
        let rest = self.text.split_once("://").map_or("", |(_, rest)| rest);
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let host = authority.rsplit('@').next().unwrap_or_default();
        write!(f, "{scheme}://{host}")
    }
}

impl Address {
    /// Whether TLS is spoken.
    pub(super) fn is_https(&self) -> bool {
        self.https
    }

    /// Whether it leads to one target only. A purr server has paths of its own: one that is given is meant.
    pub(super) fn is_bound(&self, via: Via) -> bool {
        match self.kind {
            Kind::Template => false,
            Kind::Capability => true,
            Kind::Base => {
                let path = self.text.split_once("://").and_then(|(_, rest)| rest.split_once('/'));
                via == Via::Purr && path.is_some_and(|(_, path)| !path.is_empty())
            }
        }
    }

    /// Where it is asked for.
    pub(super) fn place(&self, via: Via, wanted: &Wanted) -> Result<Place, BadAddress> {
        let path = match wanted {
            Wanted::Tunnel(_) if self.is_bound(via) => return Place::of(&self.text),
            Wanted::Tunnel(None) => {
                return Err(BadAddress(format!("{self}: where to? A host and a port are needed")));
            }
            Wanted::Tunnel(Some(to)) if self.kind == Kind::Template => {
                return Place::of(&fill(&self.text, to));
            }
            Wanted::Tunnel(Some(to)) => fill(WELL_KNOWN, to),
            Wanted::Listen(at) => fill(LISTEN, &Target { host: at.ip().to_string(), port: at.port() }),
            Wanted::Accepted(id) => format!("{ACCEPT}{}/", utf8_percent_encode(id, RESERVED)),
        };
        if self.kind != Kind::Base || self.text.contains(['?', '#']) {
            return Err(BadAddress(format!("{self}: the server's own address is needed, without ? and #")));
        }
        Place::of(&format!("{}{path}", self.text.trim_end_matches('/')))
    }
}

fn parse(text: &str) -> Result<Url, BadAddress> {
    let url = Url::parse(text).map_err(|error| {
        BadAddress(format!("{text:?} is not an address like https://files.example.com: {error}"))
    })?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(BadAddress(format!("{text:?}: an address begins with https:// or http://")));
    }
    Ok(url)
}

/// A template with its variables (RFC 6570).
fn fill(template: &str, target: &Target) -> String {
    let host = utf8_percent_encode(&target.host, RESERVED).to_string();
    let port = target.port.to_string();
    template
        .replace("{?target_host,target_port}", &format!("?target_host={host}&target_port={port}"))
        .replace("{target_host}", &host)
        .replace("{target_port}", &port)
}

/// One request's address, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) https: bool,
    /// For `Host`: with the port if it is not the usual one.
    pub(super) authority: String,
    /// To connect to: without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) path: String,
    /// User and password, with a colon between.
    pub(super) user: Option<Vec<u8>>,
}

impl Place {
    fn of(text: &str) -> Result<Place, BadAddress> {
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
        Ok(Place {
            https: url.scheme() == "https",
            authority: url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")),
            host: host.trim_matches(['[', ']']).to_owned(),
            port,
            path,
            user,
        })
    }
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// To a target, or to where the address leads.
    Tunnel(Option<Target>),
    /// To be told of connections to an address of the server.
    Listen(SocketAddr),
    /// One of those connections.
    Accepted(String),
}

/// What is tunnelled to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    host: String,
    port: u16,
}

impl Target {
    /// A name or an address, and a port. An IPv6 address may stand in brackets.
    ///
    /// # Errors
    /// What cannot be a name or a port.
    pub fn new(host: &str, port: u16) -> Result<Target, BadAddress> {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let possible = |c: char| c.is_alphanumeric() || matches!(c, '-' | '.' | '_' | ':' | '%');
        if bare.is_empty() || !bare.chars().all(possible) {
            return Err(BadAddress(format!("{host:?} is not a host's name or address")));
        }
        if port == 0 {
            return Err(BadAddress("port 0 cannot be connected to".to_owned()));
        }
        Ok(Target { host: bare.to_owned(), port })
    }
}

impl Target {
    /// A name, or an address without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Not 0.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl fmt::Display for Target {
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

    fn place(address: &str, via: Via, host: &str, port: u16) -> Place {
        let wanted = Wanted::Tunnel(Target::new(host, port).ok());
        address.parse::<Address>().unwrap().place(via, &wanted).unwrap()
    }

    #[test]
    fn each_kind_of_address_leads_somewhere() {
        let path = |address: &str| place(address, Via::ConnectTcp, "db.local", 5432).path;
        assert_eq!(path("https://h"), "/.well-known/masque/tcp/db.local/5432/");
        assert_eq!(path("https://h/"), "/.well-known/masque/tcp/db.local/5432/");
        assert_eq!(path("https://h/in/"), "/in/.well-known/masque/tcp/db.local/5432/");
        assert_eq!(path("https://h/t/{target_host}:{target_port}?x=1"), "/t/db.local:5432?x=1");
        assert_eq!(path("https://h/p{?target_host,target_port}"), "/p?target_host=db.local&target_port=5432");
        assert_eq!(path("https://h/tunnel/c/abc.def"), "/tunnel/c/abc.def");
    }

    #[test]
    fn what_is_listened_on_is_an_address_of_the_server() {
        let server: Address = "https://h/in".parse().unwrap();
        let path = |wanted: Wanted| server.place(Via::ConnectTcp, &wanted).unwrap().path;
        let at = "[::]:2222".parse().unwrap();
        assert_eq!(path(Wanted::Listen(at)), "/in/.well-known/outflow/listen/%3A%3A/2222/");
        assert_eq!(path(Wanted::Accepted("a_-/".to_owned())), "/in/.well-known/outflow/accept/a_-%2F/");
    }

    #[test]
    fn a_purr_server_has_paths_of_its_own() {
        let path = |address: &str| place(address, Via::Purr, "db", 1).path;
        assert_eq!(path("http://h/vnc/7?t=x"), "/vnc/7?t=x");
        assert_eq!(path("http://h/"), "/.well-known/masque/tcp/db/1/");
    }

    #[test]
    fn addresses_of_ipv6_are_written_as_each_place_wants() {
        let place = place("https://u%40x:p@[2001:db8::1]:8443", Via::ConnectTcp, "[::1]", 22);
        assert_eq!(place.path, "/.well-known/masque/tcp/%3A%3A1/22/");
        assert_eq!(
            (&*place.authority, &*place.host, place.port),
            ("[2001:db8::1]:8443", "2001:db8::1", 8443)
        );
        assert_eq!(place.user.as_deref(), Some(&b"u@x:p"[..]));
        assert_eq!(Target::new("::1", 22).unwrap().to_string(), "[::1]:22");
    }

    #[test]
    fn what_leads_nowhere_is_refused_with_a_reason() {
        for (address, why) in [
            ("files.example.com", "https://"),
            ("ftp://h", "begins with"),
            ("https://h/{target_host}/", "template"),
            ("https://h/{target_host}/{target_port}/{x}", "braces"),
        ] {
            let error = address.parse::<Address>().unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        let query: Address = "https://h/?a".parse().unwrap();
        let wanted = Wanted::Tunnel(Target::new("h", 1).ok());
        assert!(query.place(Via::WebSocket, &wanted).is_err());
        let capability: Address = "https://h/tunnel/c/x".parse().unwrap();
        assert!(capability.place(Via::ConnectTcp, &Wanted::Listen(([127, 0, 0, 1], 0).into())).is_err());
        for host in ["", "a b", "a/b", "[]", "a\r\nb"] {
            assert!(Target::new(host, 1).is_err(), "{host:?}");
        }
        assert!(Target::new("h", 0).is_err());
    }

    #[test]
    fn secrets_are_not_shown() {
        for address in ["https://u:secret@h:8/", "https://h:8/tunnel/c/secret"] {
            assert_eq!(format!("{:?}", address.parse::<Address>().unwrap()), "https://h:8");
        }
    }
}
