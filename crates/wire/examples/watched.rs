//! What an observer costs: a server whose deliveries are watched, or not, to be measured from
//! outside.
//!
//! ```text
//! watched [--unwatched] [FILE]     /KIB gives so many KiB from memory, /file the file
//! ```

use std::convert::Infallible;
use std::fs::File;
use std::future::{Ready, ready};
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use outflow_content::{
    Content, ContentBody, Feed, FileSource, FileSpan, Observer, OpenFile, SpanError, Wait,
};
use outflow_wire::{RequestBody, Server, ServerOptions};
use tower_service::Service;

/// Is told everything and wants nothing.
struct Nobody;

impl Observer for Nobody {}

/// A file that never changes.
#[derive(Debug)]
struct Fixed(File);

impl OpenFile for Fixed {
    fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
    fn verify(&self) -> Result<(), SpanError> {
        Ok(())
    }
    fn name(&self) -> String {
        "the file".to_owned()
    }
}

#[derive(Clone, Debug)]
struct Source(Arc<Fixed>);

impl FileSource for Source {
    fn open(&self, _: Wait) -> Result<Arc<dyn OpenFile>, SpanError> {
        Ok(Arc::clone(&self.0) as Arc<dyn OpenFile>)
    }
    fn feed(&self, _: u64, _: u64) -> Box<dyn Feed> {
        unreachable!("the engine sends from the descriptor")
    }
}

#[derive(Clone)]
struct Serving {
    zeros: Bytes,
    file: Option<(Source, u64)>,
    watched: bool,
}

impl Service<Request<RequestBody>> for Serving {
    type Response = Response<ContentBody>;
    type Error = Infallible;
    type Future = Ready<Result<Response<ContentBody>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
        let kib: usize = request.uri().path()[1..].parse().unwrap_or(0);
        let mut content = match &self.file {
            Some((source, len)) if kib == 0 => {
                Content::files([FileSpan { file: Arc::new(source.clone()), offset: 0, len: *len }])
            }
            _ => Content::bytes(self.zeros.slice(..(kib * 1024).min(self.zeros.len()))),
        };
        if self.watched {
            content = content.observer(Nobody);
        }
        ready(Ok(content.respond(request.method(), request.headers())))
    }
}

fn main() -> io::Result<()> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let watched = !arguments.iter().any(|argument| argument == "--unwatched");
    arguments.retain(|argument| argument != "--unwatched");
    let file = match arguments.first() {
        Some(path) => {
            let file = File::open(path)?;
            let len = file.metadata()?.len();
            Some((Source(Arc::new(Fixed(file))), len))
        }
        None => None,
    };
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?);
    let zeros = Bytes::from(vec![0; 1024 * 1024]);
    Server::new(ServerOptions::default()).run([listener], 1, Serving { zeros, file, watched })
}
