//! Addresses for requests that speak HTTP by themselves: the ones whose answers are spliced.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use object_store::path::Path;
use url::Url;

use crate::error::StoreErrorKind;

/// How long a presigned URL is valid.
pub(crate) const VALID: Duration = Duration::from_secs(15 * 60);
/// Clocks differ; no request is begun with an URL that has less left.
const MARGIN: Duration = Duration::from_secs(60);

/// A future in a box.
pub(crate) type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Finds the addresses of a store's objects for plain sockets.
#[derive(Clone)]
pub(crate) enum PlainAddresses {
    /// Without a signature: the path is enough.
    Open(Arc<KnownAddress>),
    /// Signed for a while, from path and version. That may take a request for credentials.
    Signed(Arc<SignAddress>),
}

type KnownAddress = dyn Fn(&Path) -> Option<PlainUrl> + Send + Sync;
type SignAddress =
    dyn Fn(Path, Option<&str>) -> Boxed<Result<Option<PlainUrl>, StoreErrorKind>> + Send + Sync;

/// The address of an object over plain HTTP. Its query may be a signature, so it must never be
/// shown.
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

/// True when the environment names a proxy for plain HTTP: only the full client supports that.
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
}
