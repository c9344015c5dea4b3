//! A resolver that returns public addresses only.
//!
//! The person who registers an endpoint must not reach what only the server can. So this resolver
//! resolves the names, and the connection goes to an address that it has checked: a name that
//! changes its address between a check and the connection gains nothing.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;

use outflow_net::is_public;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Looks up the addresses of a name.
pub(super) type HostLookup = Arc<dyn Fn(String) -> HostLookupFuture + Send + Sync>;

/// A lookup under way.
pub(super) type HostLookupFuture = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;

/// The lookup of the operating system.
pub(super) fn system_lookup() -> HostLookup {
    Arc::new(|name| {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    })
}

/// Resolves names to public addresses only, unless private ones are allowed.
pub(super) struct PublicResolver {
    pub(super) lookup: HostLookup,
    pub(super) allow_private: bool,
}

impl Resolve for PublicResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let lookup = (self.lookup)(name.as_str().to_owned());
        let allow_private = self.allow_private;
        Box::pin(async move {
            let found = lookup.await?;
            let exists = !found.is_empty();
            let allowed: Vec<SocketAddr> = found
                .into_iter()
                .filter(|address| allow_private || is_public(*address))
                .map(|address| SocketAddr::new(address, 0))
                .collect();
            if allowed.is_empty() && exists {
                return Err(PrivateTarget.into());
            }
            let addresses: Addrs = Box::new(allowed.into_iter());
            Ok(addresses)
        })
    }
}

/// All addresses of a host are in private networks.
#[derive(Debug, thiserror::Error)]
#[error(
    "rejected: the host is in a private network; allow private targets for this endpoint if that is intended"
)]
pub(super) struct PrivateTarget;

#[cfg(test)]
mod tests {
    use super::*;

    fn answering(addresses: &[&str]) -> HostLookup {
        let addresses: Vec<IpAddr> = addresses.iter().map(|address| address.parse().unwrap()).collect();
        Arc::new(move |_| {
            let addresses = addresses.clone();
            Box::pin(async move { Ok(addresses) })
        })
    }

    async fn resolve(addresses: &[&str], allow_private: bool) -> Result<Vec<String>, String> {
        let resolver = PublicResolver { lookup: answering(addresses), allow_private };
        let found = resolver.resolve("example.org".parse().unwrap()).await;
        found.map(|found| found.map(|one| one.ip().to_string()).collect()).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn names_yield_their_public_addresses_only() {
        assert_eq!(resolve(&["10.0.0.1", "8.8.8.8", "::1"], false).await.unwrap(), ["8.8.8.8"]);
        assert!(resolve(&["10.0.0.1", "::1"], false).await.unwrap_err().contains("private network"));
        assert_eq!(resolve(&["10.0.0.1", "::1"], true).await.unwrap(), ["10.0.0.1", "::1"]);
        assert!(resolve(&[], false).await.unwrap().is_empty());
    }
}
