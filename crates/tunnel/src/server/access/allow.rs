//! Lists of targets that may be reached; nothing else may.
//!
//! ```text
//! example.org:22        this name, this port
//! *.example.org:80-443  every name below, these ports
//! 192.0.2.7:*           this address, every port
//! 10.0.0.0/8:5432       every address of the network
//! [2001:db8::/32]:22    the same for IPv6
//! *:443                 everything public
//! ```
//!
//! A target is checked twice: its name as it is requested, and each of its addresses once the name
//! has been resolved. An address that is not public must be listed as an address or a network, so
//! that the DNS of a listed name cannot lead into the internal network.

use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;

use ipnet::IpNet;
use outflow_net::is_public;
use serde::Deserialize;

/// Length of the longest host name, in bytes (RFC 1035, section 2.3.4).
const MAX_NAME_BYTES: usize = 253;

/// The host and the port that a client wants to reach.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TunnelTarget {
    /// Its host.
    pub host: Host,
    /// Its port; never 0.
    pub port: u16,
}

/// A name, or an address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// In lower case, without the dot at the end.
    Name(Box<str>),
    /// An IPv4-mapped IPv6 address is stored as IPv4.
    Address(IpAddr),
}

impl TunnelTarget {
    /// From a host, with or without brackets around an IPv6 address, and a port.
    #[must_use]
    pub fn new(host: &str, port: u16) -> Option<TunnelTarget> {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = match bare.unwrap_or(host).parse::<IpAddr>() {
            Ok(address) => Host::Address(address.to_canonical()),
            Err(_) if bare.is_some() => return None,
            Err(_) => Host::Name(name(host)?),
        };
        (port != 0).then_some(TunnelTarget { host, port })
    }
}

impl FromStr for TunnelTarget {
    type Err = String;

    fn from_str(text: &str) -> Result<TunnelTarget, String> {
        let parts =
            text.rsplit_once(':').and_then(|(host, port)| TunnelTarget::new(host, port.parse().ok()?));
        parts.ok_or_else(|| format!("{text:?} is not a host and a port, such as example.org:22 or [::1]:22"))
    }
}

impl fmt::Display for TunnelTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Address(IpAddr::V6(address)) => write!(f, "[{address}]:{}", self.port),
            Host::Address(address) => write!(f, "{address}:{}", self.port),
            Host::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

/// A host name in the form that is compared.
///
/// The last label of a name is not a number (WHATWG URL, "ends in a number"), because a resolver
/// may take `127.1`, `0x7f000001` or `2130706433` for an address.
fn name(text: &str) -> Option<Box<str>> {
    let text = text.strip_suffix('.').unwrap_or(text);
    let is_label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    let last = text.rsplit('.').next().unwrap_or_default();
    let is_number = last.bytes().all(|byte| byte.is_ascii_digit())
        || last.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("0x"));
    let is_name = text.len() <= MAX_NAME_BYTES && text.split('.').all(is_label) && !is_number;
    is_name.then(|| text.to_ascii_lowercase().into())
}

/// One entry of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
struct AllowRule {
    hosts: HostPattern,
    ports: RangeInclusive<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum HostPattern {
    Any,
    Name(Box<str>),
    /// All names with this suffix, which begins with a dot.
    Below(Box<str>),
    Network(IpNet),
}

impl FromStr for AllowRule {
    type Err = String;

    fn from_str(text: &str) -> Result<AllowRule, String> {
        let wrong = |what: &str| {
            Err(format!(
                "{text:?}: {what}; a rule is host:port, *.domain:port, address:port, network/bits:port or *:port, \
                 where port may be first-last or *"
            ))
        };
        let Some((host, ports)) = text.rsplit_once(':') else { return wrong("the port is missing") };
        let ports = match ports.split_once('-') {
            _ if ports == "*" => Some(1..=u16::MAX),
            Some((first, last)) => first.parse().ok().zip(last.parse().ok()).map(|(a, b)| a..=b),
            None => ports.parse().ok().map(|port| port..=port),
        };
        let Some(ports) = ports.filter(|ports| *ports.start() > 0 && !ports.is_empty()) else {
            return wrong("the port is invalid");
        };
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let network = bare.parse::<IpNet>().ok().or_else(|| bare.parse::<IpAddr>().ok().map(IpNet::from));
        let named = || match host.strip_prefix("*.") {
            Some(domain) => name(domain).map(|domain| HostPattern::Below(format!(".{domain}").into())),
            None => name(host).map(HostPattern::Name),
        };
        let hosts = match (host, network) {
            ("*", _) => Some(HostPattern::Any),
            (_, Some(network)) => Some(HostPattern::Network(network.trunc())),
            _ => named(),
        };
        let Some(hosts) = hosts else { return wrong("the host is invalid") };
        Ok(AllowRule { hosts, ports })
    }
}

/// A list of targets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<String>")]
pub struct AllowList(Vec<AllowRule>);

impl TryFrom<Vec<String>> for AllowList {
    type Error = String;

    fn try_from(list: Vec<String>) -> Result<AllowList, String> {
        AllowList::parse(list.iter().map(String::as_str))
    }
}

impl AllowList {
    /// Parses rules, as in the head of this module.
    ///
    /// # Errors
    /// The first invalid rule, why it is invalid, and the valid forms.
    pub fn parse<'a>(rules: impl IntoIterator<Item = &'a str>) -> Result<AllowList, String> {
        rules.into_iter().map(str::parse).collect::<Result<_, _>>().map(AllowList)
    }

    /// Whether the list allows nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a target may be requested, judged by its name, before that is resolved.
    #[must_use]
    pub fn allows_target(&self, target: &TunnelTarget) -> bool {
        match &target.host {
            Host::Address(address) => self.allows_address(target, *address),
            Host::Name(name) => self.rules(target.port).any(|hosts| covers_name(hosts, name)),
        }
    }

    /// Whether the server may connect to `address`, which was requested or which the target's name
    /// resolved to.
    #[must_use]
    pub fn allows_address(&self, target: &TunnelTarget, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let listed = self
            .rules(target.port)
            .any(|hosts| matches!(hosts, HostPattern::Network(network) if network.contains(&address)));
        let named = || match &target.host {
            Host::Name(name) => self.rules(target.port).any(|hosts| covers_name(hosts, name)),
            Host::Address(_) => self.rules(target.port).any(|hosts| *hosts == HostPattern::Any),
        };
        listed || (is_public(address) && named())
    }

    /// Whether a client may listen on `address` of this machine. Port 0, any free port, needs a
    /// rule for all ports.
    #[must_use]
    pub fn allows_listening(&self, address: IpAddr, port: u16) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|rule| {
            let ports = if port == 0 { rule.ports == (1..=u16::MAX) } else { rule.ports.contains(&port) };
            ports && matches!(&rule.hosts, HostPattern::Network(network) if network.contains(&address))
        })
    }

    fn rules(&self, port: u16) -> impl Iterator<Item = &HostPattern> {
        self.0.iter().filter(move |rule| rule.ports.contains(&port)).map(|rule| &rule.hosts)
    }
}

/// Whether `hosts` covers a name. A network covers none: a name that resolves into it must be
/// listed as well.
fn covers_name(hosts: &HostPattern, name: &str) -> bool {
    match hosts {
        HostPattern::Any => true,
        HostPattern::Name(listed) => **listed == *name,
        HostPattern::Below(domain) => name.ends_with(&**domain),
        HostPattern::Network(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allow(rules: &[&str]) -> AllowList {
        AllowList::parse(rules.iter().copied()).unwrap()
    }

    #[test]
    fn nothing_is_allowed_that_is_not_listed() {
        assert!(AllowList::default().is_empty());
        for target in ["example.org:22", "8.8.8.8:53", "127.0.0.1:22", "[::1]:22"] {
            assert!(!AllowList::default().allows_target(&target.parse().unwrap()), "{target}");
        }
        let list = allow(&[
            "example.org:22",
            "*.example.net:80-90",
            "8.8.8.8:53",
            "10.0.0.0/8:5432",
            "[fd00::/8]:*",
        ]);
        for (target, may) in [
            ("example.org:22", true),
            ("EXAMPLE.ORG.:22", true),
            ("example.org:23", false),
            ("www.example.org:22", false),
            ("notexample.org:22", false),
            ("example.org.evil.test:22", false),
            ("a.example.net:80", true),
            ("a.b.example.net:90", true),
            ("a.example.net:91", false),
            ("example.net:80", false),
            ("8.8.8.8:53", true),
            ("8.8.4.4:53", false),
            ("[::ffff:8.8.8.8]:53", true),
            ("10.255.0.1:5432", true),
            ("[::ffff:10.0.0.1]:5432", true),
            ("11.0.0.1:5432", false),
            ("[fd12::1]:1", true),
            ("[fe80::1]:1", false),
        ] {
            assert_eq!(list.allows_target(&target.parse().unwrap()), may, "{target}");
        }
    }

    #[test]
    fn a_name_does_not_lead_inside_unless_the_inside_is_listed() {
        let outside = allow(&["example.org:22", "*:443"]);
        let both = allow(&["example.org:22", "10.0.0.0/8:22"]);
        let other_port = allow(&["example.org:22", "10.0.0.0/8:23"]);
        let target: TunnelTarget = "example.org:22".parse().unwrap();
        for (list, address, may) in [
            (&outside, "8.8.8.8", true),
            (&outside, "10.0.0.1", false),
            (&outside, "127.0.0.1", false),
            (&outside, "169.254.169.254", false),
            (&outside, "::1", false),
            (&outside, "::ffff:127.0.0.1", false),
            (&outside, "64:ff9b::7f00:1", false),
            (&both, "10.0.0.1", true),
            (&both, "::ffff:10.0.0.1", true),
            (&both, "127.0.0.1", false),
            (&other_port, "10.0.0.1", false),
        ] {
            assert_eq!(list.allows_address(&target, address.parse().unwrap()), may, "{address}");
        }
        // `*` covers public addresses only.
        for (target, may) in [("8.8.8.8:443", true), ("127.0.0.1:443", false), ("[::1]:443", false)] {
            assert_eq!(outside.allows_target(&target.parse().unwrap()), may, "{target}");
        }
    }

    #[test]
    fn what_could_be_an_address_in_disguise_is_no_target() {
        for text in [
            "127.1:22",
            "2130706433:22",
            "0x7f000001:22",
            "0x7f.1:22",
            "0177.0.0.1:22",
            "1.2.3.4.5:22",
            "a.0x1:22",
            "example.org:0",
            "example.org:65536",
            "example.org",
            ":22",
            "a b:22",
            "a/b:22",
            "a%b:22",
            "user@a:22",
            "[example.org]:22",
            "[::1:22",
            "a..b:22",
            "-\u{e9}:22",
            "[fe80::1%eth0]:22",
        ] {
            assert!(text.parse::<TunnelTarget>().is_err(), "{text}");
        }
        let long = "a".repeat(64) + ":22";
        assert!(long.parse::<TunnelTarget>().is_err());
        for text in
            ["localhost:22", "a_b.example:1", "1a:2", "3com.com:80", "xn--bcher-kva.example:443", "[::1]:22"]
        {
            assert_eq!(text.parse::<TunnelTarget>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn listening_is_for_listed_addresses() {
        let list = allow(&["127.0.0.1:*", "192.0.2.0/24:2000-2999", "*:80", "localhost:81"]);
        for (address, port, may) in [
            ("127.0.0.1", 0, true),
            ("127.0.0.1", 22, true),
            ("::ffff:127.0.0.1", 22, true),
            ("127.0.0.2", 22, false),
            ("192.0.2.7", 2222, true),
            ("192.0.2.7", 0, false),
            ("8.8.8.8", 80, false),
            ("0.0.0.0", 80, false),
        ] {
            assert_eq!(list.allows_listening(address.parse().unwrap(), port), may, "{address} {port}");
        }
    }

    #[test]
    fn rules_that_are_none_say_what_would_be_one() {
        for text in [
            "",
            "example.org",
            "example.org:",
            "example.org:0",
            "a:9-8",
            "a:1-70000",
            "10.0.0.0/33:22",
            "*.:22",
            "http://a:22",
            "127.1:22",
        ] {
            let error = AllowList::parse([text]).unwrap_err();
            assert!(error.contains("host:port"), "{text}: {error}");
        }
    }
}
