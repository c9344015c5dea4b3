//! A certificate that no one else has, and clients that trust it.

use std::sync::Arc;

use outflow_wire::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use outflow_wire::rustls::server::{ClientHello, ResolvesServerCert};
use outflow_wire::rustls::sign::CertifiedKey;
use outflow_wire::rustls::{self, ClientConfig, RootCertStore};
use outflow_wire::{Tls, TlsOptions};

/// A certificate for `localhost`, signed by itself.
#[derive(Debug)]
pub(crate) struct Identity(Arc<CertifiedKey>);

impl Identity {
    pub(crate) fn new() -> Identity {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let key = rustls::crypto::ring::sign::any_supported_type(&key).expect("a key");
        Identity(Arc::new(CertifiedKey::new(vec![made.cert.der().clone()], key)))
    }

    /// The server's side.
    pub(crate) fn tls(&self, options: &TlsOptions) -> Arc<Tls> {
        let same = Arc::new(Identity(Arc::clone(&self.0)));
        Arc::new(Tls::new(same, options).expect("TLS"))
    }

    /// The client's side, of these versions, that asks for these protocols.
    pub(crate) fn client(
        &self,
        versions: &[&'static rustls::SupportedProtocolVersion],
        protocols: &[&[u8]],
    ) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.cert[0].clone()).expect("a root");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions);
        let mut config = builder.expect("versions").with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        Arc::new(config)
    }
}

impl ResolvesServerCert for Identity {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}
