//! A client that exchanges whole requests and responses, by whichever protocol.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use bytes::Bytes;
use h2::Reason;
use http::Method;
use outflow_testkit::http::Reply;
use outflow_wire::rustls::ClientConfig;
use tokio::runtime::Runtime;

use super::Protocol;
use crate::support::h2::{H2, request, whole};
use crate::support::{HttpClient, PATIENCE};

pub(crate) struct Peer {
    protocol: Protocol,
    connection: Connection,
}

enum Connection {
    Http1(HttpClient),
    Http2(Runtime, H2),
}

/// Why there is no whole response.
#[derive(Debug)]
pub(crate) enum Broken {
    Http1(io::Error),
    Http2(h2::Error),
}

impl fmt::Display for Broken {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Broken::Http1(error) => error.fmt(out),
            Broken::Http2(error) => error.fmt(out),
        }
    }
}

/// Header lines of HTTP/1.
fn lines(fields: &[(&str, &str)]) -> String {
    fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect()
}

impl Peer {
    pub(crate) fn connect(protocol: Protocol, addr: SocketAddr, config: Option<&Arc<ClientConfig>>) -> Peer {
        let connection = if protocol.is_http2() {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .expect("a runtime");
            let h2 = block_on(&runtime, H2::connect(addr, config));
            Connection::Http2(runtime, h2)
        } else {
            let client = HttpClient::connect(addr).with_timeout(PATIENCE);
            Connection::Http1(match config {
                Some(config) => client.secure("localhost", config).expect("a handshake"),
                None => client,
            })
        };
        Peer { protocol, connection }
    }

    /// A request without a body, and its response; the connection stays open.
    #[track_caller]
    pub(crate) fn fetch(&mut self, method: &str, path: &str, fields: &[(&str, &str)]) -> Reply {
        match self.try_fetch(method, path, fields) {
            Ok(reply) => reply,
            Err(error) => panic!("no whole response: {error}"),
        }
    }

    pub(crate) fn try_fetch(
        &mut self,
        method: &str,
        path: &str,
        fields: &[(&str, &str)],
    ) -> Result<Reply, Broken> {
        match &mut self.connection {
            Connection::Http1(client) => {
                client.request(method, path, &lines(fields));
                client.try_reply(method == "HEAD").map_err(Broken::Http1)
            }
            Connection::Http2(runtime, h2) => {
                let method: Method = method.parse().expect("a method");
                let exchange = async { whole(h2.ask(request(method, path, fields)).await).await };
                block_on(runtime, exchange).map_err(Broken::Http2)
            }
        }
    }

    #[track_caller]
    pub(crate) fn get(&mut self, path: &str, fields: &[(&str, &str)]) -> Reply {
        self.fetch("GET", path, fields)
    }

    /// Sends a POST whose body has a `Content-Length`, or none, and reads the response.
    #[track_caller]
    pub(crate) fn post(&mut self, path: &str, body: &Bytes, announced: bool) -> Reply {
        let length = body.len().to_string();
        match &mut self.connection {
            Connection::Http1(client) if announced => {
                client.request("POST", path, &lines(&[("content-length", &length)])).send(body).reply()
            }
            Connection::Http1(client) => {
                client.request("POST", path, &lines(&[("transfer-encoding", "chunked")]));
                for chunk in body.chunks(77_777) {
                    client.send(format!("{:x}\r\n", chunk.len())).send(chunk).send("\r\n");
                }
                client.send("0\r\n\r\n").reply()
            }
            Connection::Http2(runtime, h2) => {
                let fields = [("content-length", &*length)];
                let post = request(Method::POST, path, if announced { &fields } else { &[] });
                let exchange = async {
                    let (answer, to) = h2.send(post, false).await;
                    let sending = tokio::spawn(send_body(to, body.clone()));
                    let reply = whole(answer).await;
                    sending.await.expect("sent");
                    reply
                };
                block_on(runtime, exchange).expect("a whole response")
            }
        }
    }

    /// Sends a POST's head and the beginning of its body, and reads the response.
    pub(crate) fn post_part(&mut self, path: &str, part: &'static [u8]) -> Reply {
        match &mut self.connection {
            Connection::Http1(client) => {
                client.request("POST", path, &lines(&[("content-length", "1000")])).send(part).reply()
            }
            Connection::Http2(runtime, h2) => {
                let exchange = async {
                    let (answer, mut to) = h2.send(request(Method::POST, path, &[]), false).await;
                    to.send_data(Bytes::from_static(part), false).expect("sent");
                    whole(answer).await
                };
                block_on(runtime, exchange).expect("a whole response")
            }
        }
    }

    /// Sends a POST's head and the beginning of its body, and when the service has `begun` breaks
    /// off: half-closes the connection, or resets the stream.
    pub(crate) fn post_and_vanish(mut self, path: &str, part: &'static [u8], begun: &Receiver<()>) {
        let wait = || begun.recv_timeout(PATIENCE).expect("a request");
        match &mut self.connection {
            Connection::Http1(client) => {
                client.request("POST", path, &lines(&[("content-length", "1000")])).send(part);
                wait();
                client.finish();
                // The answer, if there is one.
                let _ = client.read_to_end();
            }
            Connection::Http2(runtime, h2) => {
                let exchange = async {
                    let (answer, mut to) = h2.send(request(Method::POST, path, &[]), false).await;
                    to.send_data(Bytes::from_static(part), false).expect("sent");
                    wait();
                    to.send_reset(Reason::CANCEL);
                    whole(answer).await
                };
                block_on(runtime, exchange).expect_err("an answer to a stream that was reset");
            }
        }
    }

    /// There was no whole response: the connection broke, or the stream was reset.
    #[track_caller]
    pub(crate) fn expect_cut(&self, result: Result<Reply, Broken>, what: &str) {
        match result {
            Ok(reply) => panic!("{what}: a whole response: {reply:?}"),
            Err(Broken::Http1(error)) if self.protocol == Protocol::Http1 => {
                assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{what}: {error}");
            }
            Err(Broken::Http1(_)) => {}
            Err(Broken::Http2(error)) => {
                assert_eq!(error.reason(), Some(Reason::INTERNAL_ERROR), "{what}: {error}");
            }
        }
    }

    /// The server ends the connection in an orderly way, and says nothing more.
    #[track_caller]
    pub(crate) fn expect_end(self) {
        match self.connection {
            Connection::Http1(mut client) => client.expect_closed(),
            Connection::Http2(runtime, h2) => {
                block_on(&runtime, h2.driver).expect("no panic").expect("an orderly end");
            }
        }
    }
}

#[track_caller]
fn block_on<T>(runtime: &Runtime, work: impl Future<Output = T>) -> T {
    runtime.block_on(async { tokio::time::timeout(PATIENCE, work).await.expect("an end in time") })
}

/// Sends a body as the windows allow.
pub(crate) async fn send_body(mut to: h2::SendStream<Bytes>, mut body: Bytes) {
    while !body.is_empty() {
        to.reserve_capacity(body.len());
        let Some(Ok(room)) = std::future::poll_fn(|cx| to.poll_capacity(cx)).await else { return };
        let piece = body.split_to(room.min(body.len()));
        if to.send_data(piece, false).is_err() {
            return;
        }
    }
    let _ = to.send_data(Bytes::new(), true);
}
