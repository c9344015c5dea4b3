//! Certificates from files and from an ACME authority on the same listener.

use std::sync::Arc;

use outflow_wire::rustls;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::acme::Acme;
use crate::files::CertificateFiles;

/// Certificates of the authority for its domains, from files for all other names.
#[derive(Debug)]
pub struct FilesAndAcme {
    /// For clients that name none of the authority's domains, or no name at all.
    pub files: Arc<CertificateFiles>,
    /// For its domains, and for the authority's own validation handshakes.
    pub acme: Arc<Acme>,
}

impl ResolvesServerCert for FilesAndAcme {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let is_acme_domain = hello.server_name().is_some_and(|host| self.acme.manages(host));
        if is_acme_domain { self.acme.resolve(hello) } else { self.files.resolve(hello) }
    }
}
