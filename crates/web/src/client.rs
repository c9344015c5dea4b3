//! The client's address, and whether a trusted proxy stands between it and this server.
//!
//! Only trusted proxies are trusted to name their clients. The list in `Forwarded` (RFC 7239) or
//! `X-Forwarded-For` is read from its end, each address vouched for by the one behind it, up to the
//! first that is not a trusted proxy's. A proxy sets one of the two fields and forwards whatever
//! the client wrote into the other, so if both are there and disagree, neither counts.

use std::net::{IpAddr, SocketAddr};

use http::header::FORWARDED;
use http::{HeaderName, HeaderValue, Request};
use ipnet::IpNet;
use outflow_wire::{PeerAddr, PlainRequest, ViaProxy};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Maximum number of addresses that are read from a list.
///
/// Bound: requests.
const MAX_HOPS: usize = 32;

/// The client that made a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestClient {
    /// `None` if the engine does not report it.
    pub address: Option<IpAddr>,
    /// A proxy stands in between, so acknowledgements are the proxy's.
    pub proxied: bool,
}

impl RequestClient {
    /// The client behind `request`, which may have come through `trusted` proxies.
    #[must_use]
    pub fn of<B>(request: &Request<B>, trusted: &[IpNet]) -> RequestClient {
        let Some(PeerAddr(peer)) = request.extensions().get() else { return RequestClient::default() };
        let introduced = request.extensions().get::<ViaProxy>().is_some();
        RequestClient::new(peer.ip(), introduced, trusted, |field| {
            request.headers().get_all(field).iter().map(HeaderValue::as_bytes).collect()
        })
    }

    /// The same of a plain request.
    #[must_use]
    pub fn of_plain(request: &PlainRequest<'_>, trusted: &[IpNet]) -> RequestClient {
        let introduced = request.via_proxy().is_some();
        RequestClient::new(request.peer().ip(), introduced, trusted, |field| {
            request.values(field.as_str()).collect()
        })
    }

    /// `lines` gives the lines of a field, which are read only if `peer` is trusted.
    fn new<'a>(
        peer: IpAddr,
        introduced: bool,
        trusted: &[IpNet],
        lines: impl Fn(&HeaderName) -> Vec<&'a [u8]>,
    ) -> RequestClient {
        let peer = peer.to_canonical();
        if !is_trusted(peer, trusted) {
            return RequestClient { address: Some(peer), proxied: introduced };
        }
        let named = [addresses(&lines(&FORWARDED), forwarded), addresses(&lines(&X_FORWARDED_FOR), plain)];
        let address = match named.map(|list| list.map(|list| behind(peer, &list, trusted))) {
            [Some(one), Some(other)] if one == other => one,
            [Some(one), None] | [None, Some(one)] => one,
            _ => peer,
        };
        RequestClient { address: Some(address), proxied: true }
    }
}

fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    trusted.iter().any(|net| net.contains(&address))
}

/// The first address, from the end of `list`, that is not a trusted proxy's; the last known one if
/// the list ends or the next element is no address.
fn behind(peer: IpAddr, list: &[Option<IpAddr>], trusted: &[IpNet]) -> IpAddr {
    let mut address = peer;
    for named in list.iter().rev().take(MAX_HOPS) {
        match named {
            Some(named) if is_trusted(address, trusted) => address = *named,
            _ => break,
        }
    }
    address
}

/// The elements of a field's lines, in order; `None` for one that is no address. `None` if the
/// field is absent.
fn addresses(lines: &[&[u8]], read: fn(&str) -> Option<IpAddr>) -> Option<Vec<Option<IpAddr>>> {
    if lines.is_empty() {
        return None;
    }
    let mut list = Vec::new();
    for line in lines {
        match std::str::from_utf8(line) {
            Ok(line) if line.is_ascii() => list.extend(line.split(',').map(read)),
            _ => list.push(None),
        }
    }
    Some(list)
}

/// An element of `X-Forwarded-For`: an address, perhaps with a port.
fn plain(element: &str) -> Option<IpAddr> {
    let element = element.trim();
    let bare = element.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(element);
    let address = bare.parse().or_else(|_| element.parse::<SocketAddr>().map(|address| address.ip()));
    address.ok().map(|address: IpAddr| address.to_canonical())
}

/// An element of `Forwarded`: `for=…` among pairs (RFC 7239, 4).
fn forwarded(element: &str) -> Option<IpAddr> {
    element.split(';').find_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then(|| plain(value.trim().trim_matches('"')))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, fields: &[(&'static str, &str)]) -> RequestClient {
        let mut request = Request::new(());
        request.extensions_mut().insert(PeerAddr(format!("{peer}:80").parse().unwrap()));
        for (name, value) in fields {
            request.headers_mut().append(*name, value.parse().unwrap());
        }
        let trusted = ["10.0.0.0/8", "127.0.0.1/32", "fd00::/8"].map(|net| net.parse().unwrap());
        RequestClient::of(&request, &trusted)
    }

    #[test]
    fn only_trusted_proxies_are_trusted_to_name_clients() {
        let xff = "x-forwarded-for";
        for (peer, fields, address, proxied) in [
            ("198.51.100.7", &[][..], "198.51.100.7", false),
            ("198.51.100.7", &[(xff, "1.2.3.4")], "198.51.100.7", false),
            ("10.0.0.1", &[], "10.0.0.1", true),
            ("10.0.0.1", &[(xff, "1.2.3.4")], "1.2.3.4", true),
            ("10.0.0.1", &[(xff, "6.6.6.6, 1.2.3.4")], "1.2.3.4", true),
            ("10.0.0.1", &[(xff, "6.6.6.6"), (xff, "1.2.3.4, 10.9.9.9")], "1.2.3.4", true),
            ("10.0.0.1", &[(xff, "1.2.3.4:5678")], "1.2.3.4", true),
            ("10.0.0.1", &[(xff, "[2001:db8::1]:99")], "2001:db8::1", true),
            ("10.0.0.1", &[(xff, "unknown")], "10.0.0.1", true),
            ("10.0.0.1", &[(xff, "1.2.3.4, nonsense")], "10.0.0.1", true),
            ("10.0.0.1", &[("forwarded", "for=1.2.3.4;proto=https")], "1.2.3.4", true),
            ("10.0.0.1", &[("forwarded", "proto=https; For=\"[2001:db8::2]:1\"")], "2001:db8::2", true),
            ("10.0.0.1", &[("forwarded", "for=_hidden")], "10.0.0.1", true),
            ("10.0.0.1", &[("forwarded", "for=6.6.6.6"), (xff, "1.2.3.4")], "10.0.0.1", true),
            ("10.0.0.1", &[("forwarded", "for=1.2.3.4"), (xff, "1.2.3.4")], "1.2.3.4", true),
            ("[fd00::1]", &[(xff, "::ffff:1.2.3.4")], "1.2.3.4", true),
            ("[::ffff:10.0.0.1]", &[(xff, "1.2.3.4")], "1.2.3.4", true),
        ] {
            let expected = RequestClient { address: Some(address.parse().unwrap()), proxied };
            assert_eq!(client(peer, fields), expected, "{peer} {fields:?}");
        }
    }

    #[test]
    fn a_list_without_end_is_read_in_part() {
        let long = vec!["10.0.0.2"; 10_000].join(",");
        let client = client("10.0.0.1", &[("x-forwarded-for", &format!("1.2.3.4,{long}"))]);
        assert_eq!(client.address, Some("10.0.0.2".parse().unwrap()));
    }

    #[test]
    fn the_client_is_unknown_if_the_engine_does_not_report_it() {
        assert_eq!(RequestClient::of(&Request::new(()), &[]), RequestClient::default());
    }
}
