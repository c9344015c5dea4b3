//! Certificates issued by an ACME authority (RFC 8555) and renewed before they expire.
//!
//! ```text
//! options    domains, contacts and authority, checked
//! renewal    obtains and renews the certificates of all domains, with one account
//!   order      one order: validation, key, certificate
//!   schedule   when to renew, and when to retry after a failure
//!   domain     what handshakes for one domain present
//! cache      the account and the certificates on disk
//! client     HTTPS to the authority
//! ```
//!
//! Each domain has a certificate of its own, so that a domain that fails validation does not affect
//! the others. That is why this builds on `instant-acme` and not on `rustls-acme`, which orders one
//! certificate for all names, retries a refusal after one second and does not honour `Retry-After`.
//! Orders run on one thread with a runtime of its own; handshakes only read the result.

mod cache;
mod client;
mod domain;
mod options;
mod order;
mod renewal;
mod schedule;

use std::sync::Arc;

use outflow_wire::{ACME_TLS, rustls};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::sync::{Mutex, Semaphore, oneshot};

use cache::AcmeCache;
use client::AcmeClient;
use domain::ManagedDomain;
pub use options::{AcmeError, AcmeOptions, LETS_ENCRYPT};
use renewal::{MAX_ORDERS, Renewals, keep_renewed};

/// Certificates from an authority, renewed until this is dropped.
pub struct Acme {
    renewals: Arc<Renewals>,
    /// Dropping it ends the thread.
    _stop: oneshot::Sender<()>,
}

impl Acme {
    /// Loads the stored certificates, and requests the missing ones on a thread of its own, which
    /// runs until this is dropped. Returns without waiting for the authority.
    ///
    /// # Errors
    /// When an option is invalid, or the folder cannot be used. Errors of the authority are logged.
    pub fn start(options: AcmeOptions) -> Result<Arc<Acme>, AcmeError> {
        let options = options.checked()?;
        let client = AcmeClient::new(options.root.as_deref())?;
        let cache = AcmeCache::open(&options.cache, &options.directory);
        let cache = cache.map_err(|error| AcmeError::Cache { folder: options.cache, error })?;
        let domains = options.domains.into_iter().map(|name| {
            let domain = ManagedDomain::load(&name, &cache);
            (name, domain)
        });
        let renewals = Arc::new(Renewals {
            domains: domains.collect(),
            contacts: options.contacts,
            directory: options.directory,
            cache,
            client,
            account: Mutex::default(),
            orders: Semaphore::new(MAX_ORDERS),
        });
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(AcmeError::Thread)?;
        let (stop, stopped) = oneshot::channel();
        let all = Arc::clone(&renewals);
        let work = move || {
            runtime.block_on(async {
                for name in all.domains.keys() {
                    tokio::spawn(keep_renewed(Arc::clone(&all), name.clone()));
                }
                let _ = stopped.await;
            });
            runtime.shutdown_background();
        };
        std::thread::Builder::new().name("acme".to_owned()).spawn(work).map_err(AcmeError::Thread)?;
        Ok(Arc::new(Acme { renewals, _stop: stop }))
    }

    /// Whether `host` is one of the domains.
    pub(crate) fn manages(&self, host: &str) -> bool {
        self.renewals.domains.contains_key(host)
    }

    fn challenge(&self, host: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let challenge = self.renewals.domains.get(host?)?.challenge();
        if challenge.is_none() {
            tracing::debug!(host, "a validation handshake came, but no validation is under way");
        }
        challenge
    }
}

impl ResolvesServerCert for Acme {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        if is_validation(&hello) {
            return self.challenge(hello.server_name());
        }
        let domains = &self.renewals.domains;
        let named = hello.server_name().and_then(|host| domains.get_key_value(host));
        // Without a name, or with an unknown one: any domain that has a certificate.
        let (name, domain) = named
            .or_else(|| domains.iter().find(|(_, domain)| domain.has_certificate()))
            .or(domains.iter().next())?;
        domain.key(name)
    }
}

impl std::fmt::Debug for Acme {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Acme").field("domains", &self.renewals.domains.keys()).finish_non_exhaustive()
    }
}

/// Whether this is the authority's validation handshake, which offers `acme-tls/1` alone (RFC 8737,
/// section 3).
fn is_validation(hello: &ClientHello<'_>) -> bool {
    hello.alpn().is_some_and(|offered| offered.eq([ACME_TLS]))
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn options(folder: &TempDir) -> AcmeOptions {
        AcmeOptions {
            domains: vec!["a.test".to_owned()],
            contacts: vec!["anna@a.test".to_owned()],
            directory: "https://127.0.0.1:1/directory".to_owned(),
            cache: folder.path().join("acme"),
            root: None,
        }
    }

    #[test]
    fn what_makes_no_sense_is_said_at_once() {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "no certificate").unwrap();
        type Change = Box<dyn Fn(&mut AcmeOptions)>;
        let wrong: [(Change, &str); 8] = [
            (Box::new(|o| o.domains = vec!["*.a.test".to_owned()]), "wildcards"),
            (Box::new(|o| o.domains = (0..101).map(|n| format!("n{n}.test")).collect()), "too many"),
            (Box::new(|o| o.contacts = vec!["anna".to_owned()]), "mail address"),
            (Box::new(|o| o.directory = "http://127.0.0.1/".to_owned()), "https://"),
            (Box::new(|o| o.directory = "https://a b/".to_owned()), "https://"),
            (
                Box::new({
                    let file = file.clone();
                    move |o| o.cache = file.join("x")
                }),
                "another folder",
            ),
            (
                Box::new({
                    let file = file.clone();
                    move |o| o.root = Some(file.clone())
                }),
                "PEM file",
            ),
            (
                Box::new({
                    let none = folder.path().join("none");
                    move |o| o.root = Some(none.clone())
                }),
                "none",
            ),
        ];
        for (change, part) in wrong {
            let mut options = options(&folder);
            change(&mut options);
            let error = Acme::start(options).unwrap_err().to_string();
            assert!(error.contains(part), "{error}: no {part}");
        }
    }
}
