//! An HTTP receiver that behaves as badly as it is told to.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// The response to a request.
#[derive(Clone)]
pub(super) enum Reply {
    /// These bytes.
    Say(String),
    /// A status, other fields, and no body.
    Status(u16, &'static str),
    /// No response, for ever.
    Hang,
    /// Closes the connection.
    Close,
    /// A byte of the head every now and then, for ever.
    Trickle,
    /// Fields of the head, for ever.
    Fields,
    /// This head, and then a body for ever.
    Flood(&'static str),
    /// This head, and a byte of the body every now and then.
    TrickleBody(&'static str),
}

/// A received request.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) line: String,
    pub(super) headers: HashMap<String, String>,
    pub(super) body: Vec<u8>,
}

pub(super) struct Receiver {
    pub(super) address: SocketAddr,
    pub(super) requests: Arc<Mutex<Vec<Request>>>,
    pub(super) connections: Arc<AtomicUsize>,
    /// Bytes that the kernel accepted of endless responses.
    pub(super) flooded: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<()>,
}

impl Receiver {
    /// `reply` gets the number of earlier requests.
    pub(super) async fn start(reply: impl Fn(usize) -> Reply + Send + Sync + 'static) -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let connections = Arc::new(AtomicUsize::new(0));
        let flooded = Arc::new(AtomicU64::new(0));
        let reply = Arc::new(reply);
        let task = tokio::spawn({
            let (requests, connections, flooded) =
                (Arc::clone(&requests), Arc::clone(&connections), Arc::clone(&flooded));
            async move {
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    connections.fetch_add(1, Ordering::SeqCst);
                    let (requests, reply, flooded) =
                        (Arc::clone(&requests), Arc::clone(&reply), Arc::clone(&flooded));
                    tokio::spawn(async move { serve(stream, &requests, reply.as_ref(), &flooded).await });
                }
            }
        });
        Receiver { address, requests, connections, flooded, task }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(super) fn taken(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    mut stream: TcpStream,
    requests: &Mutex<Vec<Request>>,
    reply: &(dyn Fn(usize) -> Reply + Send + Sync),
    flooded: &AtomicU64,
) -> Option<()> {
    loop {
        let request = read(&mut stream).await?;
        let before = {
            let mut requests = requests.lock().unwrap();
            requests.push(request);
            requests.len() - 1
        };
        match reply(before) {
            Reply::Say(text) => stream.write_all(text.as_bytes()).await.ok()?,
            Reply::Status(status, fields) => {
                let head = format!("HTTP/1.1 {status} Because\r\n{fields}Content-Length: 0\r\n\r\n");
                stream.write_all(head.as_bytes()).await.ok()?;
            }
            Reply::Hang => std::future::pending().await,
            Reply::Close => return None,
            Reply::Trickle => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nX-Slow: ").await.ok()?;
                trickle(&mut stream).await?;
            }
            Reply::Fields => {
                stream.write_all(b"HTTP/1.1 200 OK\r\n").await.ok()?;
                flood(&mut stream, b"X-Field: value value value value\r\n", flooded).await?;
            }
            Reply::Flood(head) => {
                stream.write_all(head.as_bytes()).await.ok()?;
                flood(&mut stream, &[b'x'; 65536], flooded).await?;
            }
            Reply::TrickleBody(head) => {
                stream.write_all(head.as_bytes()).await.ok()?;
                trickle(&mut stream).await?;
            }
        }
    }
}

async fn trickle(stream: &mut TcpStream) -> Option<()> {
    loop {
        stream.write_all(b"x").await.ok()?;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn flood(stream: &mut TcpStream, bytes: &[u8], flooded: &AtomicU64) -> Option<()> {
    loop {
        let length = stream.write(bytes).await.ok()?;
        flooded.fetch_add(length as u64, Ordering::SeqCst);
    }
}

async fn read(stream: &mut TcpStream) -> Option<Request> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let mut lines = head.lines();
    let line = lines.next().unwrap().to_owned();
    let headers: HashMap<String, String> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length: usize = headers["content-length"].parse().unwrap();
    while bytes.len() < end + length {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    Some(Request { line, headers, body: bytes[end..end + length].to_vec() })
}
