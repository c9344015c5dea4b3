//! A connection to the server: TCP, directly or through a proxy, in the clear or with TLS.

use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls_platform_verifier::Verifier;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::error::ConnectError;
use super::options::TunnelClientOptions;
use super::response;
use super::url::RequestUrl;
use crate::carry::TunnelStream;

/// A connection that carries a tunnel to the server.
#[derive(Debug)]
pub enum ClientLeg {
    /// In the clear.
    Plain(TcpStream),
    /// With TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

/// Connects to the server of a request.
pub(super) async fn connect(
    url: &RequestUrl,
    tls: Option<&Arc<ClientConfig>>,
    options: &TunnelClientOptions,
) -> Result<ClientLeg, ConnectError> {
    let stream = match options.proxies.proxy_for(url.https, &url.host, url.port)? {
        None => connect_tcp(&url.host, url.port, options.connect_timeout).await?,
        Some(proxy) => {
            let mut stream = connect_tcp(&proxy.host, proxy.port, options.connect_timeout).await?;
            let exchange = async {
                stream.write_all(proxy.request(&url.host, url.port).as_bytes()).await?;
                response::read(&mut stream).await
            };
            let at = format!("the proxy {proxy:?}");
            let response = tokio::time::timeout(options.response_timeout, exchange).await;
            let response = response
                .map_err(|_| ConnectError::Timeout(at.clone(), options.response_timeout))?
                .map_err(|error| ConnectError::Broken(at.clone(), error))?;
            if !response.status.is_success() {
                return Err(ConnectError::HttpProxy(at, response.refusal(&mut stream).await));
            }
            if !response.early.is_empty() {
                // Neither TLS nor HTTP begins with the server.
                return Err(ConnectError::Broken(at, io::ErrorKind::InvalidData.into()));
            }
            stream
        }
    };
    match tls.filter(|_| url.https) {
        None => Ok(ClientLeg::Plain(stream)),
        Some(config) => handshake(stream, url, config, options.connect_timeout).await,
    }
}

/// Tries each address that a name has, one after another.
async fn connect_tcp(host: &str, port: u16, timeout: Duration) -> Result<TcpStream, ConnectError> {
    let at = || if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let failed = |error| ConnectError::Unreachable(at(), error);
    let found = tokio::time::timeout(timeout, tokio::net::lookup_host((host, port))).await;
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in found.map_err(|_| failed(io::ErrorKind::TimedOut.into()))?.map_err(failed)? {
        match tokio::time::timeout(timeout, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Key presses have to leave at once; and only keep-alive tells a raw leg that its
                // peer is gone.
                let _ = stream.set_nodelay(true);
                let _ = rustix::net::sockopt::set_socket_keepalive(&stream, true);
                return Ok(stream);
            }
            Ok(Err(error)) => last = error,
            Err(_) => last = io::Error::new(io::ErrorKind::TimedOut, format!("no answer from {address}")),
        }
    }
    Err(failed(last))
}

async fn handshake(
    stream: TcpStream,
    url: &RequestUrl,
    config: &Arc<ClientConfig>,
    timeout: Duration,
) -> Result<ClientLeg, ConnectError> {
    let failed = |error| ConnectError::Tls(url.authority.clone(), error);
    let name = ServerName::try_from(url.host.clone())
        .map_err(|error| failed(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
    let connector = TlsConnector::from(Arc::clone(config));
    let connected = tokio::time::timeout(timeout, connector.connect(name, stream)).await;
    let connected = connected.map_err(|_| failed(io::ErrorKind::TimedOut.into()))?;
    Ok(ClientLeg::Tls(Box::new(connected.map_err(failed)?)))
}

/// TLS settings that trust the system's certificate authorities, and those in `cacerts`, which are
/// PEM files.
///
/// # Errors
/// A file cannot be read or has no certificate, or there is no authority at all.
pub fn tls_config(cacerts: &[PathBuf]) -> Result<Arc<ClientConfig>, ConnectError> {
    let mut extra = Vec::new();
    for path in cacerts {
        let bad = |why: String| ConnectError::Roots(format!("{}: {why}", path.display()));
        let before = extra.len();
        for certificate in CertificateDer::pem_file_iter(path).map_err(|error| bad(error.to_string()))? {
            extra.push(certificate.map_err(|error| bad(error.to_string()))?);
        }
        if extra.len() == before {
            return Err(bad("it has no certificate".to_owned()));
        }
    }
    let wrong = |error: rustls::Error| ConnectError::Roots(error.to_string());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Verifier::new_with_extra_roots(extra, Arc::clone(&provider)).map_err(wrong)?;
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(wrong)?
        // `dangerous` means only that the verifier is not rustls's own; the platform's checks as
        // much.
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    // Upgrades exist in HTTP/1.1 only.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

impl TunnelStream for ClientLeg {
    fn reset(&mut self) {
        match self {
            ClientLeg::Plain(stream) => stream.reset(),
            ClientLeg::Tls(stream) => stream.get_mut().0.reset(),
        }
    }
}

impl AsyncRead for ClientLeg {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            ClientLeg::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            ClientLeg::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for ClientLeg {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            ClientLeg::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            ClientLeg::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            ClientLeg::Plain(stream) => Pin::new(stream).poll_flush(cx),
            ClientLeg::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            ClientLeg::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            ClientLeg::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
