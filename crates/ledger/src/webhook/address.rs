//! A resolver that knows public addresses only.
//!
//! An endpoint's address is often chosen by somebody who may not reach what the server can. So a name is resolved here,
//! and the connection goes to an address that was looked at: a name that changes its mind between a check and the
//! connection gains nothing.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;

use outflow_net::is_public;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Finds a name's addresses.
pub(super) type Lookup = Arc<dyn Fn(String) -> Looking + Send + Sync>;

/// Addresses that are being found.
pub(super) type Looking = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;

/// Asks the system.
pub(super) fn system() -> Lookup {
    Arc::new(|name| {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    })
}

/// Resolves names to public addresses only, unless told otherwise.
pub(super) struct Resolver {
    pub(super) lookup: Lookup,
    pub(super) allow_private: bool,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let looking = (self.lookup)(name.as_str().to_owned());
        let allow_private = self.allow_private;
        Box::pin(async move {
            let found = looking.await?;
            let any = !found.is_empty();
            let may: Vec<SocketAddr> = found
                .into_iter()
                .filter(|address| allow_private || is_public(*address))
                .map(|address| SocketAddr::new(address, 0))
                .collect();
            if may.is_empty() && any {
                return Err(Private.into());
            }
            let addresses: Addrs = Box::new(may.into_iter());
            Ok(addresses)
        })
    }
}

/// All addresses of a host lie in private networks.
#[derive(Debug, thiserror::Error)]
#[error(
    "refused: the host is in a private network; allow private targets for this endpoint if that is meant"
)]
pub(super) struct Private;

#[cfg(test)]
mod tests {
    use super::*;

    fn answering(addresses: &[&str]) -> Lookup {
        let addresses: Vec<IpAddr> = addresses.iter().map(|address| address.parse().unwrap()).collect();
        Arc::new(move |_| {
            let addresses = addresses.clone();
            Box::pin(async move { Ok(addresses) })
        })
    }

    async fn resolve(addresses: &[&str], allow_private: bool) -> Result<Vec<String>, String> {
        let resolver = Resolver { lookup: answering(addresses), allow_private };
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
