//! The same on streams of HTTP/2: extended CONNECT (RFC 8441), and CONNECT as it always was.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use bytes::Bytes;
use h2::ext::Protocol as Extension;
use http::{Method, Request};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::support::{LegProtocol, Running, TOKEN, TestLeg, TestTarget, assert_same, noise};
use outflow_testkit::tunnel::patient;

const LARGE: usize = 5_000_000;

/// The protocols over HTTP/2.
const ALL: [LegProtocol; 3] = [LegProtocol::Capsules, LegProtocol::WebSocket, LegProtocol::Connect];

fn request(protocol: LegProtocol, target: SocketAddr, token: &str) -> Request<()> {
    let path = format!("http://test/.well-known/masque/tcp/{}/{}/", target.ip(), target.port());
    let mut request =
        Request::builder().method(Method::CONNECT).header("authorization", format!("Bearer {token}"));
    request = match protocol {
        LegProtocol::Connect => return request.uri(target.to_string()).body(()).unwrap(),
        LegProtocol::Capsules => {
            request.header("capsule-protocol", "?1").extension(Extension::from_static("connect-tcp"))
        }
        LegProtocol::WebSocket => {
            request.header("sec-websocket-version", "13").extension(Extension::from_static("websocket"))
        }
        LegProtocol::Purr => panic!("purr is an upgrade"),
    };
    request.uri(path).body(()).unwrap()
}

/// A tunnel's leg on an HTTP/2 stream, as a socket. The status if the request is refused.
fn leg(server: &Running, protocol: LegProtocol, target: SocketAddr, token: &str) -> Result<TestLeg, u16> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let near = patient(TcpStream::connect(listener.local_addr().unwrap()).unwrap());
    let (socket, _) = listener.accept().unwrap();
    socket.set_nonblocking(true).unwrap();
    let (addr, request) = (server.addr, request(protocol, target, token));
    let (said, status) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(bridge(addr, request, socket, said));
    });
    match status.recv().unwrap() {
        200 => Ok(TestLeg::over(near, protocol)),
        refused => Err(refused),
    }
}

async fn bridge(
    addr: SocketAddr,
    request: Request<()>,
    socket: TcpStream,
    said: std::sync::mpsc::Sender<u16>,
) {
    let mut socket = tokio::net::TcpStream::from_std(socket).unwrap();
    let stream = tokio::net::TcpStream::connect(addr).await.unwrap();
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    let driver = tokio::spawn(async move { drop(connection.await) });
    let mut sender = sender.ready().await.unwrap();
    // A client may send extended CONNECTs only after the server's setting.
    while !sender.is_extended_connect_protocol_enabled() {
        tokio::task::yield_now().await;
    }
    let (response, mut send) = sender.send_request(request, false).unwrap();
    let response = response.await.unwrap();
    let status = response.status().as_u16();
    let mut body = response.into_body();
    said.send(status).unwrap();
    if status != 200 {
        return;
    }
    let whole = {
        let (mut read, mut write) = socket.split();
        let up = async {
            let mut piece = vec![0; 50_000];
            loop {
                let n = read.read(&mut piece).await.unwrap_or(0);
                let mut bytes = Bytes::copy_from_slice(&piece[..n]);
                while !bytes.is_empty() {
                    send.reserve_capacity(bytes.len());
                    let room = std::future::poll_fn(|cx| send.poll_capacity(cx)).await;
                    let Some(Ok(room)) = room else { return };
                    if send.send_data(bytes.split_to(room.min(bytes.len())), false).is_err() {
                        return;
                    }
                }
                if n == 0 {
                    let _ = send.send_data(Bytes::new(), true);
                    return;
                }
            }
        };
        let down = async {
            while let Some(data) = body.data().await {
                let Ok(data) = data else { return false };
                let _ = body.flow_control().release_capacity(data.len());
                if write.write_all(&data).await.is_err() {
                    return false;
                }
            }
            let _ = write.shutdown().await;
            true
        };
        let (mut up, mut down) = (std::pin::pin!(up), std::pin::pin!(down));
        let (whole, sent) = tokio::select! {
            whole = &mut down => (whole, false),
            () = &mut up => (down.await, true),
        };
        if whole && !sent {
            up.await;
        }
        whole
    };
    // Bytes that were written leave before the connection closes, when its last handle is dropped.
    drop((sender, send, body));
    let _ = driver.await;
    if !whole {
        rustix::net::sockopt::set_socket_linger(&socket, Some(Duration::ZERO)).unwrap();
    }
}

#[test]
fn each_direction_of_a_stream_ends_by_itself() {
    let server = Running::start();
    for protocol in ALL {
        for (asked, answered) in [(0, 0), (LARGE, 7), (7, LARGE)] {
            let (request, response) = (noise(1, asked), noise(2, answered));
            let target = TestTarget::new();
            let mut client = leg(&server, protocol, target.addr, TOKEN).unwrap();
            let mut far = target.accept();
            let (mut sender, sent) = (client.try_clone(), request.clone());
            let sending = std::thread::spawn(move || {
                sender.send(&sent).unwrap();
                sender.end();
            });
            let mut heard = Vec::new();
            far.read_to_end(&mut heard).unwrap();
            assert_same(&heard, &request, &format!("{protocol:?}: what the target got"));
            sending.join().unwrap();
            far.write_all(&response).unwrap();
            far.shutdown(Shutdown::Write).unwrap();
            assert_same(
                &client.read_to_end().unwrap(),
                &response,
                &format!("{protocol:?}: what the client got"),
            );

            let target = TestTarget::new();
            let mut client = leg(&server, protocol, target.addr, TOKEN).unwrap();
            let mut far = target.accept();
            let (mut speaker, said) = (far.try_clone().unwrap(), response.clone());
            let speaking = std::thread::spawn(move || {
                speaker.write_all(&said).unwrap();
                speaker.shutdown(Shutdown::Write).unwrap();
            });
            assert_same(
                &client.read_to_end().unwrap(),
                &response,
                &format!("{protocol:?}: what the client got"),
            );
            speaking.join().unwrap();
            let sending = std::thread::spawn(move || {
                client.send(&request).unwrap();
                client.end();
                (client, request)
            });
            let mut heard = Vec::new();
            let ended = far.read_to_end(&mut heard);
            let (_client, request) = sending.join().unwrap();
            assert!(ended.is_ok(), "{protocol:?} {asked} {answered}: {ended:?} after {}", heard.len());
            assert_same(&heard, &request, &format!("{protocol:?}: what the target got"));
        }
    }
}

#[test]
fn a_target_that_breaks_resets_the_stream() {
    let server = Running::start();
    for protocol in ALL {
        let target = TestTarget::new();
        let mut client = leg(&server, protocol, target.addr, TOKEN).unwrap();
        let mut far = target.accept();
        far.write_all(b"half").unwrap();
        assert_eq!(client.read_exact(4).unwrap(), b"half");
        rustix::net::sockopt::set_socket_linger(&far, Some(Duration::ZERO)).unwrap();
        drop(far);
        client.read_to_end().expect_err("what was cut looked whole");
    }
}

#[test]
fn who_may_not_is_told_on_the_stream() {
    let server = Running::start();
    let target = TestTarget::new();
    let unlisted: SocketAddr = "192.0.2.1:22".parse().unwrap();
    for (protocol, unknown) in
        [(LegProtocol::Capsules, 401), (LegProtocol::WebSocket, 401), (LegProtocol::Connect, 407)]
    {
        assert_eq!(leg(&server, protocol, target.addr, "somebody else's").err(), Some(unknown));
        assert_eq!(leg(&server, protocol, unlisted, TOKEN).err(), Some(403));
    }
    assert!(target.is_untouched());
}
