//! The same service on three layouts of threads, for `bench/layouts` to compare.
//!
//! ```text
//! layouts dealt        THREADS   a runtime per thread, connections dealt by count (Server::run)
//! layouts reuseport    THREADS   a runtime and a listener per thread (SO_REUSEPORT)
//! layouts stealing     THREADS   one work-stealing runtime
//! ```
//!
//! Serves 10,240 bytes from memory at every path; a number as the path gives that many KiB.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use outflow_content::{Content, ContentBody};
use outflow_wire::{RequestBody, Server, ServerOptions, serve};
use tower_service::Service;

#[derive(Clone)]
struct Zeros(Bytes);

impl Service<Request<RequestBody>> for Zeros {
    type Response = Response<ContentBody>;
    type Error = Infallible;
    type Future = Ready<Result<Response<ContentBody>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
        let kib = request.uri().path()[1..].parse().unwrap_or(10);
        let bytes = self.0.slice(..(kib * 1024).min(self.0.len()));
        ready(Ok(Content::bytes(bytes).respond(request.method(), request.headers())))
    }
}

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let layout = arguments.next().unwrap_or_default();
    let threads = arguments.next().and_then(|threads| threads.parse().ok()).unwrap_or(1);
    let service = Zeros(Bytes::from(vec![0; 1024 * 1024]));
    match layout.as_str() {
        "dealt" => {
            let listener = TcpListener::bind("127.0.0.1:0")?;
            announce(listener.local_addr()?);
            Server::new(ServerOptions::default()).run([listener], threads, service)
        }
        "stealing" => {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
                announce(listener.local_addr()?);
                serve(listener, service).await
            })
        }
        "reuseport" => {
            let first = reuseport("127.0.0.1:0".parse().map_err(io::Error::other)?)?;
            let address = first.local_addr()?;
            let mut listeners = vec![first];
            for _ in 1..threads {
                listeners.push(reuseport(address)?);
            }
            announce(address);
            std::thread::scope(|scope| {
                for listener in listeners {
                    let service = service.clone();
                    scope.spawn(move || -> io::Result<()> {
                        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                        runtime.block_on(async {
                            serve(tokio::net::TcpListener::from_std(listener)?, service).await
                        })
                    });
                }
            });
            Ok(())
        }
        other => Err(io::Error::other(format!("no layout {other:?}: dealt, reuseport or stealing"))),
    }
}

fn announce(address: SocketAddr) {
    println!("listening on http://{address}/");
}

fn reuseport(address: SocketAddr) -> io::Result<TcpListener> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseport(&socket, true)?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, 1024)?;
    Ok(socket.into())
}
