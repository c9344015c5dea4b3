//! Certificates for tests, and a client that looks at them.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::client::Resumption;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tempfile::TempDir;

use super::PATIENCE;

/// An authority that believes everything.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    root: CertificateDer<'static>,
    pub(crate) folder: TempDir,
}

impl Authority {
    pub(crate) fn new() -> Authority {
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

    pub(crate) fn root(&self) -> PathBuf {
        self.folder.path().join("root.pem")
    }

    /// A chain and a key, in PEM, good from so many days ago until in so many days.
    pub(crate) fn issue(&self, names: &[&str], ago: u64, ahead: i64) -> (String, String) {
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

    /// The files of a certificate and its key, under this name in the authority's folder.
    pub(crate) fn files(&self, name: &str, hosts: &[&str]) -> (PathBuf, PathBuf) {
        let (chain, key) = self.issue(hosts, 1, 90);
        let (certificate, private) =
            (self.folder.path().join(format!("{name}.pem")), self.folder.path().join(format!("{name}.key")));
        replace(&certificate, &chain);
        replace(&private, &key);
        (certificate, private)
    }

    pub(crate) fn config(&self) -> Arc<ClientConfig> {
        trusting(&self.root)
    }
}

/// As programs that renew certificates do.
pub(crate) fn replace(path: &Path, text: impl AsRef<[u8]>) {
    let beside = path.with_extension("new");
    std::fs::write(&beside, text).unwrap();
    std::fs::rename(beside, path).unwrap();
}

pub(crate) fn trusting(root: &CertificateDer<'static>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(root.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    // A resumed session has the certificate of the first one: nothing new could be seen.
    config.resumption = Resumption::disabled();
    Arc::new(config)
}

/// One connection with TLS, on which HTTP/1.1 is spoken.
pub(crate) struct TlsClient(StreamOwned<ClientConnection, TcpStream>);

impl TlsClient {
    /// Makes the handshake with whoever is at `addr`, who has to be `host`.
    pub(crate) fn connect(addr: SocketAddr, host: &str, config: &Arc<ClientConfig>) -> io::Result<TlsClient> {
        let mut stream = TcpStream::connect(addr)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let name = ServerName::try_from(host.to_owned()).unwrap();
        let mut session = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
        while session.is_handshaking() {
            session.complete_io(&mut stream)?;
        }
        Ok(TlsClient(StreamOwned::new(session, stream)))
    }

    /// The certificate that the server has shown.
    pub(crate) fn certificate(&self) -> CertificateDer<'static> {
        self.0.conn.peer_certificates().unwrap()[0].clone().into_owned()
    }

    /// The protocol that the server chose (ALPN).
    pub(crate) fn protocol(&self) -> Option<String> {
        self.0.conn.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned())
    }

    /// Asks for something; the connection stays open.
    pub(crate) fn ask(&mut self, path: &str) -> io::Result<()> {
        self.0.write_all(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n").as_bytes())
    }

    /// The next so many bytes.
    pub(crate) fn take(&mut self, len: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        self.0.read_exact(&mut bytes).map(|()| bytes)
    }

    /// A head in lower case, up to the empty line.
    pub(crate) fn head(&mut self) -> io::Result<String> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.take(1)?[0]);
        }
        Ok(String::from_utf8(head).unwrap().to_ascii_lowercase())
    }
}

/// The certificate that a new connection is shown.
#[track_caller]
pub(crate) fn shown(addr: SocketAddr, host: &str, config: &Arc<ClientConfig>) -> CertificateDer<'static> {
    TlsClient::connect(addr, host, config).unwrap().certificate()
}
