//! A server on a port of the kernel's choice, services made of closures, and patterned bytes.

mod file;
mod observer;
mod tls;

use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body::{Body, Frame};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use outflow_content::Content;
use outflow_wire::{
    HttpService, ListenSocket, RequestBody, Server, ServerCounters, ServerHandle, ServerOptions, Tls,
};
use tower_service::Service;

pub(crate) use file::{TestFile, temp};
pub(crate) use observer::{Event, Events, Watcher, watcher};
pub(crate) use outflow_testkit::http::{HttpClient, frames};
pub(crate) use outflow_testkit::process::{alone, memory, open_files};
pub(crate) use outflow_testkit::{assert_same, noise, until};
pub(crate) use tls::Identity;

/// HTTP/2 by the `h2` crate.
pub(crate) mod h2 {
    pub(crate) use outflow_testkit::http::h2::{H2, collect, request, whole};

    /// Runs `work`, which fails when it takes too long.
    pub(crate) fn run<T>(work: impl Future<Output = T>) -> T {
        outflow_testkit::http::h2::run(super::PATIENCE, work)
    }
}

/// A test that waits so long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Any body, its errors as text.
pub(crate) type AnyBody = UnsyncBoxBody<Bytes, String>;
pub(crate) type Answer = Result<Response<AnyBody>, String>;

/// A server that runs until it is dropped.
pub(crate) struct Running {
    pub(crate) addr: SocketAddr,
    pub(crate) counters: Arc<ServerCounters>,
    pub(crate) handle: ServerHandle,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Running {
    /// A connection to it.
    pub(crate) fn client(&self) -> HttpClient {
        HttpClient::connect(self.addr).with_timeout(PATIENCE)
    }

    /// A connection with a receive buffer of `bytes`.
    pub(crate) fn narrow_client(&self, bytes: usize) -> HttpClient {
        HttpClient::connect_narrow(self.addr, bytes).with_timeout(PATIENCE)
    }

    /// Lets the connections end, and counts when nothing can be added any more.
    pub(crate) fn counted(self) -> Arc<ServerCounters> {
        let counters = Arc::clone(&self.counters);
        self.handle.drain(PATIENCE);
        self.join();
        counters
    }

    /// Waits for `run` to return by itself.
    pub(crate) fn join(mut self) {
        let thread = self.thread.take().expect("joined once");
        thread.join().expect("the server panicked").expect("the server failed");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.handle.stop();
        if let Some(thread) = self.thread.take() {
            let result = thread.join();
            if !std::thread::panicking() {
                result.expect("the server panicked").expect("the server failed");
            }
        }
    }
}

/// Runs `service` with the default options on one thread.
pub(crate) fn serve<F, A>(service: F) -> Running
where
    F: Fn(Request<RequestBody>) -> A + Send + Sync + 'static,
    A: Future<Output = Answer> + Send + 'static,
{
    serve_with(ServerOptions::default(), 1, service)
}

/// Runs `service` with these options on so many threads.
pub(crate) fn serve_with<F, A>(options: ServerOptions, threads: usize, service: F) -> Running
where
    F: Fn(Request<RequestBody>) -> A + Send + Sync + 'static,
    A: Future<Output = Answer> + Send + 'static,
{
    run(options, threads, ListenSocket::from, service)
}

/// Runs `service` within TLS on one thread.
pub(crate) fn serve_tls<F, A>(options: ServerOptions, tls: Arc<Tls>, service: F) -> Running
where
    F: Fn(Request<RequestBody>) -> A + Send + Sync + 'static,
    A: Future<Output = Answer> + Send + 'static,
{
    run(options, 1, |socket| ListenSocket::with_tls(socket, tls), service)
}

fn run<F, A>(
    options: ServerOptions,
    threads: usize,
    listener: impl FnOnce(TcpListener) -> ListenSocket,
    service: F,
) -> Running
where
    F: Fn(Request<RequestBody>) -> A + Send + Sync + 'static,
    A: Future<Output = Answer> + Send + 'static,
{
    let service = move |request| Box::pin(service(request)) as Answering;
    run_service(options, threads, listener, Closure(Arc::new(service)))
}

/// Runs a service that is not a tower `Service`, on one thread.
pub(crate) fn serve_service(service: impl HttpService) -> Running {
    run_service(ServerOptions::default(), 1, ListenSocket::from, service)
}

fn run_service(
    options: ServerOptions,
    threads: usize,
    listener: impl FnOnce(TcpListener) -> ListenSocket,
    service: impl HttpService,
) -> Running {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = socket.local_addr().expect("an address");
    let listener = listener(socket);
    let server = Server::new(options);
    let (counters, handle) = (server.counters(), server.handle());
    let thread = std::thread::spawn(move || server.run([listener], threads, service));
    Running { addr, counters, handle, thread: Some(thread) }
}

/// Runs `service` with HTTP/2 understood in the clear, on one thread.
pub(crate) fn serve_h2<F, A>(options: ServerOptions, service: F) -> Running
where
    F: Fn(Request<RequestBody>) -> A + Send + Sync + 'static,
    A: Future<Output = Answer> + Send + 'static,
{
    serve_with(ServerOptions { http2_cleartext: true, ..options }, 1, service)
}

/// Runs a server that answers every request with the content that `content` makes.
pub(crate) fn serve_content<F>(content: F) -> Running
where
    F: Fn(&Request<RequestBody>) -> Content + Send + Sync + 'static,
{
    serve_content_with(ServerOptions::default(), content)
}

/// The same with these options.
pub(crate) fn serve_content_with<F>(options: ServerOptions, content: F) -> Running
where
    F: Fn(&Request<RequestBody>) -> Content + Send + Sync + 'static,
{
    serve_with(options, 1, move |request| {
        let response = respond(content(&request), request.method(), request.headers());
        async move { Ok(response) }
    })
}

/// An answer to come.
type Answering = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// A closure as a service, of one type: the engine is compiled once, not for each test.
#[derive(Clone)]
struct Closure(Arc<dyn Fn(Request<RequestBody>) -> Answering + Send + Sync>);

impl Service<Request<RequestBody>> for Closure {
    type Response = Response<AnyBody>;
    type Error = String;
    type Future = Answering;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), String>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<RequestBody>) -> Answering {
        (self.0)(request)
    }
}

/// A 200 of this text.
pub(crate) fn text(text: impl Into<Bytes>) -> Response<AnyBody> {
    Response::new(Full::new(text.into()).map_err(|never| match never {}).boxed_unsync())
}

/// What `content` answers to a request.
pub(crate) fn respond(content: Content, method: &Method, headers: &HeaderMap) -> Response<AnyBody> {
    content.respond(method, headers).map(|body| body.map_err(|error| error.to_string()).boxed_unsync())
}

/// A body of these frames, without a known length; an error ends it.
pub(crate) fn body_of(frames: impl IntoIterator<Item = Result<&'static str, &'static str>>) -> AnyBody {
    Frames(frames.into_iter().collect::<Vec<_>>().into_iter()).boxed_unsync()
}

struct Frames(std::vec::IntoIter<Result<&'static str, &'static str>>);

impl Body for Frames {
    type Data = Bytes;
    type Error = String;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, String>>> {
        Poll::Ready(self.0.next().map(|frame| match frame {
            Ok(data) => Ok(Frame::data(Bytes::from_static(data.as_bytes()))),
            Err(error) => Err(error.to_owned()),
        }))
    }
}
