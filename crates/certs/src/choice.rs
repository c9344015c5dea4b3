//! Certificates from files and from an authority on the same listener.

use std::sync::Arc;

use outflow_wire::rustls;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::acme::Acme;
use crate::files::Files;

/// The authority's for its domains, files for all others.
#[derive(Debug)]
pub struct FilesAndAcme {
    /// For everybody who names none of the authority's domains.
    pub files: Arc<Files>,
    /// For its domains, and for whoever has them proven.
    pub acme: Arc<Acme>,
}

impl ResolvesServerCert for FilesAndAcme {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let is_acmes = hello.server_name().is_some_and(|host| self.acme.knows(host));
        if is_acmes { self.acme.resolve(hello) } else { self.files.resolve(hello) }
    }
}
