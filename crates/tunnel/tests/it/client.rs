//! The client against servers that answer as a test wants: what it asks, what it makes of the
//! answer.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use outflow_tunnel::carry::{JoinedStream, TunnelEnd};
use outflow_tunnel::client::{
    ClientTunnel, ConnectError, ProxyEnvironment, RemoteTarget, TunnelClient, TunnelClientOptions,
    UpgradeProtocol, tls_config,
};
use outflow_wire::websocket::accept_key;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// Without the proxies of the test's environment.
fn options(via: UpgradeProtocol) -> TunnelClientOptions {
    TunnelClientOptions { protocol: via, proxies: ProxyEnvironment::none(), ..TunnelClientOptions::default() }
}

fn client(address: &str, options: TunnelClientOptions) -> TunnelClient {
    TunnelClient::new(address.parse().unwrap(), options).unwrap()
}

fn target() -> RemoteTarget {
    RemoteTarget::new("db.local", 5432).unwrap()
}

/// The head of a request, without the empty line.
async fn head(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(bytes).unwrap()
}

/// The value of a field.
fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

/// A server that responds to one request with what `answer` makes of its head, and then echoes.
async fn server(
    answer: impl FnOnce(&str) -> Vec<u8> + Send + 'static,
) -> (SocketAddr, JoinHandle<(String, TcpStream)>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let head = head(&mut stream).await;
        stream.write_all(&answer(&head)).await.unwrap();
        (head, stream)
    });
    (address, task)
}

async fn refused(answer: &'static [u8]) -> String {
    let (address, served) = server(move |_| answer.to_vec()).await;
    let client = client(&format!("http://{address}"), options(UpgradeProtocol::ConnectTcp));
    let error = client.open(Some(&target())).await.err().unwrap().to_string();
    drop(served);
    error.replace(&address.to_string(), "server")
}

/// Runs a tunnel with `says` as input; returns the output, and how the tunnel ended.
async fn talk(tunnel: ClientTunnel, says: &[u8]) -> (Vec<u8>, TunnelEnd) {
    let (mine, mut heard) = tokio::io::duplex(1 << 16);
    let carried = tunnel.carry(JoinedStream::new(std::io::Cursor::new(says.to_vec()), mine));
    let mut got = Vec::new();
    let ((_, end), read) = tokio::join!(carried, heard.read_to_end(&mut got));
    read.unwrap();
    (got, end)
}

#[tokio::test]
async fn connect_tcp_is_asked_for_as_the_draft_says_and_carries_what_came_early() {
    let (address, served) = server(|_| {
        // The first bytes of the target, and its end, arrive with the head.
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: connect-tcp\r\n\
          Capsule-Protocol: ?1\r\n\r\n\xa0\x28\xd7\xf2\x05SSH-2\xa0\x28\xd7\xf3\x02.0"
            .to_vec()
    })
    .await;
    let token = Some("t0ken".to_owned());
    let client = client(
        &format!("http://{address}/"),
        TunnelClientOptions { token, ..options(UpgradeProtocol::ConnectTcp) },
    );
    let tunnel = client.open(Some(&target())).await.unwrap();
    assert!(!tunnel.is_resumable());
    let (head, mut stream) = served.await.unwrap();
    assert_eq!(
        head,
        format!(
            "GET /.well-known/masque/tcp/db.local/5432/ HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\n\
             Upgrade: connect-tcp\r\nCapsule-Protocol: ?1\r\nUser-Agent: outflow/{}\r\n\
             Authorization: Bearer t0ken\r\noutflow-resume: new\r\n\r\n",
            env!("CARGO_PKG_VERSION")
        )
    );
    let heard = tokio::spawn(async move {
        let mut got = Vec::new();
        stream.read_to_end(&mut got).await.unwrap();
        got
    });
    let (got, end) = talk(tunnel, b"hi").await;
    assert_eq!(got, b"SSH-2.0");
    assert!(matches!(end, TunnelEnd::Complete), "{end}");
    assert_eq!(heard.await.unwrap(), b"\xa0\x28\xd7\xf2\x02hi\xa0\x28\xd7\xf3\x00");
}

#[tokio::test]
async fn websocket_is_for_proxies_that_know_nothing_else() {
    let (address, served) = server(|head| {
        let key = accept_key(field(head, "Sec-WebSocket-Key").unwrap().as_bytes());
        let head = format!(
            "HTTP/1.1 101 Switching Protocols\r\nconnection: keep-alive, upgrade\r\nupgrade: WebSocket\r\n\
             Sec-WebSocket-Accept: {key}\r\n\r\n"
        );
        [head.as_bytes(), b"\x82\x02hi\x88\x02\x03\xe8"].concat()
    })
    .await;
    // Without a token, the user and password are sent.
    let client = client(&format!("http://anna:pass@{address}"), options(UpgradeProtocol::WebSocket));
    let tunnel = client.open(Some(&target())).await.unwrap();
    let (head, stream) = served.await.unwrap();
    assert_eq!(field(&head, "Upgrade"), Some("websocket"));
    assert_eq!(field(&head, "Sec-WebSocket-Version"), Some("13"));
    assert_eq!(field(&head, "Authorization"), Some("Basic YW5uYTpwYXNz"));
    assert_eq!(field(&head, "outflow-resume"), None);
    let closed = tokio::spawn(async move {
        let mut stream = stream;
        let mut got = Vec::new();
        stream.read_to_end(&mut got).await.unwrap();
        got
    });
    let (got, end) = talk(tunnel, b"").await;
    assert_eq!(got, b"hi");
    assert!(matches!(end, TunnelEnd::Complete), "{end}");
    assert_eq!(closed.await.unwrap()[..2], [0x88, 0x82], "a masked Close");
}

#[tokio::test]
async fn a_purr_server_is_asked_as_its_own_client_would() {
    let (address, served) = server(|_| {
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: purr\r\nPurr-Version: 0.1.2\r\n\
          Purr-Request: MEOW\r\nConnection: Upgrade\r\n\r\nRFB 003.008\n"
            .to_vec()
    })
    .await;
    let client = client(&format!("http://{address}/vnc/7"), options(UpgradeProtocol::Purr));
    assert!(client.is_bound());
    let tunnel = client.open(None).await.unwrap();
    let (head, mut stream) = served.await.unwrap();
    assert!(head.starts_with("GET /vnc/7 HTTP/1.1\r\n"), "{head}");
    for (name, value) in [
        ("Upgrade", "purr"),
        ("Connection", "Upgrade"),
        ("Purr-Request", "MEOW"),
        ("Purr-Version", "0.1.2"),
        ("User-Agent", "Purr Client 0.1.2"),
    ] {
        assert_eq!(field(&head, name), Some(value));
    }
    let served = tokio::spawn(async move {
        let mut got = Vec::new();
        stream.read_to_end(&mut got).await.unwrap();
        got
    });
    let (got, end) = talk(tunnel, b"RFB 003.008\n").await;
    assert_eq!(got, b"RFB 003.008\n");
    assert!(matches!(end, TunnelEnd::Complete), "{end}");
    assert_eq!(served.await.unwrap(), b"RFB 003.008\n");
}

#[tokio::test]
async fn what_is_not_agreed_on_is_no_tunnel() {
    let answers: [(UpgradeProtocol, &[u8]); 4] = [
        (UpgradeProtocol::ConnectTcp, b"Connection: Upgrade\r\nUpgrade: websocket\r\n"),
        (UpgradeProtocol::ConnectTcp, b"Upgrade: connect-tcp\r\n"),
        (
            UpgradeProtocol::WebSocket,
            b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n",
        ),
        (UpgradeProtocol::Purr, b"Connection: Upgrade\r\nUpgrade: purr\r\n"),
    ];
    for (via, fields) in answers {
        let answer = [b"HTTP/1.1 101 Switching Protocols\r\n", fields, b"\r\n"].concat();
        let (address, _served) = server(move |_| answer).await;
        let client = client(&format!("http://{address}"), options(via));
        let error = client.open(Some(&target())).await.err().unwrap();
        assert!(matches!(error, ConnectError::WrongProtocol(_)), "{error}");
    }
}

#[tokio::test]
async fn a_refusal_says_what_to_do() {
    let body = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 30\r\nProxy-Status: outflow; error=http_request_denied\r\n\r\n\
        403 Forbidden: not this port\n\n";
    assert_eq!(
        refused(body).await,
        "server refused the tunnel: 403 Forbidden: not this port (Proxy-Status: outflow; \
         error=http_request_denied); the operator of the server has to allow this target"
    );
    let pieces = b"HTTP/1.1 502 Bad Gateway\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nnot there\r\n0\r\n\r\n";
    assert!(
        refused(pieces).await.starts_with("server refused the tunnel: 502 Bad Gateway: not there; either")
    );
    let page = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>";
    assert!(refused(page).await.contains("try --via websocket"));
    assert!(
        refused(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n").await.contains("--token-file")
    );
    assert!(refused(b"SSH-2.0-OpenSSH_9.2\r\n").await.contains("did not respond as a tunnel server does"));
}

#[tokio::test]
async fn who_does_not_listen_cannot_be_reached() {
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let client = client(&format!("http://{address}"), options(UpgradeProtocol::ConnectTcp));
    let error = client.open(Some(&target())).await.err().unwrap();
    assert!(matches!(error, ConnectError::Unreachable(..)) && error.is_temporary(), "{error}");
}

#[tokio::test]
async fn who_does_not_answer_is_not_waited_for_for_ever() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let options = TunnelClientOptions {
        response_timeout: std::time::Duration::from_millis(50),
        ..options(UpgradeProtocol::ConnectTcp)
    };
    let error = client(&format!("http://{address}"), options).open(Some(&target())).await.err().unwrap();
    assert!(matches!(error, ConnectError::Timeout(..)), "{error}");
}

#[tokio::test]
async fn a_token_cannot_smuggle_fields() {
    let (address, _served) = server(|_| Vec::new()).await;
    let token = Some("a\r\nHost: b".to_owned());
    let client = client(
        &format!("http://{address}"),
        TunnelClientOptions { token, ..options(UpgradeProtocol::ConnectTcp) },
    );
    assert!(matches!(client.open(Some(&target())).await.err(), Some(ConnectError::Token)));
}

#[tokio::test]
async fn a_proxy_is_asked_to_connect_and_then_passed_by() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = listener.local_addr().unwrap();
    let (address, served) = server(|_| b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec()).await;
    let proxied = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let head = head(&mut stream).await;
        let mut onwards = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 Connection established\r\nProxy-agent: x\r\n\r\n").await.unwrap();
        let _ = tokio::io::copy_bidirectional(&mut stream, &mut onwards).await;
        head
    });
    let proxies = ProxyEnvironment::from_variables(|name| {
        (name == "http_proxy").then(|| format!("http://u:p@{proxy}"))
    });
    let through = client(
        &format!("http://{address}"),
        TunnelClientOptions { proxies, ..options(UpgradeProtocol::ConnectTcp) },
    );
    let error = through.open(Some(&target())).await.err().unwrap().to_string();
    assert!(error.contains("404"), "{error}");
    let (head, stream) = served.await.unwrap();
    drop(stream);
    assert!(head.contains("GET /.well-known/masque/"), "{head}");
    let asked = proxied.await.unwrap();
    assert_eq!(
        asked,
        format!("CONNECT {address} HTTP/1.1\r\nHost: {address}\r\nProxy-Authorization: Basic dTpw\r\n\r\n")
    );

    let (proxy, _served) =
        server(|_| b"HTTP/1.1 403 no\r\nContent-Length: 8\r\n\r\nnot you\n".to_vec()).await;
    let proxies = ProxyEnvironment::from_variables(|name| (name == "ALL_PROXY").then(|| proxy.to_string()));
    let through = client("http://h", TunnelClientOptions { proxies, ..options(UpgradeProtocol::ConnectTcp) });
    let error = through.open(Some(&target())).await.err().unwrap().to_string();
    assert!(error.starts_with("the proxy ") && error.contains("403 Forbidden: not you"), "{error}");
}

/// A certificate for `localhost`, as a file, and a server that uses it.
fn certificate(folder: &std::path::Path) -> (PathBuf, TlsAcceptor) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let path = folder.join("authority.pem");
    std::fs::File::create(&path).unwrap().write_all(made.cert.pem().as_bytes()).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    (path, TlsAcceptor::from(Arc::new(config)))
}

async fn over_tls<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) {
    let _ = head(&mut stream).await;
    let answer =
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: connect-tcp-12\r\n\r\n\
        \xa0\x28\xd7\xf3\x06secret";
    stream.write_all(answer).await.unwrap();
    let _ = stream.read_to_end(&mut Vec::new()).await;
    let _ = stream.shutdown().await;
}

#[tokio::test]
async fn a_certificate_is_checked_and_an_authority_can_be_given() {
    let folder = tempfile::tempdir().unwrap();
    let (path, acceptor) = certificate(folder.path());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    over_tls(stream).await;
                }
            });
        }
    });
    let address = format!("https://localhost:{port}");
    let trusting = TunnelClientOptions {
        tls: Some(tls_config(&[path]).unwrap()),
        ..options(UpgradeProtocol::ConnectTcp)
    };
    let tunnel = client(&address, trusting.clone()).open(Some(&target())).await.unwrap();
    let (got, end) = talk(tunnel, b"").await;
    assert_eq!(got, b"secret");
    assert!(matches!(end, TunnelEnd::Complete), "{end}");

    // A name that the certificate does not have, and an authority that is not trusted.
    let error =
        client(&format!("https://127.0.0.1:{port}"), trusting).open(Some(&target())).await.err().unwrap();
    assert!(matches!(error, ConnectError::Tls(..)) && !error.is_temporary(), "{error}");
    let (other, _) = certificate(tempfile::tempdir().unwrap().path());
    assert!(tls_config(&[other]).is_err(), "it is gone");
    let folder = tempfile::tempdir().unwrap();
    let (other, _) = certificate(folder.path());
    let doubting = TunnelClientOptions {
        tls: Some(tls_config(&[other]).unwrap()),
        ..options(UpgradeProtocol::ConnectTcp)
    };
    let error = client(&address, doubting).open(Some(&target())).await.err().unwrap();
    assert!(matches!(error, ConnectError::Tls(..)) && !error.is_temporary(), "{error}");
}
