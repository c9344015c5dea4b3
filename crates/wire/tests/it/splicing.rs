//! Feeds whose bytes lie in another socket: moved by the kernel, copied, and both in one response.

use std::collections::VecDeque;
use std::io::Write as _;
use std::net::{TcpListener, TcpStream as StdStream};
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use outflow_content::{AbortReason, Content, Feed, FeedSpan, Span, SpanError, Spans};
use outflow_wire::ServerOptions;
use rustix::pipe::SpliceFlags;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::support::{
    Client, Event, Events, PATIENCE, Running, assert_same, locked, pattern, serve_content_with, watcher,
};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// More than all buffers on the way take.
const LARGE: usize = 32 * MIB;

/// What a feed yields.
enum Part {
    Memory(Bytes),
    /// So many bytes that come by the socket.
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
struct Asked {
    spliceable: AtomicU64,
    spliced: AtomicU64,
    behind: AtomicU64,
}

/// A feed of parts one after the other.
struct Parts {
    socket: TcpStream,
    parts: VecDeque<Part>,
    asked: Arc<Asked>,
    behind: Behind,
    /// Taken away from the process when the bytes could be spliced, and given back when they are copied.
    descriptors: Option<Rlimit>,
}

/// What a feed does that falls behind.
enum Behind {
    /// Tells the test, and can be spliced as before: how fast the test's machine is makes no difference.
    Tell(Sender<()>),
    /// The same, and from then on nothing can be spliced any more.
    Copy(Sender<()>),
    Copying,
}

fn failed(why: &str) -> SpanError {
    SpanError::Other { name: "the far end".to_owned(), source: why.into() }
}

impl Parts {
    /// So many bytes of the first part are gone.
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
struct Maker {
    asked: Arc<Asked>,
    behind: Sender<()>,
}

impl Maker {
    fn feed(&self, far: StdStream, parts: Vec<Part>) -> Parts {
        let socket = TcpStream::from_std(far).expect("a socket");
        let (asked, behind) = (Arc::clone(&self.asked), Behind::Tell(self.behind.clone()));
        Parts { socket, parts: parts.into(), behind, asked, descriptors: None }
    }

    /// A span of `len` bytes whose feed yields `parts`; what is far comes out of `far`.
    fn span(&self, far: &[u8], parts: Vec<Part>, len: usize) -> Span {
        span(self.feed(sending(far.to_vec()), parts), len)
    }

    /// All of `bytes` come by the socket.
    fn far(&self, bytes: &[u8]) -> Span {
        self.span(bytes, vec![Part::Far(bytes.len())], bytes.len())
    }

    /// The same, and what has not been spliced when the client falls behind is copied.
    fn far_until_behind(&self, bytes: &[u8]) -> Span {
        let feed = self.feed(sending(bytes.to_vec()), vec![Part::Far(bytes.len())]);
        span(Parts { behind: Behind::Copy(self.behind.clone()), ..feed }, bytes.len())
    }

    /// The same, while there is no descriptor left when they could be spliced.
    fn far_without_descriptors(&self, bytes: &[u8]) -> Span {
        let feed = self.feed(sending(bytes.to_vec()), vec![Part::Far(bytes.len())]);
        span(Parts { descriptors: Some(getrlimit(Resource::Nofile)), ..feed }, bytes.len())
    }
}

fn span(feed: Parts, len: usize) -> Span {
    Span::Feed(FeedSpan { feed: Box::new(feed), len: len as u64 })
}

/// The end of a connection at which `bytes` arrive, as fast as they are taken, and then the end.
fn sending(bytes: Vec<u8>) -> StdStream {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let here = StdStream::connect(listener.local_addr().expect("an address")).expect("connected");
    let (mut there, _) = listener.accept().expect("accepted");
    // Fails when the other end is closed before it has all bytes.
    std::thread::spawn(move || there.write_all(&bytes).is_ok());
    here.set_nonblocking(true).expect("a socket");
    here
}

/// Spans that are handed out once, one after the other.
struct Once(Mutex<VecDeque<Span>>, u64);

impl Spans for Once {
    fn len(&self) -> u64 {
        self.1
    }
    fn span_at(&self, _: u64) -> Result<Span, SpanError> {
        Ok(locked(&self.0).pop_front().expect("a span"))
    }
}

struct Served {
    server: Running,
    /// Of the first delivery.
    events: Events,
    asked: Arc<Asked>,
    /// Told when a feed falls behind.
    behind: Receiver<()>,
}

/// Answers each request with the spans that `spans` makes.
fn serve(options: ServerOptions, spans: impl Fn(&Maker) -> Vec<Span> + Send + Sync + 'static) -> Served {
    let (told, behind) = channel();
    let asked = Arc::<Asked>::default();
    let maker = Mutex::new(Maker { asked: Arc::clone(&asked), behind: told });
    let (observer, events) = watcher();
    let observer = Mutex::new(Some(observer));
    let server = serve_content_with(options, move |_| {
        let spans = spans(&locked(&maker));
        let len = spans.iter().map(Span::len).sum();
        let content = Content::new(Arc::new(Once(Mutex::new(spans.into()), len)));
        match locked(&observer).take() {
            Some(observer) => content.observer(observer),
            None => content,
        }
    });
    Served { server, events, asked, behind }
}

impl Served {
    /// GETs everything, and how many of the bytes were spliced and how many copied. Nothing follows them.
    #[track_caller]
    fn get(self, want: &[u8]) -> (u64, u64) {
        let mut client = Client::connect(self.server.addr);
        let reply = client.get("/", "Connection: close\r\n").reply();
        assert_same(&reply.body, want, "body");
        client.expect_closed();
        // Or the server lingers for a while.
        drop(client);
        assert_eq!(self.events.ending(want.len() as u64), Event::Completed(want.len() as u64));
        let counters = self.server.counted();
        assert_eq!(counters.sendfile_bytes(), 0);
        (counters.spliced_bytes(), counters.copied_bytes())
    }
}

#[test]
fn what_can_be_spliced_is_spliced_to_the_last_byte() {
    for len in [1, 1000, 64 * KIB, MIB, MIB + 1, 2 * MIB, 9 * MIB + 77] {
        let bytes = pattern(len, 101);
        let far = bytes.clone();
        let served = serve(ServerOptions::default(), move |maker| vec![maker.far(&far)]);
        assert_eq!(served.get(&bytes), (len as u64, 0), "spliced, copied");
    }
}

#[test]
fn without_leave_to_use_the_kernel_everything_is_copied() {
    let bytes = pattern(3 * MIB, 103);
    let far = bytes.clone();
    let options = ServerOptions { sendfile: false, ..ServerOptions::default() };
    let served = serve(options, move |maker| vec![maker.far(&far)]);
    let asked = Arc::clone(&served.asked);
    assert_eq!(served.get(&bytes), (0, bytes.len() as u64), "spliced, copied");
    assert_eq!((asked.spliceable.load(Relaxed), asked.spliced.load(Relaxed)), (0, 0));
}

#[test]
fn spliced_and_copied_bytes_take_turns_within_a_span() {
    let bytes = Bytes::from(pattern(6 * MIB, 107));
    let want = bytes.clone();
    let served = serve(ServerOptions::default(), move |maker| {
        // Far, memory, far, and so on: small and large ones of both.
        let (mut far, mut parts, mut at, mut len) = (Vec::new(), Vec::new(), 0, 7);
        while at < bytes.len() {
            let part = bytes.slice(at..(at + len).min(bytes.len()));
            at += part.len();
            if parts.len() % 2 == 0 {
                far.extend_from_slice(&part);
                parts.push(Part::Far(part.len()));
            } else {
                parts.push(Part::Memory(part));
            }
            len = len * 5 % 300_007 + 1;
        }
        assert!(parts.len() > 20, "{} parts", parts.len());
        vec![maker.span(&far, parts, bytes.len())]
    });
    let (spliced, copied) = served.get(&want);
    assert_eq!(spliced + copied, want.len() as u64);
    assert!(spliced > MIB as u64 && copied > MIB as u64, "{spliced} spliced, {copied} copied");
}

#[test]
fn an_archive_of_far_bodies_arrives_as_it_is() {
    // Headers between bodies of all sizes, each from a socket of its own, gathered with the head or not.
    let sizes = [10, 70_000, 1, 40 * KIB, 3 * MIB, 0, 48 * KIB, 500, 2 * MIB + 1, 17];
    let entries: Vec<(Bytes, Bytes)> = (0..)
        .zip(sizes)
        .map(|(seed, size)| (pattern(30 + size % 50, seed).into(), pattern(size, seed + 100).into()))
        .collect();
    let directory = Bytes::from(pattern(60 * KIB, 109));
    let mut want = Vec::new();
    for (header, body) in &entries {
        want.extend_from_slice(header);
        want.extend_from_slice(body);
    }
    want.extend_from_slice(&directory);
    let served = serve(ServerOptions::default(), move |maker| {
        let mut spans = Vec::new();
        for (header, body) in &entries {
            spans.push(Span::Memory(header.clone()));
            if !body.is_empty() {
                spans.push(maker.far(body));
            }
        }
        spans.push(Span::Memory(directory.clone()));
        spans
    });
    let bodies = sizes.iter().sum::<usize>();
    assert_eq!(served.get(&want), (bodies as u64, (want.len() - bodies) as u64), "spliced, copied");
}

#[test]
fn no_more_leaves_than_belongs_to_the_span() {
    let bytes = pattern(2 * MIB, 113);
    let far = bytes.clone();
    let served = serve(ServerOptions::default(), move |maker| {
        let more = || vec![Part::Far(far.len())];
        vec![maker.span(&far, more(), MIB + 1), maker.span(&far, more(), 10)]
    });
    let mut client = Client::connect(served.server.addr);
    let want = [&bytes[..MIB + 1], &bytes[..10]].concat();
    for _ in 0..3 {
        assert_same(&client.get("/", "").reply().body, &want, "body");
    }
    drop(client);
    assert_eq!(served.server.counted().spliced_bytes(), 3 * want.len() as u64);
}

#[test]
fn the_rest_comes_from_memory_when_the_client_falls_behind() {
    let bytes = pattern(LARGE, 127);
    let far = bytes.clone();
    let served = serve(ServerOptions::default(), move |maker| vec![maker.far_until_behind(&far)]);
    let mut client = Client::connect_narrow(served.server.addr, 16 * KIB);
    client.get("/", "Connection: close\r\n").take_until(b"\r\n\r\n").expect("a head");
    served.behind.recv_timeout(PATIENCE).expect("to fall behind");
    assert_same(&client.read_to_end().expect("an orderly end"), &bytes, "body");
    drop(client);
    assert_eq!(served.events.ending(LARGE as u64), Event::Completed(LARGE as u64));
    let counters = served.server.counted();
    assert_eq!(counters.spliced_bytes() + counters.copied_bytes(), LARGE as u64);
    assert!(counters.spliced_bytes() > 0 && counters.copied_bytes() > 0, "{counters:?}");
}

#[test]
fn a_client_that_takes_nothing_more_is_cut_off_as_stalled() {
    let options = ServerOptions { stall_timeout: Duration::from_millis(300), ..ServerOptions::default() };
    let far = pattern(LARGE, 131);
    let served = serve(options, move |maker| vec![maker.far(&far)]);
    let mut client = Client::connect_narrow(served.server.addr, 16 * KIB);
    client.get("/", "");
    let end = served.events.ending(LARGE as u64);
    assert!(matches!(end, Event::Aborted(_, AbortReason::Stalled)), "{end:?}");
    assert!(served.asked.behind.load(Relaxed) > 0, "was not told that the client is slow");
    client.take_until(b"\r\n\r\n").expect("a head");
    client.expect_cut(LARGE);
}

/// GETs what such a span yields, the first `sent` of `bytes`, and wants the connection cut behind them.
#[track_caller]
fn assert_fails(bytes: &[u8], sent: usize, why: &str, span: impl Fn(&Maker) -> Span + Send + Sync + 'static) {
    let served = serve(ServerOptions::default(), move |maker| vec![span(maker), maker.far(b"behind it")]);
    let mut client = Client::connect(served.server.addr);
    let received = client.get("/", "").expect_cut(usize::MAX);
    // What waited for more when the connection was cut has not even left, the head perhaps included.
    let head = received.windows(4).position(|window| window == b"\r\n\r\n");
    let body = head.map_or(&[][..], |end| &received[end + 4..]);
    assert_same(body, &bytes[..body.len().min(sent)], "what came before the cut");
    let Some(Event::Started(total)) = served.events.next() else { panic!("a delivery begins") };
    let mut told = Vec::new();
    while let Some(event) = served.events.next() {
        told.push(event);
    }
    assert!((sent as u64) < total);
    let [.., Event::Failed(sum, error), Event::Cleanup] = &told[..] else { panic!("{told:?}") };
    assert_eq!(*sum, sent as u64, "{error}");
    assert!(error.contains(why), "{error}");
}

#[test]
fn a_feed_that_fails_midway_costs_the_connection() {
    let bytes = pattern(MIB, 137);
    let far = bytes.clone();
    assert_fails(&bytes, MIB, "as the test wants it", move |maker| {
        maker.span(&far, vec![Part::Far(MIB), Part::Failure], MIB + 1)
    });
    let far = bytes.clone();
    assert_fails(&bytes, MIB, "ended early", move |maker| {
        maker.span(&far, vec![Part::Far(MIB + 1)], MIB + 1)
    });
    let far = bytes.clone();
    assert_fails(&bytes, MIB, "ended 1 bytes early", move |maker| {
        maker.span(&far, vec![Part::Far(MIB)], MIB + 1)
    });
}

#[test]
fn a_feed_that_fails_before_anything_has_left_is_a_500() {
    for parts in [|| vec![Part::Failure], || vec![Part::LateFailure]] {
        let served = serve(ServerOptions::default(), move |maker| vec![maker.span(b"", parts(), 100)]);
        let mut client = Client::connect(served.server.addr);
        assert_eq!(client.get("/", "").reply().status, 500);
        client.expect_closed();
        assert!(matches!(served.events.ending(100), Event::Failed(0, _)));
    }
}

#[test]
fn a_feed_that_miscounts_costs_its_own_connection_only() {
    let bytes = b"hello";
    assert_fails(bytes, 5, "moved fewer bytes than it said", |maker| {
        maker.span(b"", vec![Part::Lie(bytes, 6)], 100)
    });
    assert_fails(bytes, 5, "moved 96 bytes where 95 were requested", |maker| {
        maker.span(b"", vec![Part::Lie(bytes, 5), Part::Lie(bytes, 96)], 100)
    });
    // Bytes that were not counted stay behind in the pipe: nobody else may get them.
    let served = serve(ServerOptions::default(), |maker| {
        vec![maker.span(b"", vec![Part::Lie(b"okay", 2), Part::Memory(Bytes::from_static(b"!"))], 3)]
    });
    let mut client = Client::connect(served.server.addr);
    for _ in 0..20 {
        assert_eq!(client.get("/", "").reply().text(), "ok!");
    }
}

#[test]
fn a_feed_that_announces_in_vain_is_asked_again() {
    let served = serve(ServerOptions::default(), |maker| {
        let parts = vec![Part::Vain(1), Part::Far(3), Part::Vain(1000), Part::Far(2)];
        vec![maker.span(b"hello", parts, 5)]
    });
    assert_eq!(served.get(b"hello"), (5, 0), "spliced, copied");
}

/// Serves bytes, the first of which come at once. Then nothing more comes.
fn serve_silence() -> (Served, Receiver<()>, usize) {
    let (told, silent) = channel();
    let bytes = pattern(100_000, 149);
    let len = bytes.len();
    let served = serve(ServerOptions::default(), move |maker| {
        let parts = vec![Part::Far(len), Part::Silence(told.clone())];
        vec![maker.span(&bytes, parts, len + 1)]
    });
    (served, silent, len)
}

#[test]
fn a_client_that_resets_while_the_feed_makes_it_wait_aborts_the_delivery() {
    let (served, _silent, len) = serve_silence();
    let mut client = Client::connect(served.server.addr);
    client.get("/", "").take_until(b"\r\n\r\n").expect("a head");
    client.take(len).expect("the bytes before the silence");
    client.reset();
    let end = served.events.ending(len as u64 + 1);
    assert!(matches!(&end, Event::Aborted(at, AbortReason::Disconnected(_)) if *at == len as u64), "{end:?}");
}

#[test]
fn a_client_that_half_closes_while_the_feed_makes_it_wait_gets_the_rest() {
    let (first, second) = (pattern(100_000, 151), pattern(200_000, 157));
    let want = [&*first, &*second].concat();
    // The second half comes when the test says so.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = listener.local_addr().expect("an address");
    let len = want.len();
    let served = serve(ServerOptions::default(), move |maker| {
        let here = StdStream::connect(addr).expect("connected");
        here.set_nonblocking(true).expect("a socket");
        vec![span(maker.feed(here, vec![Part::Far(len)]), len)]
    });
    let mut client = Client::connect(served.server.addr);
    client.get("/", "");
    let (mut far, _) = listener.accept().expect("accepted");
    far.write_all(&first).expect("sent");
    client.take_until(b"\r\n\r\n").expect("a head");
    assert_same(&client.take(first.len()).expect("the first half"), &first, "the first half");
    client.finish();
    far.write_all(&second).expect("sent");
    assert_same(&client.take(second.len()).expect("the second half"), &second, "the second half");
    assert_eq!(served.events.ending(len as u64), Event::Completed(len as u64));
}

#[test]
fn a_client_that_resets_while_bytes_are_spliced_aborts_the_delivery() {
    let far = pattern(LARGE, 139);
    let served = serve(ServerOptions::default(), move |maker| vec![maker.far(&far)]);
    let mut client = Client::connect_narrow(served.server.addr, 16 * KIB);
    client.get("/", "").take(100_000).expect("the first bytes");
    client.reset();
    let end = served.events.ending(LARGE as u64);
    let Event::Aborted(sum, AbortReason::Disconnected(why)) = end else { panic!("ended by {end:?}") };
    assert!((90_000..LARGE as u64).contains(&sum), "{sum} bytes");
    assert!(!why.is_empty());
}

/// Runs the test of this name again in a process that has no other one, for `work` that looks at all descriptors.
#[track_caller]
fn alone(name: &str, work: impl FnOnce()) {
    const ALONE: &str = "OUTFLOW_TEST_ALONE";
    if std::env::var_os(ALONE).is_some_and(|alone| *alone == *name) {
        return work();
    }
    let mut command = std::process::Command::new(std::env::current_exe().expect("this program"));
    let output = command.args([name, "--exact", "--nocapture"]).env(ALONE, name).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// How many ends of pipes this process holds.
fn pipe_ends() -> usize {
    let descriptors = std::fs::read_dir("/proc/self/fd").expect("descriptors");
    let targets = descriptors.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    targets.filter(|target| target.to_string_lossy().starts_with("pipe:")).count()
}

#[test]
fn pipes_are_given_back() {
    alone("splicing::pipes_are_given_back", || {
        let before = pipe_ends();
        let bytes = pattern(3 * MIB, 163);
        let far = bytes.clone();
        let (silent, silence) = channel();
        let large = pattern(LARGE, 167);
        let requests = AtomicU64::new(0);
        let served = serve(ServerOptions::default(), move |maker| {
            match requests.fetch_add(1, Relaxed) {
                // The first delivery waits for ever, and the last one for its client.
                0 => vec![maker.span(&far, vec![Part::Far(100), Part::Silence(silent.clone())], 101)],
                6 => vec![maker.far(&large)],
                _ => vec![maker.far(&far), Span::Memory(Bytes::from_static(b"end"))],
            }
        });
        let mut waiting = Client::connect(served.server.addr);
        waiting.get("/", "");
        for _ in 0..2 {
            // The first time it might still wait for a moment only.
            silence.recv_timeout(PATIENCE).expect("the feed to be asked");
        }
        let mut client = Client::connect(served.server.addr);
        for _ in 0..5 {
            assert_same(&client.get("/", "").reply().body, &[&*bytes, b"end"].concat(), "body");
            assert_eq!(pipe_ends(), before + 2, "one pipe is enough for deliveries one after the other");
        }
        let mut slow = Client::connect_narrow(served.server.addr, 16 * KIB);
        slow.get("/", "").take_until(b"\r\n\r\n").expect("a head");
        served.behind.recv_timeout(PATIENCE).expect("the client to be behind, and bytes to be in the pipe");
        assert_eq!(pipe_ends(), before + 2);
        // What is in a pipe belongs to one client: it is closed and not used again.
        slow.reset();
        waiting.reset();
        drop(client);
        served.server.counted();
        assert_eq!(pipe_ends(), before, "spare pipes are closed with their thread");
    });
}

#[test]
fn without_a_descriptor_to_spare_the_bytes_are_copied() {
    alone("splicing::without_a_descriptor_to_spare_the_bytes_are_copied", || {
        let bytes = pattern(MIB, 173);
        // Once with descriptors, on a thread whose spare pipes end with it.
        let far = bytes.clone();
        let served = serve(ServerOptions::default(), move |maker| vec![maker.far(&far)]);
        assert_eq!(served.get(&bytes), (MIB as u64, 0), "spliced, copied");

        let far = bytes.clone();
        let served = serve(ServerOptions::default(), move |maker| vec![maker.far_without_descriptors(&far)]);
        let asked = Arc::clone(&served.asked);
        let (spliced, copied) = served.get(&bytes);
        assert_eq!(spliced + copied, MIB as u64);
        assert!(copied > 0, "a pipe came from nowhere");
        assert!(asked.spliceable.load(Relaxed) > 0);
    });
}
