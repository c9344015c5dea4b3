//! The HTTP proxy that the environment names.
//!
//! `HTTPS_PROXY`, `HTTP_PROXY` and, for both, `ALL_PROXY`, in upper or lower case, of which lower
//! case takes precedence. `NO_PROXY` lists hosts to reach directly: names, which cover their
//! subdomains, addresses, networks, `*`, each with an optional port, separated by commas or spaces.
//!
//! Why not `hyper_util::client::proxy::matcher` (0.1.21): its `NO_PROXY` knows neither ports
//! (`other.org:8443`) nor brackets (`[::1]`), `*.` or spaces, and upper case takes precedence. And
//! it ignores a proxy that it cannot use, such as a misspelt one, and connects directly; here that
//! is an error, because it would bypass the proxy silently.

use std::fmt;
use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ipnet::IpNet;
use percent_encoding::percent_decode_str;
use url::Url;

use super::error::AddressError;

/// The port of a proxy whose URL has none.
const DEFAULT_PORT: u16 = 80;

/// Which proxy to use for which server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxyEnvironment {
    https: Option<String>,
    http: Option<String>,
    none: String,
}

impl ProxyEnvironment {
    /// The proxies that the environment names.
    #[must_use]
    pub fn from_environment() -> ProxyEnvironment {
        ProxyEnvironment::from_variables(|name| std::env::var(name).ok())
    }

    /// The proxies that these variables name.
    #[must_use]
    pub fn from_variables(variable: impl Fn(&str) -> Option<String>) -> ProxyEnvironment {
        let either = |name: &str| {
            let lower = variable(&name.to_ascii_lowercase());
            lower.or_else(|| variable(name)).filter(|value| !value.trim().is_empty())
        };
        ProxyEnvironment {
            https: either("HTTPS_PROXY").or_else(|| either("ALL_PROXY")),
            http: either("HTTP_PROXY").or_else(|| either("ALL_PROXY")),
            none: either("NO_PROXY").unwrap_or_default(),
        }
    }

    /// No proxies.
    #[must_use]
    pub fn none() -> ProxyEnvironment {
        ProxyEnvironment::default()
    }

    /// The proxy to use for a server; `None` to connect directly.
    pub(super) fn proxy_for(
        &self,
        https: bool,
        host: &str,
        port: u16,
    ) -> Result<Option<HttpProxy>, AddressError> {
        let Some(proxy) = (if https { &self.https } else { &self.http }) else { return Ok(None) };
        if self.none.split([',', ' ']).any(|entry| covers(entry.trim(), host, port)) {
            return Ok(None);
        }
        Ok(Some(HttpProxy::parse(proxy)?))
    }
}

/// Whether an entry of `NO_PROXY` covers a host.
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

/// A proxy to use by `CONNECT`.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct HttpProxy {
    pub(super) host: String,
    pub(super) port: u16,
    /// `Proxy-Authorization`, if its URL has a user.
    authorization: Option<String>,
}

/// Without its password.
impl fmt::Debug for HttpProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl HttpProxy {
    fn parse(text: &str) -> Result<HttpProxy, AddressError> {
        let with_scheme = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let bad = |why: &str| AddressError(format!("cannot use the proxy in the environment: {why}"));
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
        Ok(HttpProxy {
            host: host.trim_matches(['[', ']']).to_owned(),
            port: url.port().unwrap_or(DEFAULT_PORT),
            authorization,
        })
    }

    /// The request for a connection to a server.
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

    fn proxies(variables: &[(&str, &str)]) -> ProxyEnvironment {
        ProxyEnvironment::from_variables(|name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn each_scheme_has_its_proxy_and_all_proxy_is_for_both() {
        let of = |proxies: &ProxyEnvironment, https| {
            proxies.proxy_for(https, "h", 443).unwrap().map(|proxy| format!("{proxy:?}"))
        };
        let both = proxies(&[("HTTPS_PROXY", "http://a:1"), ("http_proxy", "b:2"), ("HTTP_PROXY", "c")]);
        assert_eq!(of(&both, true).as_deref(), Some("a:1"));
        assert_eq!(of(&both, false).as_deref(), Some("b:2"));
        let all = proxies(&[("all_proxy", "p"), ("https_proxy", "")]);
        assert_eq!(of(&all, true).as_deref(), Some("p:80"));
        assert_eq!(of(&proxies(&[]), true), None);
        assert!(proxies(&[("ALL_PROXY", "socks5://p")]).proxy_for(true, "h", 1).is_err());
    }

    #[test]
    fn no_proxy_lists_names_addresses_networks_and_ports() {
        let list = "example.com, .corp,10.0.0.0/8,[::1],other.org:8443";
        let proxies = proxies(&[("ALL_PROXY", "p"), ("NO_PROXY", list)]);
        let direct = |host, port| proxies.proxy_for(true, host, port).unwrap().is_none();
        for host in ["example.com", "a.example.com", "EXAMPLE.com.", "x.corp", "10.1.2.3", "::1"] {
            assert!(direct(host, 443), "{host}");
        }
        for host in ["notexample.com", "example.org", "11.0.0.1", "::2", "other.org"] {
            assert!(!direct(host, 443), "{host}");
        }
        assert!(direct("other.org", 8443));
        assert!(
            self::proxies(&[("ALL_PROXY", "p"), ("no_proxy", "*")])
                .proxy_for(true, "h", 1)
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn a_password_is_sent_and_not_shown() {
        let proxies = proxies(&[("ALL_PROXY", "http://us%3Aer:pass%20word@[::2]:3128/")]);
        let proxy = proxies.proxy_for(true, "::1", 443).unwrap().unwrap();
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
