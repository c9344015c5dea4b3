//! The fetching, against an origin on a real socket that misbehaves as it is told to.

use std::future::poll_fn;
use std::ops::Range;
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use object_store::memory::InMemory;
use object_store::path::Path;
use outflow_content::{Feed, SpanError};
use outflow_metrics::MetricRegistry;
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;

use crate::fetch::engine::Engine;
use crate::fetch::memory::{BUFFER, EvictionOffer, MemoryShare, PieceHolder, SegmentMemory};
use crate::fetch::plain::{PlainAddresses, PlainUrl};
use crate::fetch::reader::ObjectReader;
use crate::fetch::requests::StoreFacts;
use crate::object::Object;

/// How the origin answers one request.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Act {
    Well,
    Status(u16),
    /// Fewer bytes than announced: closes after so many.
    Short(u64),
    /// The same with an RST.
    Reset(u64),
    /// More bytes than announced.
    Long,
    WrongRange,
    Whole,
    WrongLength,
    OtherTag,
    /// The bit at this offset of the object is flipped.
    Flipped(u64),
    /// Closes without an answer.
    Mute,
    /// Never answers.
    Silent,
    /// Sends the body in pieces of so many bytes, with rests of 1 ms.
    Trickle(usize),
}

type Play = dyn Fn(usize, &Range<u64>) -> Act + Send + Sync;

/// An HTTP origin with one object.
struct Origin {
    port: u16,
    size: u64,
    requests: Arc<AtomicUsize>,
    served: Arc<AtomicUsize>,
    open: Arc<AtomicUsize>,
    most_open: Arc<AtomicUsize>,
    ranges: Arc<Mutex<Vec<Range<u64>>>>,
}

const TAG: &str = "\"v1\"";

/// Eight bytes of each number, mixed.
fn pattern(range: Range<u64>) -> Vec<u8> {
    let words = range.start / 8..range.end.div_ceil(8);
    let mixed = words.flat_map(|word| word.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    mixed.skip((range.start % 8) as usize).take((range.end - range.start) as usize).collect()
}

impl Origin {
    async fn start(size: u64, play: impl Fn(usize, &Range<u64>) -> Act + Send + Sync + 'static) -> Origin {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = Origin {
            port: listener.local_addr().unwrap().port(),
            size,
            requests: Arc::default(),
            served: Arc::default(),
            open: Arc::default(),
            most_open: Arc::default(),
            ranges: Arc::default(),
        };
        let play: Arc<Play> = Arc::new(play);
        let (requests, served) = (Arc::clone(&origin.requests), Arc::clone(&origin.served));
        let (open, most_open) = (Arc::clone(&origin.open), Arc::clone(&origin.most_open));
        let ranges = Arc::clone(&origin.ranges);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (play, requests, served) =
                    (Arc::clone(&play), Arc::clone(&requests), Arc::clone(&served));
                let (open, most_open, ranges) =
                    (Arc::clone(&open), Arc::clone(&most_open), Arc::clone(&ranges));
                tokio::spawn(async move {
                    let now = open.fetch_add(1, Ordering::SeqCst) + 1;
                    most_open.fetch_max(now, Ordering::SeqCst);
                    let _ = serve(stream, size, &*play, &requests, &served, &ranges).await;
                    open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        origin
    }

    fn engine(&self, connections: usize, memory: usize) -> Arc<Engine> {
        engine(self.port, connections, memory, false)
    }

    fn object(&self) -> Object {
        Object {
            key: "object".to_owned(),
            size: self.size,
            etag: Some(TAG.to_owned()),
            version: None,
            modified: None,
            crc32: None,
        }
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

async fn serve(
    mut stream: TcpStream,
    size: u64,
    play: &Play,
    requests: &AtomicUsize,
    served: &AtomicUsize,
    ranges: &Mutex<Vec<Range<u64>>>,
) -> std::io::Result<()> {
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let byte = stream.read_u8().await?;
            head.push(byte);
        }
        let head = String::from_utf8(head).unwrap();
        assert!(head.contains(&format!("if-match: {TAG}\r\n")), "{head}");
        let range = head.split_once("range: bytes=").unwrap().1.split_once("\r\n").unwrap().0;
        let (first, last) = range.split_once('-').unwrap();
        let range = first.parse::<u64>().unwrap()..last.parse::<u64>().unwrap() + 1;
        ranges.lock().unwrap().push(range.clone());
        let act = play(requests.fetch_add(1, Ordering::SeqCst), &range);
        let len = range.end - range.start;
        let mut body = pattern(range.clone());
        let mut answer = format!(
            "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {}-{}/{size}\r\nContent-Length: {len}\r\nETag: {TAG}\r\n\r\n",
            range.start,
            range.end - 1
        );
        match act {
            Act::Well | Act::Short(_) | Act::Reset(_) | Act::Trickle(_) => {}
            Act::Silent => std::future::pending().await,
            Act::Status(status) => {
                let text = "<Error><Code>SlowDown</Code></Error>";
                let len = text.len();
                let answer =
                    format!("HTTP/1.1 {status} No\r\nRetry-After: 0\r\nContent-Length: {len}\r\n\r\n{text}");
                stream.write_all(answer.as_bytes()).await?;
                continue;
            }
            Act::Long => body.extend_from_slice(b"and more"),
            Act::WrongRange => answer = answer.replace("bytes ", "bytes 1"),
            Act::WrongLength => answer = answer.replace("Length: ", "Length: 1"),
            Act::OtherTag => answer = answer.replace(TAG, "\"v2\""),
            Act::Whole => {
                answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\nETag: {TAG}\r\n\r\n")
            }
            Act::Flipped(at) if range.contains(&at) => body[(at - range.start) as usize] ^= 1,
            Act::Flipped(_) => {}
            Act::Mute => return Ok(()),
        }
        stream.write_all(answer.as_bytes()).await?;
        match act {
            Act::Short(n) | Act::Reset(n) => {
                let n = (n.min(len)) as usize;
                stream.write_all(&body[..n]).await?;
                if matches!(act, Act::Reset(_)) {
                    stream.set_zero_linger()?;
                }
                return Ok(());
            }
            Act::Trickle(n) => {
                for piece in body.chunks(n) {
                    stream.write_all(piece).await?;
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
            _ => stream.write_all(&body).await?,
        }
        served.fetch_add(body.len(), Ordering::SeqCst);
    }
}

/// An engine whose requests all go to `port` over plain sockets.
fn engine(port: u16, connections: usize, memory: usize, hedge: bool) -> Arc<Engine> {
    let url = PlainUrl {
        host: "127.0.0.1".to_owned(),
        port,
        authority: format!("127.0.0.1:{port}"),
        target: "/object?secret".to_owned(),
        until: None,
    };
    assert!(!format!("{url:?}").contains("secret"));
    let facts = StoreFacts {
        // It has nothing: all goes over plain sockets here.
        client: Arc::new(InMemory::new()),
        prefix: Path::ROOT,
        plain: Some(PlainAddresses::Open(Arc::new(move |_| Some(url.clone())))),
        runtime: Handle::current(),
        connections,
        hedge,
        registry: MetricRegistry::default(),
    };
    Engine::new(facts, memory)
}

async fn next(reader: &mut ObjectReader) -> Option<Result<Bytes, SpanError>> {
    poll_fn(|cx| reader.poll_next(cx)).await
}

/// All bytes through memory.
async fn read(reader: &mut ObjectReader) -> Result<Vec<u8>, (Vec<u8>, SpanError)> {
    let mut all = Vec::new();
    while let Some(chunk) = next(reader).await {
        match chunk {
            Ok(chunk) => all.extend_from_slice(&chunk),
            Err(error) => return Err((all, error)),
        }
    }
    Ok(all)
}

/// All bytes, spliced where that is possible, and how many were.
async fn read_splicing(reader: &mut ObjectReader) -> Result<(Vec<u8>, u64), SpanError> {
    let (outlet, inlet) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC).unwrap();
    let (mut all, mut spliced) = (Vec::new(), 0);
    let mut room = vec![0; 1 << 20];
    loop {
        if poll_fn(|cx| reader.poll_spliceable(cx)).await? {
            let n = reader.splice(inlet.as_fd(), 1 << 20)?;
            let mut left = n;
            while left > 0 {
                let read = rustix::io::read(&outlet, &mut room[..left]).unwrap();
                all.extend_from_slice(&room[..read]);
                left -= read;
            }
            spliced += n as u64;
            continue;
        }
        match next(reader).await {
            Some(chunk) => all.extend_from_slice(&chunk?),
            None => return Ok((all, spliced)),
        }
    }
}

fn whole(engine: &Arc<Engine>, object: &Object) -> ObjectReader {
    ObjectReader::new(engine, &Arc::new(object.clone()), 0..object.size)
}

/// Nothing is held any more.
async fn assert_clean(engine: &Arc<Engine>) {
    // Tasks that were given up end at their next turn.
    while engine.memory().used() > 0 {
        tokio::task::yield_now().await;
    }
}

const SIZE: u64 = 5_000_003;

#[tokio::test]
async fn all_bytes_come_in_order_and_nothing_is_asked_twice() {
    let origin = Origin::start(SIZE, |_, _| Act::Well).await;
    let engine = origin.engine(64, 256 << 20);
    let object = origin.object();
    assert!(read(&mut whole(&engine, &object)).await.unwrap() == pattern(0..SIZE));
    assert_eq!(origin.served.load(Ordering::SeqCst) as u64, SIZE);
    let range = 1_234_567..2_345_678;
    let mut part = ObjectReader::new(&engine, &Arc::new(object), range.clone());
    assert!(read(&mut part).await.unwrap() == pattern(range));
    drop(part);
    assert_clean(&engine).await;
}

#[tokio::test]
async fn a_fast_recipient_gets_most_bytes_spliced_and_all_of_them_right() {
    let size = 40 << 20;
    let origin = Origin::start(size, |_, _| Act::Well).await;
    let engine = origin.engine(64, 256 << 20);
    let mut reader = whole(&engine, &origin.object());
    let (all, spliced) = read_splicing(&mut reader).await.unwrap();
    assert!(all == pattern(0..size));
    assert!(spliced >= size * 9 / 10, "{spliced}");
    assert_eq!(origin.served.load(Ordering::SeqCst) as u64, size);
    drop(reader);
    assert_clean(&engine).await;
}

#[tokio::test]
async fn every_fault_is_made_up_for() {
    let faults = [
        Act::Status(500),
        Act::Status(503),
        Act::Status(429),
        Act::Status(403),
        Act::Short(0),
        Act::Short(70_000),
        Act::Reset(100_000),
        Act::Reset(3),
        Act::Long,
        Act::WrongRange,
        Act::WrongLength,
        Act::Whole,
        Act::Mute,
    ];
    for fault in faults {
        // Each request fails at first, whatever it asks for.
        let denied = matches!(fault, Act::Status(403));
        let play = move |n: usize, _: &Range<u64>| {
            if n.is_multiple_of(2) && (n < 6 || !denied) { fault } else { Act::Well }
        };
        let origin = Origin::start(SIZE, play).await;
        let engine = origin.engine(64, 256 << 20);
        let all = read(&mut whole(&engine, &origin.object())).await;
        assert!(all.is_ok_and(|all| all == pattern(0..SIZE)), "{fault:?}");
        let (all, _) = read_splicing(&mut whole(&engine, &origin.object())).await.unwrap();
        assert!(all == pattern(0..SIZE), "{fault:?}, spliced");
        assert!(origin.requests() > 2);
        assert_clean(&engine).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_does_not_get_better_ends_with_a_reason() {
    for (act, reason) in [
        (Act::Status(412), "another version"),
        (Act::Status(404), "does not have it any more"),
        (Act::Status(403), "refuses access"),
        (Act::Status(400), "answered 400: SlowDown"),
        (Act::Status(500), "answered 500: SlowDown, even after several tries"),
        (Act::OtherTag, "its tag in the store is \"v2\""),
        (Act::WrongRange, "another range"),
    ] {
        let play = move |_: usize, range: &Range<u64>| if range.start >= 1 << 20 { act } else { Act::Well };
        let origin = Origin::start(SIZE, play).await;
        let engine = origin.engine(64, 256 << 20);
        let (got, error) = read(&mut whole(&engine, &origin.object())).await.unwrap_err();
        assert!(got == pattern(0..got.len() as u64) && got.len() >= 1 << 20, "{act:?}");
        assert!(error.to_string().contains(reason), "{error}");
        let changed = matches!(act, Act::Status(412 | 404) | Act::OtherTag);
        assert_eq!(matches!(error, SpanError::Changed { .. }), changed, "{error}");
        let error = read_splicing(&mut whole(&engine, &origin.object())).await.unwrap_err();
        assert!(error.to_string().contains(reason), "{error}");
    }
}

#[tokio::test]
async fn wrong_bytes_are_fetched_again_once() {
    let crc32 = crc32fast::hash(&pattern(0..SIZE));
    // In the piece that is handed out last.
    let play = |n: usize, range: &Range<u64>| {
        if range.end == SIZE && n < 20 { Act::Flipped(SIZE - 5) } else { Act::Well }
    };
    let once = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&once);
    let origin = Origin::start(SIZE, move |n, range: &Range<u64>| {
        if range.end == SIZE && count.fetch_add(1, Ordering::SeqCst) > 0 { Act::Well } else { play(n, range) }
    })
    .await;
    let engine = origin.engine(64, 256 << 20);
    let object = Object { crc32: Some(crc32), ..origin.object() };
    assert!(read(&mut whole(&engine, &object)).await.unwrap() == pattern(0..SIZE));
    assert_eq!(once.load(Ordering::SeqCst), 2);

    for flipped in [0, 3_000_000, SIZE - 1] {
        let origin = Origin::start(SIZE, move |_, _| Act::Flipped(flipped)).await;
        let engine = origin.engine(64, 256 << 20);
        let object = Object { crc32: Some(crc32), ..origin.object() };
        let (got, error) = read(&mut whole(&engine, &object)).await.unwrap_err();
        assert!(matches!(error, SpanError::Changed { .. }), "{error}");
        assert!((got.len() as u64) < SIZE, "the last bytes of a wrong file must not leave");
    }
}

#[tokio::test]
async fn many_recipients_cost_the_store_one() {
    let origin = Origin::start(SIZE, |_, _| Act::Well).await;
    let engine = origin.engine(64, 256 << 20);
    let object = origin.object();
    let mut readers: Vec<ObjectReader> = (0..50).map(|_| whole(&engine, &object)).collect();
    let last = readers.pop().unwrap();
    // Those who leave in the middle hurt nobody, whoever asked first.
    let leavers = readers.split_off(25);
    let tasks: Vec<_> = leavers
        .into_iter()
        .map(|mut reader| tokio::spawn(async move { next(&mut reader).await.unwrap().unwrap().len() }))
        .collect();
    let stayers: Vec<_> = readers
        .into_iter()
        .map(|mut reader| tokio::spawn(async move { read_splicing(&mut reader).await.unwrap() }))
        .collect();
    for task in tasks {
        assert!(task.await.unwrap() > 0);
    }
    for task in stayers {
        let (all, spliced) = task.await.unwrap();
        assert!(all == pattern(0..SIZE));
        assert_eq!(spliced, 0);
    }
    assert_eq!(origin.served.load(Ordering::SeqCst) as u64, SIZE);
    // One who comes later finds what the others have left.
    let mut last = last;
    assert!(read(&mut last).await.unwrap() == pattern(0..SIZE));
    assert_eq!(origin.served.load(Ordering::SeqCst) as u64, SIZE);
    drop(last);
    assert_clean(&engine).await;
}

#[tokio::test]
async fn memory_and_connections_stay_within_their_bounds() {
    let size = 3 << 20;
    let origin = Origin::start(size, |_, _| Act::Well).await;
    let limit = 8 << 20;
    let engine = origin.engine(4, limit);
    let tasks: Vec<_> = (0..40)
        .map(|n| {
            let object = Object { key: format!("object {n}"), ..origin.object() };
            let engine = Arc::clone(&engine);
            tokio::spawn(async move {
                let mut reader = whole(&engine, &object);
                let mut all = Vec::new();
                while let Some(chunk) = next(&mut reader).await {
                    all.extend_from_slice(&chunk.unwrap());
                    assert!(engine.memory().used() <= limit, "{}", engine.memory().used());
                    // A slow one in four.
                    for _ in 0..if n % 4 == 0 { 200 } else { 0 } {
                        tokio::task::yield_now().await;
                    }
                }
                assert!(all == pattern(0..size));
            })
        })
        .collect();
    // These have what they may have, and take no more of it.
    let mut stalled = Vec::new();
    for n in 100..140 {
        let object = Object { key: format!("object {n}"), ..origin.object() };
        let mut reader = whole(&engine, &object);
        assert!(!next(&mut reader).await.unwrap().unwrap().is_empty());
        stalled.push(reader);
    }
    for task in tasks {
        task.await.unwrap();
    }
    assert!(origin.most_open.load(Ordering::SeqCst) <= 4);
    // What had to give way is fetched again.
    for mut reader in stalled.drain(..) {
        let rest = read(&mut reader).await.unwrap();
        assert!(rest == pattern(size - rest.len() as u64..size));
    }
    assert_clean(&engine).await;
}

#[tokio::test]
async fn whoever_falls_behind_holds_no_connection() {
    let size = 20 << 20;
    let origin = Origin::start(size, |_, _| Act::Well).await;
    let engine = origin.engine(64, 256 << 20);
    let mut reader = whole(&engine, &origin.object());
    let mut all = Vec::new();
    while !poll_fn(|cx| reader.poll_spliceable(cx)).await.unwrap() {
        all.extend_from_slice(&next(&mut reader).await.unwrap().unwrap());
    }
    reader.fall_behind();
    // Polled by nobody, the segment still arrives, and what it needed is given back.
    let before = origin.requests();
    poll_fn(|cx| {
        cx.waker().wake_by_ref();
        if engine.requests().is_idle() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    assert_eq!(origin.requests(), before);
    let (rest, _) = read_splicing(&mut reader).await.unwrap();
    all.extend_from_slice(&rest);
    assert!(all == pattern(0..size));
    assert_eq!(origin.served.load(Ordering::SeqCst) as u64, size);
}

#[tokio::test]
async fn a_segment_that_comes_in_small_pieces_is_handed_over_to_its_end() {
    let begun = tokio::time::Instant::now();
    let size = 200_000;
    let origin = Origin::start(size, |_, _| Act::Trickle(10_000)).await;
    let engine = origin.engine(64, 256 << 20);
    let mut reader = whole(&engine, &origin.object());
    // It waits, so the first bytes leave on their own. Then it does not wait while all others come.
    let mut all = next(&mut reader).await.unwrap().unwrap().to_vec();
    assert!(all.len() < size as usize);
    while origin.served.load(Ordering::SeqCst) < size as usize {
        tokio::task::yield_now().await;
    }
    all.extend_from_slice(&read(&mut reader).await.unwrap());
    assert!(all == pattern(0..size));
    // The last of them did not lie in a buffer until the store was given up.
    assert!(begun.elapsed() < crate::fetch::shared::STALLED);
}

#[tokio::test]
async fn a_late_answer_is_asked_for_twice_but_seldom() {
    let known = 25;
    let origin = Origin::start(1_000, move |n, _| if n == known { Act::Silent } else { Act::Well }).await;
    let engine = engine(origin.port, 64, 256 << 20, true);
    let object = |n: usize| Object { key: format!("object {n}"), ..origin.object() };
    for n in 0..=known {
        assert!(read(&mut whole(&engine, &object(n))).await.unwrap() == pattern(0..1_000));
    }
    let hedged = engine.requests().counters().hedged.load(Ordering::SeqCst);
    assert!(hedged >= 1, "the silent request was made up for");
    assert!(hedged * 20 <= engine.requests().counters().requests.load(Ordering::SeqCst));
    assert!(engine.requests().is_idle());
}

#[tokio::test]
async fn memory_comes_back_when_the_last_clone_goes() {
    let memory = SegmentMemory::new(4 * BUFFER);
    let mut reservation = memory.reserve(2 * BUFFER).await.unwrap();
    let mut buffer = reservation.buffer(BUFFER);
    buffer.spare()[..3].copy_from_slice(b"abc");
    buffer.fill(3);
    drop(reservation);
    assert_eq!(memory.used(), BUFFER);
    let bytes = buffer.freeze();
    let clone = bytes.clone();
    drop(bytes);
    assert_eq!((&clone[..], memory.used()), (&b"abc"[..], BUFFER));
    drop(clone);
    assert_eq!(memory.used(), 0);
}

#[tokio::test]
async fn whoever_waits_gets_what_others_can_miss() {
    struct Cache(Mutex<Option<Bytes>>);
    impl PieceHolder for Cache {
        fn offers(&self, _: u64, offer: &mut dyn FnMut(EvictionOffer)) {
            if let Some(bytes) = &*self.0.lock().unwrap() {
                offer(EvictionOffer { start: 0, len: bytes.len(), spare: 1 });
            }
        }
        fn evict(&self, _: u64) {
            self.0.lock().unwrap().take();
        }
    }
    let memory = SegmentMemory::new(BUFFER);
    let buffer = memory.reserve(BUFFER).await.unwrap().buffer(BUFFER);
    let cache: Arc<dyn PieceHolder> = Arc::new(Cache(Mutex::new(Some(buffer.freeze()))));
    assert_eq!(memory.used(), BUFFER);
    assert!(memory.try_reserve(BUFFER).is_none());
    memory.register(Arc::downgrade(&cache));
    assert!(memory.reserve(BUFFER).await.is_some());
}

#[test]
fn nobody_may_take_all() {
    let memory = SegmentMemory::new(256 << 20);
    assert_eq!(memory.fair_share(), 48 << 20);
    let shares: Vec<MemoryShare> = (0..300).map(|_| memory.share()).collect();
    assert_eq!(memory.fair_share(), (192 << 20) / 301);
    drop(shares);
    assert_eq!(memory.fair_share(), 48 << 20);
}
