//! What handshakes for one domain present: its certificate, or the authority's challenge.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::Timestamp;
use outflow_wire::rustls::sign::CertifiedKey;
use parking_lot::RwLock;

use super::cache::AcmeCache;
use crate::certificate::Certificate;

/// Seconds between two log lines that a domain has no certificate yet. Anybody can cause them with
/// handshakes.
///
/// Bound: logs. one a minute for each domain
const WARN_INTERVAL: i64 = 60;

/// A domain whose certificate the server obtains and renews.
#[derive(Default)]
pub(super) struct ManagedDomain {
    certificate: RwLock<Option<Arc<Certificate>>>,
    /// Set while the authority validates the domain.
    challenge: RwLock<Option<Arc<CertifiedKey>>>,
    /// When the log last said that there is no certificate, in seconds since 1970.
    warned: AtomicI64,
}

impl ManagedDomain {
    /// With the certificate that the cache has, if there is one.
    pub(super) fn load(name: &str, cache: &AcmeCache) -> ManagedDomain {
        let cached = cache.certificate(name).unwrap_or_else(|error| {
            tracing::warn!(domain = name, %error, "cannot read the stored certificate; requesting a new one");
            None
        });
        if let Some(certificate) = &cached {
            let until = certificate.not_after;
            if until <= Timestamp::now() {
                tracing::warn!(domain = name, %until, "the stored certificate has expired");
            } else {
                tracing::info!(domain = name, %until, "certificate loaded");
            }
        }
        ManagedDomain { certificate: RwLock::new(cached.map(Arc::new)), ..ManagedDomain::default() }
    }

    pub(super) fn certificate(&self) -> Option<Arc<Certificate>> {
        self.certificate.read().clone()
    }

    pub(super) fn has_certificate(&self) -> bool {
        self.certificate.read().is_some()
    }

    pub(super) fn set_certificate(&self, certificate: Certificate) {
        *self.certificate.write() = Some(Arc::new(certificate));
    }

    pub(super) fn challenge(&self) -> Option<Arc<CertifiedKey>> {
        self.challenge.read().clone()
    }

    pub(super) fn set_challenge(&self, challenge: Option<Arc<CertifiedKey>>) {
        *self.challenge.write() = challenge;
    }

    /// The key for a handshake. Logs when there is none.
    pub(super) fn key(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        let certificate = self.certificate();
        if certificate.is_none() {
            let now = Timestamp::now().as_second();
            let last = self.warned.load(Ordering::Relaxed);
            let is_due = now - last >= WARN_INTERVAL
                && self.warned.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok();
            if is_due {
                tracing::warn!(domain = name, "a handshake failed: there is no certificate yet");
            }
        }
        certificate.map(|certificate| Arc::clone(&certificate.key))
    }
}
