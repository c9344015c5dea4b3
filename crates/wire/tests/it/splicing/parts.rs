//! Feeds of parts, that lie in another socket, in memory, or nowhere.

use std::collections::VecDeque;
use std::io::Write as _;
use std::net::{TcpListener, TcpStream as StdStream};
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::Sender;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use outflow_content::{Feed, FeedSpan, Span, SpanError, Spans};
use parking_lot::Mutex;
use rustix::pipe::SpliceFlags;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// What a feed yields.
pub(super) enum Part {
    Memory(Bytes),
    /// Number of bytes that arrive by the socket.
    Far(usize),
    /// Nothing, for ever. The test is told each time that it is asked for.
    Silence(Sender<()>),
    /// Says that there are bytes to splice where there are none, so many times.
    Vain(u32),
    /// Moves these bytes, and says that it was so many.
    Lie(&'static [u8], usize),
    Failure,
    /// Fails when it is spliced, and not before.
    LateFailure,
}

/// What was asked of the feeds of a test.
#[derive(Default)]
pub(super) struct Asked {
    pub(super) spliceable: AtomicU64,
    pub(super) spliced: AtomicU64,
    pub(super) behind: AtomicU64,
}

/// A feed of parts one after the other.
pub(super) struct Parts {
    socket: TcpStream,
    parts: VecDeque<Part>,
    asked: Arc<Asked>,
    behind: Behind,
    /// Taken away from the process when the bytes could be spliced, and given back when they are
    /// copied.
    descriptors: Option<Rlimit>,
}

/// What a feed does that falls behind.
pub(super) enum Behind {
    /// Tells the test, and can be spliced as before: how fast the test's machine is makes no
    /// difference.
    Tell(Sender<()>),
    /// The same, and from then on nothing can be spliced any more.
    Copy(Sender<()>),
    Copying,
}

fn failed(why: &str) -> SpanError {
    SpanError::Other { name: "the far end".to_owned(), source: why.into() }
}

impl Parts {
    /// Drops `n` bytes of the first part.
    fn passed(&mut self, n: usize) {
        if let Some(Part::Far(left)) = self.parts.front_mut() {
            *left -= n;
            if *left > 0 {
                return;
            }
        }
        self.parts.pop_front();
    }
}

impl Feed for Parts {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, SpanError>>> {
        if let Some(limit) = self.descriptors.take() {
            setrlimit(Resource::Nofile, limit).expect("as many descriptors as before");
        }
        match self.parts.front_mut() {
            None => Poll::Ready(None),
            Some(Part::Memory(bytes)) => {
                let bytes = std::mem::take(bytes);
                self.passed(bytes.len());
                Poll::Ready(Some(Ok(bytes)))
            }
            Some(Part::Far(left)) => {
                let mut chunk = vec![0; (*left).min(50_000)];
                loop {
                    ready!(self.socket.poll_read_ready(cx)).expect("a socket");
                    match self.socket.try_read(&mut chunk) {
                        Ok(0) => return Poll::Ready(Some(Err(failed("ended early")))),
                        Ok(n) => {
                            chunk.truncate(n);
                            self.passed(n);
                            return Poll::Ready(Some(Ok(chunk.into())));
                        }
                        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
                    }
                }
            }
            Some(Part::Silence(asked)) => {
                // The test may have ended.
                let _ = asked.send(());
                Poll::Pending
            }
            Some(Part::Failure) => Poll::Ready(Some(Err(failed("as the test wants it")))),
            Some(Part::Vain(_) | Part::Lie(..) | Part::LateFailure) => panic!("only to be spliced"),
        }
    }

    fn poll_spliceable(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, SpanError>> {
        self.asked.spliceable.fetch_add(1, Relaxed);
        match self.parts.front() {
            Some(Part::Far(_)) if !matches!(self.behind, Behind::Copying) => {
                ready!(self.socket.poll_read_ready(cx)).expect("a socket");
                if let Some(limit) = &self.descriptors {
                    setrlimit(Resource::Nofile, Rlimit { current: Some(0), ..*limit }).expect("none");
                }
                Poll::Ready(Ok(true))
            }
            Some(Part::Failure) => Poll::Ready(Err(failed("as the test wants it"))),
            Some(Part::Vain(_) | Part::Lie(..) | Part::LateFailure) => Poll::Ready(Ok(true)),
            _ => Poll::Ready(Ok(false)),
        }
    }

    fn splice(&mut self, into: BorrowedFd<'_>, most: usize) -> Result<usize, SpanError> {
        self.asked.spliced.fetch_add(1, Relaxed);
        let left = match self.parts.front_mut() {
            Some(Part::Far(left)) => *left,
            Some(Part::Vain(times)) => {
                *times -= 1;
                if *times == 0 {
                    self.parts.pop_front();
                }
                return Ok(0);
            }
            Some(Part::Lie(bytes, said)) => {
                rustix::io::write(into, bytes).expect("an empty pipe");
                let said = *said;
                self.parts.pop_front();
                return Ok(said);
            }
            Some(Part::LateFailure) => return Err(failed("as the test wants it")),
            _ => panic!("spliced without having been asked"),
        };
        let socket = &self.socket;
        let moved = socket.try_io(Interest::READABLE, || {
            let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
            Ok(rustix::pipe::splice(socket, None, into, None, most.min(left), flags)?)
        });
        match moved {
            Ok(0) => Err(failed("ended early")),
            Ok(n) => {
                self.passed(n);
                Ok(n)
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(0),
            Err(error) => Err(failed(&error.to_string())),
        }
    }

    fn fall_behind(&mut self) {
        self.asked.behind.fetch_add(1, Relaxed);
        if let Behind::Tell(test) | Behind::Copy(test) = &self.behind {
            // The test may have ended.
            let _ = test.send(());
        }
        if matches!(self.behind, Behind::Copy(_)) {
            self.behind = Behind::Copying;
        }
    }
}

/// Makes spans on the server's thread, whose feeds all tell the same test.
pub(super) struct Maker {
    pub(super) asked: Arc<Asked>,
    pub(super) behind: Sender<()>,
}

impl Maker {
    pub(super) fn feed(&self, far: StdStream, parts: Vec<Part>) -> Parts {
        let socket = TcpStream::from_std(far).expect("a socket");
        let (asked, behind) = (Arc::clone(&self.asked), Behind::Tell(self.behind.clone()));
        Parts { socket, parts: parts.into(), behind, asked, descriptors: None }
    }

    /// A span of `len` bytes whose feed yields `parts`; what is far comes out of `far`.
    pub(super) fn span(&self, far: &[u8], parts: Vec<Part>, len: usize) -> Span {
        span(self.feed(sending(far.to_vec()), parts), len)
    }

    /// All of `bytes` come by the socket.
    pub(super) fn far(&self, bytes: &[u8]) -> Span {
        self.span(bytes, vec![Part::Far(bytes.len())], bytes.len())
    }

    /// The same, and what has not been spliced when the client falls behind is copied.
    pub(super) fn far_until_behind(&self, bytes: &[u8]) -> Span {
        let feed = self.feed(sending(bytes.to_vec()), vec![Part::Far(bytes.len())]);
        span(Parts { behind: Behind::Copy(self.behind.clone()), ..feed }, bytes.len())
    }

    /// The same, while there is no descriptor left when they could be spliced.
    pub(super) fn far_without_descriptors(&self, bytes: &[u8]) -> Span {
        let feed = self.feed(sending(bytes.to_vec()), vec![Part::Far(bytes.len())]);
        span(Parts { descriptors: Some(getrlimit(Resource::Nofile)), ..feed }, bytes.len())
    }
}

pub(super) fn span(feed: Parts, len: usize) -> Span {
    Span::Feed(FeedSpan { feed: Box::new(feed), len: len as u64 })
}

/// The end of a connection at which `bytes` arrive, as fast as they are taken, and then the end.
pub(super) fn sending(bytes: Vec<u8>) -> StdStream {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let here = StdStream::connect(listener.local_addr().expect("an address")).expect("connected");
    let (mut there, _) = listener.accept().expect("accepted");
    // Fails when the other end is closed before it has all bytes.
    std::thread::spawn(move || there.write_all(&bytes).is_ok());
    here.set_nonblocking(true).expect("a socket");
    here
}

/// Spans that are handed out once, one after the other.
pub(super) struct Once(pub(super) Mutex<VecDeque<Span>>, pub(super) u64);

impl Spans for Once {
    fn len(&self) -> u64 {
        self.1
    }
    fn span_at(&self, _: u64) -> Result<Span, SpanError> {
        Ok(self.0.lock().pop_front().expect("a span"))
    }
}
