//! Addresses for requests that speak HTTP by themselves: the ones whose answers are spliced.

use std::fmt;
use std::time::{Duration, Instant};

use object_store::signer::Url;

/// How long a presigned URL is valid.
pub(crate) const VALID: Duration = Duration::from_secs(15 * 60);
/// Clocks differ; no request is begun with an URL that has less left.
const MARGIN: Duration = Duration::from_secs(60);

/// Where an object can be had by plain HTTP. Whoever knows the query can have it: it must not be shown.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct PlainUrl {
    /// To connect to: a name or an address, IPv6 without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// For the field `Host`, exactly so.
    pub(crate) authority: String,
    /// Path and query.
    pub(crate) target: String,
    /// Not to be used after that.
    pub(crate) until: Option<Instant>,
}

impl PlainUrl {
    /// None for what is not plain HTTP.
    pub(crate) fn of(url: &Url, is_signed: bool) -> Option<PlainUrl> {
        if url.scheme() != "http" {
            return None;
        }
        let host = url.host_str()?;
        let authority = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        let target = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        Some(PlainUrl {
            host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port: url.port_or_known_default()?,
            authority,
            target,
            until: is_signed.then(|| Instant::now() + VALID - MARGIN),
        })
    }
}

impl fmt::Debug for PlainUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.target.split('?').next().unwrap_or_default();
        write!(f, "http://{}{path}", self.authority)
    }
}

/// True when the environment wants plain HTTP to go through a proxy, which only the full client speaks to.
pub(crate) fn has_proxy() -> bool {
    ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"]
        .into_iter()
        .any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_is_not_shown() {
        let url = Url::parse("http://[::1]:9000/b/a%20b?X-Amz-Signature=SECRET").unwrap();
        let plain = PlainUrl::of(&url, true).unwrap();
        assert_eq!((plain.host.as_str(), plain.port), ("::1", 9000));
        assert_eq!(plain.authority, "[::1]:9000");
        assert_eq!(plain.target, "/b/a%20b?X-Amz-Signature=SECRET");
        assert_eq!(format!("{plain:?}"), "http://[::1]:9000/b/a%20b");
        assert_eq!(PlainUrl::of(&Url::parse("https://h/").unwrap(), false), None);
        assert_eq!(PlainUrl::of(&Url::parse("http://h/x").unwrap(), false).unwrap().port, 80);
    }

    #[test]
    fn objects_of_plain_origins_have_one() {
        let object = crate::Object {
            key: "a b/c%?.txt".to_owned(),
            size: 1,
            etag: None,
            version: None,
            modified: None,
            crc32: None,
        };
        let of = |address: &str| {
            let store = crate::Store::open(address, &crate::StoreOptions::default()).unwrap();
            store.wait(store.plain_url(&object)).unwrap().map(|url| (url.authority, url.target))
        };
        let expected = ("h:81".to_owned(), "/x/a%20b/c%25%3F.txt".to_owned());
        // A machine whose plain HTTP goes through a proxy has none.
        if !has_proxy() {
            assert_eq!(of("http://h:81/x/"), Some(expected));
        }
        assert_eq!(of("file:///"), None);
    }
}
