//! A connection to the server: TCP, maybe by way of a proxy, maybe with TLS.

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

use super::error::Error;
use super::options::Options;
use super::response;
use super::url::Place;
use crate::carry::Side;

/// What carries a tunnel to the server.
#[derive(Debug)]
pub enum Leg {
    /// In the clear.
    Plain(TcpStream),
    /// Within TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

/// Connects to where a tunnel is to be asked for.
pub(super) async fn connect(
    place: &Place,
    tls: Option<&Arc<ClientConfig>>,
    options: &Options,
) -> Result<Leg, Error> {
    let stream = match options.proxies.of(place.https, &place.host, place.port)? {
        None => connect_tcp(&place.host, place.port, options.connect_timeout).await?,
        Some(proxy) => {
            let mut stream = connect_tcp(&proxy.host, proxy.port, options.connect_timeout).await?;
            let asked = async {
                stream.write_all(proxy.request(&place.host, place.port).as_bytes()).await?;
                response::read(&mut stream).await
            };
            let at = format!("the proxy {proxy:?}");
            let asked = tokio::time::timeout(options.answer_timeout, asked).await;
            let answer = asked
                .map_err(|_| Error::Silent(at.clone(), options.answer_timeout))?
                .map_err(|error| Error::Broken(at.clone(), error))?;
            if !answer.status.is_success() {
                return Err(Error::Proxy(at, answer.refusal(&mut stream).await));
            }
            if !answer.early.is_empty() {
                // TLS and HTTP both begin with the client.
                return Err(Error::Broken(at, io::ErrorKind::InvalidData.into()));
            }
            stream
        }
    };
    match tls.filter(|_| place.https) {
        None => Ok(Leg::Plain(stream)),
        Some(config) => shake_hands(stream, place, config, options.connect_timeout).await,
    }
}

/// Tries each address that a name has, one after another.
async fn connect_tcp(host: &str, port: u16, timeout: Duration) -> Result<TcpStream, Error> {
    let at = || if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let failed = |error| Error::Unreachable(at(), error);
    let found = tokio::time::timeout(timeout, tokio::net::lookup_host((host, port))).await;
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in found.map_err(|_| failed(io::ErrorKind::TimedOut.into()))?.map_err(failed)? {
        match tokio::time::timeout(timeout, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // What people type is to leave at once; and a raw leg has no other way to notice that nobody is there.
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

async fn shake_hands(
    stream: TcpStream,
    place: &Place,
    config: &Arc<ClientConfig>,
    timeout: Duration,
) -> Result<Leg, Error> {
    let failed = |error| Error::Tls(place.authority.clone(), error);
    let name = ServerName::try_from(place.host.clone())
        .map_err(|error| failed(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
    let connector = TlsConnector::from(Arc::clone(config));
    let shaken = tokio::time::timeout(timeout, connector.connect(name, stream)).await;
    let shaken = shaken.map_err(|_| failed(io::ErrorKind::TimedOut.into()))?;
    Ok(Leg::Tls(Box::new(shaken.map_err(failed)?)))
}

/// What servers' certificates are checked with: the system's authorities, and those in the PEM files.
///
/// # Errors
/// A file that cannot be read or has no certificate, or a system that has none when none is given.
pub fn roots(more: &[PathBuf]) -> Result<Arc<ClientConfig>, Error> {
    let mut given = Vec::new();
    for path in more {
        let bad = |why: String| Error::Roots(format!("{}: {why}", path.display()));
        let before = given.len();
        for certificate in CertificateDer::pem_file_iter(path).map_err(|error| bad(error.to_string()))? {
            given.push(certificate.map_err(|error| bad(error.to_string()))?);
        }
        if given.len() == before {
            return Err(bad("there is no certificate in it".to_owned()));
        }
    }
    let wrong = |error: rustls::Error| Error::Roots(error.to_string());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Verifier::new_with_extra_roots(given, Arc::clone(&provider)).map_err(wrong)?;
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(wrong)?
        // Not what it sounds like: it is this crate's, not rustls's own, and checks as much.
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    // An upgrade is a matter of HTTP/1.1.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

impl Side for Leg {
    fn reset(&mut self) {
        match self {
            Leg::Plain(stream) => stream.reset(),
            Leg::Tls(stream) => stream.get_mut().0.reset(),
        }
    }
}

impl AsyncRead for Leg {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Leg::Plain(stream) => Pin::new(stream).poll_read(cx, room),
            Leg::Tls(stream) => Pin::new(stream).poll_read(cx, room),
        }
    }
}

impl AsyncWrite for Leg {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Leg::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Leg::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Leg::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Leg::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Leg::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Leg::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
