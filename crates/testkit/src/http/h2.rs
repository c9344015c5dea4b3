//! HTTP/2 by the `h2` crate, over any connection.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::{Method, Request};
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::Reply;

/// Runs `work`, which fails when it takes longer than `limit`.
pub fn run<T>(limit: Duration, work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async { tokio::time::timeout(limit, work).await.expect("an end in time") })
}

/// One connection.
pub struct H2 {
    /// Opens streams.
    pub sender: SendRequest<Bytes>,
    /// Ends with the connection, and says how.
    pub driver: JoinHandle<Result<(), h2::Error>>,
}

impl H2 {
    /// Connects; `secured`: within TLS, to `localhost`.
    pub async fn connect(addr: SocketAddr, secured: Option<&Arc<ClientConfig>>) -> H2 {
        H2::with(addr, secured, h2::client::Builder::new().initial_window_size(1 << 20)).await
    }

    /// The same with other settings.
    pub async fn with(
        addr: SocketAddr,
        secured: Option<&Arc<ClientConfig>>,
        builder: &h2::client::Builder,
    ) -> H2 {
        let stream = TcpStream::connect(addr).await.expect("connected");
        stream.set_nodelay(true).expect("nodelay");
        match secured {
            None => H2::over(stream, builder).await,
            Some(config) => {
                let name = "localhost".try_into().expect("a name");
                let connector = tokio_rustls::TlsConnector::from(Arc::clone(config));
                let stream = connector.connect(name, stream).await.expect("a handshake");
                assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
                H2::over(stream, builder).await
            }
        }
    }

    /// Over any stream of bytes.
    pub async fn over<T>(stream: T, builder: &h2::client::Builder) -> H2
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = builder.handshake(stream).await.expect("a connection");
        H2 { sender, driver: tokio::spawn(connection) }
    }

    /// Sends a request without a body; the future waits for the response.
    pub async fn ask(&mut self, request: Request<()>) -> ResponseFuture {
        self.send(request, true).await.0
    }

    /// Sends a request's head; `end`: without a body.
    pub async fn send(&mut self, request: Request<()>, end: bool) -> (ResponseFuture, SendStream<Bytes>) {
        ready(&mut self.sender).await;
        self.sender.send_request(request, end).expect("a stream")
    }

    /// The response to a GET of `path` with these fields.
    pub async fn get(&mut self, path: &str, fields: &[(&str, &str)]) -> Reply {
        let response = self.ask(request(Method::GET, path, fields)).await;
        whole(response).await.expect("a whole response")
    }
}

async fn ready(sender: &mut SendRequest<Bytes>) {
    std::future::poll_fn(|cx| sender.poll_ready(cx)).await.expect("room for a stream");
}

/// A request without a body.
#[must_use]
pub fn request(method: Method, path: &str, fields: &[(&str, &str)]) -> Request<()> {
    let mut request = Request::builder().method(method).uri(format!("http://test{path}"));
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(()).expect("a request")
}

/// Waits for a response and its body, and releases the windows as it reads.
///
/// # Errors
/// Says how the stream was reset.
pub async fn whole(response: ResponseFuture) -> Result<Reply, h2::Error> {
    let (head, body) = response.await?.into_parts();
    let text = |value: &http::HeaderValue| value.to_str().expect("text").to_owned();
    let headers = head.headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect();
    Ok(Reply { is_http_1_0: false, status: head.status.as_u16(), headers, body: collect(body).await? })
}

/// The rest of a body.
///
/// # Errors
/// Says how the stream was reset.
pub async fn collect(mut body: RecvStream) -> Result<Vec<u8>, h2::Error> {
    let mut all = Vec::new();
    while let Some(data) = body.data().await {
        let data = match data {
            // The server has no use for the rest of the request (RFC 9113, 8.1).
            Err(error) if error.reason() == Some(Reason::NO_ERROR) => break,
            data => data?,
        };
        body.flow_control().release_capacity(data.len()).expect("what was received");
        all.extend_from_slice(&data);
    }
    Ok(all)
}
