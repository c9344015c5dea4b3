//! A certificate authority of the test's own, and clients that trust it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::client::Resumption;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;

use crate::http::HttpClient;

/// An authority that certifies everything.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    root: CertificateDer<'static>,
    /// Where its files are.
    pub folder: TempDir,
}

impl Default for Authority {
    fn default() -> Authority {
        Authority::new()
    }
}

impl Authority {
    /// A new one, with its root in `root.pem`.
    #[must_use]
    pub fn new() -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "Outflow's tests");
        let root = params.self_signed(&key).unwrap();
        let folder = TempDir::new().unwrap();
        std::fs::write(folder.path().join("root.pem"), root.pem()).unwrap();
        let der = root.der().clone();
        Authority { issuer: Issuer::new(params, key), root: der, folder }
    }

    /// The file of its root.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.folder.path().join("root.pem")
    }

    /// A chain and a key in PEM, valid from `ago` days before now until `ahead` days after.
    #[must_use]
    pub fn issue(&self, names: &[&str], ago: u64, ahead: i64) -> (String, String) {
        let day = Duration::from_secs(86_400);
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        let now = SystemTime::now();
        let away = day * u32::try_from(ahead.unsigned_abs()).unwrap();
        params.not_before = (now - day * u32::try_from(ago).unwrap()).into();
        params.not_after = if ahead < 0 { now - away } else { now + away }.into();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    /// The files of a certificate and its key, called `name` in the authority's folder.
    #[must_use]
    pub fn files(&self, name: &str, hosts: &[&str]) -> (PathBuf, PathBuf) {
        let (chain, key) = self.issue(hosts, 1, 90);
        let (certificate, private) =
            (self.folder.path().join(format!("{name}.pem")), self.folder.path().join(format!("{name}.key")));
        replace(&certificate, &chain);
        replace(&private, &key);
        (certificate, private)
    }

    /// A client that trusts it.
    #[must_use]
    pub fn config(&self) -> Arc<ClientConfig> {
        trusting(&self.root)
    }
}

/// Replaces a file atomically, as programs that renew certificates do.
pub fn replace(path: &Path, text: impl AsRef<[u8]>) {
    let beside = path.with_extension("new");
    std::fs::write(&beside, text).unwrap();
    std::fs::rename(beside, path).unwrap();
}

/// A client that trusts this root.
#[must_use]
pub fn trusting(root: &CertificateDer<'static>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(root.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    // A resumed session would have the certificate of the first one.
    config.resumption = Resumption::disabled();
    Arc::new(config)
}

/// The certificate that a new connection is presented.
#[track_caller]
pub fn presented(addr: SocketAddr, host: &str, config: &Arc<ClientConfig>) -> CertificateDer<'static> {
    HttpClient::connect_secure(addr, host, config).unwrap().certificate()
}
