//! The `h2` crate's client, which knows how streams have to be spoken to, over any connection.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::{Method, Request, Response};
use outflow_wire::rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::PATIENCE;

/// Runs `work`, which fails when it takes too long.
pub(crate) fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async { tokio::time::timeout(PATIENCE, work).await.expect("an end in time") })
}

/// One connection.
pub(crate) struct H2 {
    pub(crate) sender: SendRequest<Bytes>,
    /// Ends when the connection does, and says how.
    pub(crate) driver: JoinHandle<Result<(), h2::Error>>,
}

/// A whole response.
#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) head: Response<()>,
    pub(crate) body: Vec<u8>,
}

impl Got {
    pub(crate) fn status(&self) -> u16 {
        self.head.status().as_u16()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.head.headers().get_all(name).iter();
        let value = values.next().map(|value| value.to_str().expect("text"));
        assert!(values.next().is_none(), "a second {name}");
        value
    }

    #[track_caller]
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }
}

impl H2 {
    /// In the clear; `secured`: within TLS.
    pub(crate) async fn connect(addr: SocketAddr, secured: Option<&Arc<ClientConfig>>) -> H2 {
        H2::with(addr, secured, h2::client::Builder::new().initial_window_size(1 << 20)).await
    }

    pub(crate) async fn with(
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

    pub(crate) async fn over<T>(stream: T, builder: &h2::client::Builder) -> H2
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = builder.handshake(stream).await.expect("a connection");
        H2 { sender, driver: tokio::spawn(connection) }
    }

    /// Sends a request without a body; the future waits for the response.
    pub(crate) async fn ask(&mut self, request: Request<()>) -> ResponseFuture {
        self.send(request, true).await.0
    }

    /// Sends a request's head.
    pub(crate) async fn send(
        &mut self,
        request: Request<()>,
        end: bool,
    ) -> (ResponseFuture, SendStream<Bytes>) {
        futures_ready(&mut self.sender).await;
        self.sender.send_request(request, end).expect("a stream")
    }

    /// The response to a GET of `path` with these fields.
    pub(crate) async fn get(&mut self, path: &str, fields: &[(&str, &str)]) -> Got {
        let response = self.ask(request(Method::GET, path, fields)).await;
        whole(response).await.expect("a whole response")
    }
}

async fn futures_ready(sender: &mut SendRequest<Bytes>) {
    std::future::poll_fn(|cx| sender.poll_ready(cx)).await.expect("room for a stream");
}

pub(crate) fn request(method: Method, path: &str, fields: &[(&str, &str)]) -> Request<()> {
    let mut request = Request::builder().method(method).uri(format!("http://test{path}"));
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(()).expect("a request")
}

/// Waits for a response and its body, giving the windows back as it reads.
pub(crate) async fn whole(response: ResponseFuture) -> Result<Got, h2::Error> {
    let (head, body) = response.await?.into_parts();
    let body = collect(body).await?;
    Ok(Got { head: Response::from_parts(head, ()), body })
}

/// The rest of a body.
pub(crate) async fn collect(mut body: RecvStream) -> Result<Vec<u8>, h2::Error> {
    let mut all = Vec::new();
    while let Some(data) = body.data().await {
        let data = match data {
            // Nothing is wrong: the server has no use for the rest of the request (RFC 9113, 8.1).
            Err(error) if error.reason() == Some(Reason::NO_ERROR) => break,
            data => data?,
        };
        body.flow_control().release_capacity(data.len()).expect("what was received");
        all.extend_from_slice(&data);
    }
    Ok(all)
}
