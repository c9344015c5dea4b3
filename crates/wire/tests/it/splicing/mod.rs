//! Feeds whose bytes lie in another socket: moved by the kernel, copied, and both in one response.

mod parts;

use std::io::Write as _;
use std::net::{TcpListener, TcpStream as StdStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use bytes::Bytes;
use outflow_content::{AbortReason, Content, Span};
use outflow_wire::{SendPath, ServerOptions};
use parking_lot::Mutex;

use crate::support::{
    Event, Events, PATIENCE, Running, alone, assert_same, noise, serve_content_with, watcher,
};

use self::parts::{Asked, Maker, Once, Part, span};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// More than all buffers on the way take.
const LARGE: usize = 32 * MIB;

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
        let spans = spans(&maker.lock());
        let len = spans.iter().map(Span::len).sum();
        let content = Content::new(Arc::new(Once(Mutex::new(spans.into()), len)));
        match observer.lock().take() {
            Some(observer) => content.observer(observer),
            None => content,
        }
    });
    Served { server, events, asked, behind }
}

impl Served {
    /// GETs everything, and how many of the bytes were spliced and how many copied. Nothing follows
    /// them.
    #[track_caller]
    fn get(self, want: &[u8]) -> (u64, u64) {
        let mut client = self.server.client();
        let reply = client.request("GET", "/", "Connection: close\r\n").reply();
        assert_same(&reply.body, want, "body");
        client.expect_closed();
        // Or the server lingers for a while.
        drop(client);
        assert_eq!(self.events.ending(want.len() as u64), Event::Completed(want.len() as u64));
        let counters = self.server.counted();
        assert_eq!(counters.body.of(SendPath::Sendfile).get(), 0);
        (counters.body.of(SendPath::Splice).get(), counters.body.of(SendPath::Copy).get())
    }
}

#[test]
fn what_can_be_spliced_is_spliced_to_the_last_byte() {
    for len in [1, 1000, 64 * KIB, MIB, MIB + 1, 2 * MIB, 9 * MIB + 77] {
        let bytes = noise(101, len);
        let far = bytes.clone();
        let served = serve(ServerOptions::default(), move |maker| vec![maker.far(&far)]);
        assert_eq!(served.get(&bytes), (len as u64, 0), "spliced, copied");
    }
}

#[test]
fn without_leave_to_use_the_kernel_everything_is_copied() {
    let bytes = noise(103, 3 * MIB);
    let far = bytes.clone();
    let options = ServerOptions { sendfile: false, ..ServerOptions::default() };
    let served = serve(options, move |maker| vec![maker.far(&far)]);
    let asked = Arc::clone(&served.asked);
    assert_eq!(served.get(&bytes), (0, bytes.len() as u64), "spliced, copied");
    assert_eq!((asked.spliceable.load(Relaxed), asked.spliced.load(Relaxed)), (0, 0));
}

#[test]
fn spliced_and_copied_bytes_take_turns_within_a_span() {
    let bytes = Bytes::from(noise(107, 6 * MIB));
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
    // Headers between bodies of all sizes, each from a socket of its own, gathered with the head or
    // not.
    let sizes = [10, 70_000, 1, 40 * KIB, 3 * MIB, 0, 48 * KIB, 500, 2 * MIB + 1, 17];
    let entries: Vec<(Bytes, Bytes)> = (0..)
        .zip(sizes)
        .map(|(seed, size)| (noise(seed, 30 + size % 50).into(), noise(seed + 100, size).into()))
        .collect();
    let directory = Bytes::from(noise(109, 60 * KIB));
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
    let bytes = noise(113, 2 * MIB);
    let far = bytes.clone();
    let served = serve(ServerOptions::default(), move |maker| {
        let more = || vec![Part::Far(far.len())];
        vec![maker.span(&far, more(), MIB + 1), maker.span(&far, more(), 10)]
    });
    let mut client = served.server.client();
    let want = [&bytes[..MIB + 1], &bytes[..10]].concat();
    for _ in 0..3 {
        assert_same(&client.request("GET", "/", "").reply().body, &want, "body");
    }
    drop(client);
    assert_eq!(served.server.counted().body.of(SendPath::Splice).get(), 3 * want.len() as u64);
}

#[test]
fn the_rest_comes_from_memory_when_the_client_falls_behind() {
    let bytes = noise(127, LARGE);
    let far = bytes.clone();
    let served = serve(ServerOptions::default(), move |maker| vec![maker.far_until_behind(&far)]);
    let mut client = served.server.narrow_client(16 * KIB);
    client.request("GET", "/", "Connection: close\r\n").take_until(b"\r\n\r\n").expect("a head");
    served.behind.recv_timeout(PATIENCE).expect("to fall behind");
    assert_same(&client.read_to_end().expect("an orderly end"), &bytes, "body");
    drop(client);
    assert_eq!(served.events.ending(LARGE as u64), Event::Completed(LARGE as u64));
    let counters = served.server.counted();
    assert_eq!(
        counters.body.of(SendPath::Splice).get() + counters.body.of(SendPath::Copy).get(),
        LARGE as u64
    );
    assert!(
        counters.body.of(SendPath::Splice).get() > 0 && counters.body.of(SendPath::Copy).get() > 0,
        "{counters:?}"
    );
}

#[test]
fn a_client_that_takes_nothing_more_is_cut_off_as_stalled() {
    let options = ServerOptions { stall_timeout: Duration::from_millis(300), ..ServerOptions::default() };
    let far = noise(131, LARGE);
    let served = serve(options, move |maker| vec![maker.far(&far)]);
    let mut client = served.server.narrow_client(16 * KIB);
    client.request("GET", "/", "");
    let end = served.events.ending(LARGE as u64);
    assert!(matches!(end, Event::Aborted(_, AbortReason::Stalled)), "{end:?}");
    assert!(served.asked.behind.load(Relaxed) > 0, "was not told that the client is slow");
    client.take_until(b"\r\n\r\n").expect("a head");
    client.expect_cut(LARGE);
}

/// GETs what such a span yields, the first `sent` of `bytes`, and wants the connection cut behind
/// them.
#[track_caller]
fn assert_fails(bytes: &[u8], sent: usize, why: &str, span: impl Fn(&Maker) -> Span + Send + Sync + 'static) {
    let served = serve(ServerOptions::default(), move |maker| vec![span(maker), maker.far(b"behind it")]);
    let mut client = served.server.client();
    let received = client.request("GET", "/", "").expect_cut(usize::MAX);
    // What waited for more when the connection was cut has not even left, the head perhaps
    // included.
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
    let bytes = noise(137, MIB);
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
        let mut client = served.server.client();
        assert_eq!(client.request("GET", "/", "").reply().status, 500);
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
    let mut client = served.server.client();
    for _ in 0..20 {
        assert_eq!(client.request("GET", "/", "").reply().text(), "ok!");
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
    let bytes = noise(149, 100_000);
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
    let mut client = served.server.client();
    client.request("GET", "/", "").take_until(b"\r\n\r\n").expect("a head");
    client.take(len).expect("the bytes before the silence");
    client.reset();
    let end = served.events.ending(len as u64 + 1);
    assert!(matches!(&end, Event::Aborted(at, AbortReason::Disconnected(_)) if *at == len as u64), "{end:?}");
}

#[test]
fn a_client_that_half_closes_while_the_feed_makes_it_wait_gets_the_rest() {
    let (first, second) = (noise(151, 100_000), noise(157, 200_000));
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
    let mut client = served.server.client();
    client.request("GET", "/", "");
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
    let far = noise(139, LARGE);
    let served = serve(ServerOptions::default(), move |maker| vec![maker.far(&far)]);
    let mut client = served.server.narrow_client(16 * KIB);
    client.request("GET", "/", "").take(100_000).expect("the first bytes");
    client.reset();
    let end = served.events.ending(LARGE as u64);
    let Event::Aborted(sum, AbortReason::Disconnected(why)) = end else { panic!("ended by {end:?}") };
    assert!((90_000..LARGE as u64).contains(&sum), "{sum} bytes");
    assert!(!why.is_empty());
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
        let bytes = noise(163, 3 * MIB);
        let far = bytes.clone();
        let (silent, silence) = channel();
        let large = noise(167, LARGE);
        let requests = AtomicU64::new(0);
        let served = serve(ServerOptions::default(), move |maker| {
            match requests.fetch_add(1, Relaxed) {
                // The first delivery waits for ever, and the last one for its client.
                0 => vec![maker.span(&far, vec![Part::Far(100), Part::Silence(silent.clone())], 101)],
                6 => vec![maker.far(&large)],
                _ => vec![maker.far(&far), Span::Memory(Bytes::from_static(b"end"))],
            }
        });
        let mut waiting = served.server.client();
        waiting.request("GET", "/", "");
        for _ in 0..2 {
            // The first time it might still wait for a moment only.
            silence.recv_timeout(PATIENCE).expect("the feed to be asked");
        }
        let mut client = served.server.client();
        for _ in 0..5 {
            assert_same(&client.request("GET", "/", "").reply().body, &[&*bytes, b"end"].concat(), "body");
            assert_eq!(pipe_ends(), before + 2, "one pipe is enough for deliveries one after the other");
        }
        let mut slow = served.server.narrow_client(16 * KIB);
        slow.request("GET", "/", "").take_until(b"\r\n\r\n").expect("a head");
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
        let bytes = noise(173, MIB);
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
