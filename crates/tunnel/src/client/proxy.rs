//! What is between: the HTTP proxy that the environment names.
//!
//! `HTTPS_PROXY`, `HTTP_PROXY` and, for both, `ALL_PROXY`, in capital or small letters; `NO_PROXY` lists what is reached
//! without: names, which stand for all below them as well, addresses, networks, and `*`.

use std::fmt;
use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ipnet::IpNet;
use percent_encoding::percent_decode_str;
use url::Url;

use super::url::BadAddress;

/// The port of a proxy that names none.
const PORT: u16 = 80;

/// Which proxy to use for what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies {
    https: Option<String>,
    http: Option<String>,
    none: String,
}

impl Proxies {
    /// Those that the environment names.
    #[must_use]
    pub fn from_environment() -> Proxies {
        Proxies::from(|name| std::env::var(name).ok())
    }

    /// Those that these variables name.
    #[must_use]
    pub fn from(variable: impl Fn(&str) -> Option<String>) -> Proxies {
        let either = |name: &str| {
            let small = variable(&name.to_ascii_lowercase());
            small.or_else(|| variable(name)).filter(|value| !value.trim().is_empty())
        };
        Proxies {
            https: either("HTTPS_PROXY").or_else(|| either("ALL_PROXY")),
            http: either("HTTP_PROXY").or_else(|| either("ALL_PROXY")),
            none: either("NO_PROXY").unwrap_or_default(),
        }
    }

    /// None at all.
    #[must_use]
    pub fn none() -> Proxies {
        Proxies::default()
    }

    /// The one to be used for a server; `None` if it is reached directly.
    pub(super) fn of(&self, https: bool, host: &str, port: u16) -> Result<Option<Proxy>, BadAddress> {
        let Some(proxy) = (if https { &self.https } else { &self.http }) else { return Ok(None) };
        if self.none.split([',', ' ']).any(|entry| covers(entry.trim(), host, port)) {
            return Ok(None);
        }
        Ok(Some(Proxy::parse(proxy)?))
    }
}

/// Whether an entry of `NO_PROXY` stands for a host.
fn covers(entry: &str, host: &str, port: u16) -> bool {
    if entry == "*" {
        return true;
    }
    if let (Ok(net), Ok(address)) = (entry.parse::<IpNet>(), host.parse::<IpAddr>()) {
        return net.contains(&address);
    }
    let bare = |entry: &str| entry.trim_matches(['[', ']']).to_owned();
    let (name, only) = match entry.rsplit_once(':') {
        // More than one colon: an IPv6 address, unless it is in brackets.
        Some((name, only)) if !name.contains(':') || name.ends_with(']') => (bare(name), only.parse().ok()),
        _ => (bare(entry), None),
    };
    if only.is_some_and(|only: u16| only != port) {
        return false;
    }
    let name =
        name.trim_start_matches("*.").trim_start_matches('.').trim_end_matches('.').to_ascii_lowercase();
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    !name.is_empty() && (host == name || host.strip_suffix(&name).is_some_and(|rest| rest.ends_with('.')))
}

/// A proxy that is asked by `CONNECT`.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Proxy {
    pub(super) host: String,
    pub(super) port: u16,
    /// `Proxy-Authorization`, if there are a user and a password.
    authorization: Option<String>,
}

/// Without its password.
impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl Proxy {
    fn parse(text: &str) -> Result<Proxy, BadAddress> {
        let with_scheme = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let bad = |why: &str| BadAddress(format!("the proxy that the environment names: {why}"));
        let url = Url::parse(&with_scheme).map_err(|error| bad(&error.to_string()))?;
        if url.scheme() != "http" {
            return Err(bad(&format!("{}:// is not supported, only http://", url.scheme())));
        }
        let Some(host) = url.host_str() else { return Err(bad("it has no host")) };
        let decoded = |text: &str| percent_decode_str(text).collect::<Vec<u8>>();
        let authorization = (!url.username().is_empty()).then(|| {
            let password = decoded(url.password().unwrap_or_default());
            format!("Basic {}", STANDARD.encode([decoded(url.username()), b":".to_vec(), password].concat()))
        });
        Ok(Proxy {
            host: host.trim_matches(['[', ']']).to_owned(),
            port: url.port().unwrap_or(PORT),
            authorization,
        })
    }

    /// What asks it for a connection to a server.
    pub(super) fn request(&self, host: &str, port: u16) -> String {
        let authority =
            if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let mut request = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n");
        if let Some(authorization) = &self.authorization {
            request.push_str(&format!("Proxy-Authorization: {authorization}\r\n"));
        }
        request.push_str("\r\n");
        request
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(variables: &[(&str, &str)]) -> Proxies {
        Proxies::from(|name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn each_scheme_has_its_proxy_and_all_proxy_is_for_both() {
        let of =
            |proxies: &Proxies, https| proxies.of(https, "h", 443).unwrap().map(|proxy| format!("{proxy:?}"));
        let both = proxies(&[("HTTPS_PROXY", "http://a:1"), ("http_proxy", "b:2"), ("HTTP_PROXY", "c")]);
        assert_eq!(of(&both, true).as_deref(), Some("a:1"));
        assert_eq!(of(&both, false).as_deref(), Some("b:2"));
        let all = proxies(&[("all_proxy", "p"), ("https_proxy", "")]);
        assert_eq!(of(&all, true).as_deref(), Some("p:80"));
        assert_eq!(of(&proxies(&[]), true), None);
        assert!(proxies(&[("ALL_PROXY", "socks5://p")]).of(true, "h", 1).is_err());
    }

    #[test]
    fn no_proxy_lists_names_addresses_networks_and_ports() {
        let list = "example.com, .corp,10.0.0.0/8,[::1],other.org:8443";
        let proxies = proxies(&[("ALL_PROXY", "p"), ("NO_PROXY", list)]);
        let direct = |host, port| proxies.of(true, host, port).unwrap().is_none();
        for host in ["example.com", "a.example.com", "EXAMPLE.com.", "x.corp", "10.1.2.3", "::1"] {
            assert!(direct(host, 443), "{host}");
        }
        for host in ["notexample.com", "example.org", "11.0.0.1", "::2", "other.org"] {
            assert!(!direct(host, 443), "{host}");
        }
        assert!(direct("other.org", 8443));
        assert!(self::proxies(&[("ALL_PROXY", "p"), ("no_proxy", "*")]).of(true, "h", 1).unwrap().is_none());
    }

    #[test]
    fn a_password_is_sent_and_not_shown() {
        let proxies = proxies(&[("ALL_PROXY", "http://us%3Aer:pass%20word@[::2]:3128/")]);
        let proxy = proxies.of(true, "::1", 443).unwrap().unwrap();
        assert_eq!(format!("{proxy:?}"), "::2:3128");
        let basic = STANDARD.encode("us:er:pass word");
        assert_eq!(
            proxy.request("::1", 443),
            format!(
                "CONNECT [::1]:443 HTTP/1.1\r\nHost: [::1]:443\r\nProxy-Authorization: Basic {basic}\r\n\r\n"
            )
        );
    }
}
