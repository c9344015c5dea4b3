//! HTTP/2, in the clear and within TLS: the same contents and bodies, the same ends, on streams.

use std::future::Future;
use std::io::Write as _;
use std::net::TcpStream;
use std::os::unix::fs::FileExt as _;
use std::pin::Pin;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;
use outflow_content::{AbortReason, Content, EntityTag, Feed, FeedSpan, Span, SpanError, SpanList, Spans};
use outflow_wire::rustls::ClientConfig;
use outflow_wire::{PeerAddr, RequestBody, Secure, ServerOptions, TlsOptions, ViaProxy, upgrade};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::sending::Fed;
use crate::support::frames::{
    CANCEL, DATA, END, END_HEADERS, Framed, GOAWAY, HEADERS, PING, RST_STREAM, block,
};
use crate::support::h2::{H2, collect, request, run, whole};
use crate::support::{
    Answer, AnyBody, Client, Event, Identity, PATIENCE, Running, TestFile, assert_same, frames, locked,
    pattern, respond, serve_h2, serve_tls, temp, text, watcher,
};

const SHORT: Duration = Duration::from_millis(200);

/// A server that speaks HTTP/2 in one of the two ways.
struct At {
    server: Running,
    config: Option<Arc<ClientConfig>>,
}

impl At {
    async fn connect(&self) -> H2 {
        H2::connect(self.server.addr, self.config.as_ref()).await
    }
}

/// The same test in the clear and within TLS.
fn everywhere<F, A>(options: ServerOptions, service: F, test: impl AsyncFn(At))
where
    F: Fn(Request<RequestBody>) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Answer> + Send + 'static,
{
    run(test(At { server: serve_h2(options.clone(), service.clone()), config: None }));
    let identity = Identity::new();
    let server = serve_tls(options, identity.tls(&TlsOptions::default()), service);
    let config = identity.client(outflow_wire::rustls::ALL_VERSIONS, &[b"h2", b"http/1.1"]);
    run(test(At { server, config: Some(config) }));
}

fn content(request: &Request<RequestBody>, content: Content) -> Answer {
    Ok(respond(content, request.method(), request.headers()))
}

#[test]
fn contents_of_every_kind_arrive_equal() {
    let bytes = pattern(3_000_001, 1);
    let (_folder, path) = temp("film", &bytes);
    let file = TestFile::open(&path);
    let bytes = Bytes::from(bytes);
    let want = bytes.clone();
    let service = move |request: Request<RequestBody>| {
        let tag = EntityTag::strong("v1").expect("a tag");
        let answer = match request.uri().path() {
            "/file" => content(&request, file.content().etag(tag)),
            "/memory" => content(&request, Content::bytes(bytes.clone()).etag(tag)),
            "/feed" => content(&request, Content::new(Arc::new(Fed(bytes.clone(), bytes.len() as u64 - 3)))),
            "/mixed" => {
                let mut list = SpanList::new();
                list.push_bytes(Bytes::from_static(b"before"));
                list.push_file(file.span());
                list.push_bytes(Bytes::from_static(b"behind"));
                content(&request, Content::new(Arc::new(list)))
            }
            _ => content(&request, Content::bytes("")),
        };
        async move { answer }
    };
    everywhere(ServerOptions::default(), service, async |at| {
        let mut client = at.connect().await;
        let fed = [&want[..want.len() - 3], b"end"].concat();
        let mixed = [b"before", &want[..], b"behind"].concat();
        for (path, want) in [("/file", &want[..]), ("/memory", &want), ("/feed", &fed), ("/mixed", &mixed)] {
            let got = client.get(path, &[]).await;
            assert_eq!((got.status(), got.header("content-length")), (200, Some(&*want.len().to_string())));
            assert!(got.header("date").is_some());
            assert_same(&got.body, want, path);
            let part = client.get(path, &[("range", "bytes=100000-2345678")]).await;
            assert_eq!((part.status(), part.header("content-length")), (206, Some("2245679")));
            assert_same(&part.body, &want[100_000..2_345_679], "a range");
            let parts = client.get(path, &[("range", "bytes=0-0,3000000-")]).await;
            assert!(
                parts.header("content-type").is_some_and(|kind| kind.starts_with("multipart/byteranges"))
            );
            let text = parts.body.escape_ascii().to_string();
            assert_eq!(text.matches("Content-Range: bytes ").count(), 2, "{text}");
            assert!(parts.body.windows(want.len() - 3_000_000).any(|window| window == &want[3_000_000..]));
            assert_eq!(parts.header("content-length"), Some(&*parts.body.len().to_string()));
            let none = client.get(path, &[("range", "bytes=9000000-")]).await;
            assert_eq!(none.status(), 416);
            let head = client.ask(request(Method::HEAD, path, &[])).await;
            let head = whole(head).await.expect("a head");
            assert_eq!(head.header("content-length"), Some(&*want.len().to_string()));
            assert_eq!(head.body, b"");
        }
        let same = client.get("/file", &[("if-none-match", "\"v1\"")]).await;
        assert_eq!((same.status(), &same.body[..]), (304, &b""[..]));
        let empty = client.get("/empty", &[]).await;
        assert_eq!((empty.status(), empty.header("content-length"), empty.body.len()), (200, Some("0"), 0));
        assert_eq!(at.server.counters.connections(), 1);
        drop(client);
        assert_eq!(at.server.counted().sendfile_bytes(), 0);
    });
}

fn announcing(length: &'static str, body: AnyBody) -> Response<AnyBody> {
    let mut response = text("").map(|_| body);
    response.headers_mut().insert(http::header::CONTENT_LENGTH, HeaderValue::from_static(length));
    response
}

#[test]
fn copied_bodies_arrive_and_those_that_break_their_word_never_look_whole() {
    let large = Bytes::from(pattern(1_000_000, 7));
    let want = large.clone();
    let service = move |request: Request<RequestBody>| {
        let response = match request.uri().path() {
            "/large" => text(large.clone()),
            "/frames" => text("").map(|_| frames([Ok("one"), Ok(""), Ok("two")])),
            "/nothing" => text("").map(|_| frames([])),
            "/right" => announcing("5", frames([Ok("hello"), Ok("")])),
            "/fails" => text("").map(|_| frames([Ok("one"), Err("broken")])),
            "/fails-at-once" => text("").map(|_| frames([Err("broken")])),
            "/short" => announcing("10", frames([Ok("hello")])),
            "/short-empty" => announcing("10", frames([])),
            "/long" => announcing("5", frames([Ok("hello world")])),
            "/longer" => announcing("5", frames([Ok("hello"), Ok(" world")])),
            "/longer-later" => announcing("5", frames([Ok("hello"), Ok(""), Ok(" world")])),
            "/fails-behind" => announcing("5", frames([Ok("hello"), Err("and then it broke")])),
            "/not-nothing" => announcing("0", frames([Ok("hello")])),
            "/panics" => text("").map(|_| Panics(Some("half")).boxed_unsync()),
            other => panic!("{other}, as the test wants it"),
        };
        async move { Ok(response) }
    };
    everywhere(ServerOptions::default(), service, async |at| {
        let mut client = at.connect().await;
        assert_same(&client.get("/large", &[]).await.body, &want, "known");
        for (path, want, length) in
            [("/frames", "onetwo", None), ("/nothing", "", None), ("/right", "hello", Some("5"))]
        {
            let got = client.get(path, &[]).await;
            assert_eq!((got.text(), got.header("content-length")), (want, length), "{path}");
        }
        for path in [
            "/fails",
            "/fails-at-once",
            "/short",
            "/short-empty",
            "/long",
            "/longer",
            "/longer-later",
            "/fails-behind",
            "/not-nothing",
            "/panics",
        ] {
            let answer = client.ask(request(Method::GET, path, &[])).await;
            let error = whole(answer).await.expect_err(path);
            assert_eq!(error.reason(), Some(Reason::INTERNAL_ERROR), "{path}: {error}");
        }
        // One that panics costs its own stream only, too.
        let answer = client.ask(request(Method::GET, "/none", &[])).await;
        assert!(whole(answer).await.expect_err("a panic").is_reset());
        assert_same(&client.get("/large", &[]).await.body, &want, "behind all that");
        assert_eq!(at.server.counters.connections(), 1);
    });
}

/// One frame, and then a panic.
struct Panics(Option<&'static str>);

impl Body for Panics {
    type Data = Bytes;
    type Error = String;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, String>>> {
        match self.0.take() {
            Some(frame) if frame == "half" => {
                self.0 = Some("");
                Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(frame.as_bytes())))))
            }
            Some(_) => {
                // Once more, when what came before is on its way.
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            None => panic!("as the test wants it"),
        }
    }
}

#[test]
fn bodies_that_panic_keep_neither_the_room_nor_the_connection() {
    let large = Bytes::from(pattern(1_000_000, 7));
    let want = large.clone();
    let options = ServerOptions { keep_alive_timeout: SHORT, ..ServerOptions::default() };
    let service = move |request: Request<RequestBody>| {
        let response = match request.uri().path() {
            "/large" => text(large.clone()),
            _ => text("").map(|_| Panics(Some("half")).boxed_unsync()),
        };
        async move { Ok(response) }
    };
    everywhere(options, service, async |at| {
        let mut client = at.connect().await;
        for _ in 0..20 {
            let answer = client.ask(request(Method::GET, "/panics", &[])).await;
            assert!(whole(answer).await.is_err());
        }
        assert_same(&client.get("/large", &[]).await.body, &want, "behind them");
        // Nothing is waited for any more: it is closed as any idle one.
        client.driver.await.expect("no panic").expect("an orderly end");
    });
}

#[test]
fn a_content_that_fails_is_a_500_before_its_first_byte_and_a_reset_later() {
    let bytes = Bytes::from(pattern(1_000_000, 9));
    let fed = bytes.clone();
    let service = move |request: Request<RequestBody>| {
        // The feed ends early: at once, or in its middle.
        let have = if request.uri().path() == "/at-once" { 0 } else { 500_000 };
        let answer = content(&request, Content::new(Arc::new(Fed(fed.slice(..have), 1_000_000))));
        async move { answer }
    };
    everywhere(ServerOptions::default(), service, async |at| {
        let mut client = at.connect().await;
        let got = client.get("/at-once", &[]).await;
        assert_eq!(got.status(), 500);
        let got = client.ask(request(Method::GET, "/midway", &[])).await.await.expect("a head");
        assert_eq!(got.status(), 200);
        let (mut body, mut received) = (got.into_body(), Vec::new());
        let error = loop {
            match body.data().await.expect("no end") {
                Ok(data) => {
                    body.flow_control().release_capacity(data.len()).expect("received");
                    received.extend_from_slice(&data);
                }
                Err(error) => break error,
            }
        };
        assert_eq!(error.reason(), Some(Reason::INTERNAL_ERROR), "{error}");
        assert_same(&received, &bytes[..received.len()], "what came before");
        assert!(received.len() <= 500_000);
    });
}

#[test]
fn a_file_that_changes_under_way_is_cut() {
    const LEN: usize = 16 * 1024 * 1024;
    let (folder, path) = temp("file", &pattern(LEN, 11));
    let service_path = path.clone();
    let slot = Arc::new(Mutex::new(None));
    let watchers = Arc::clone(&slot);
    let service = move |request: Request<RequestBody>| {
        let observer = locked(&watchers).take().expect("a watcher");
        let answer = content(&request, TestFile::open(&service_path).content().observer(observer));
        async move { answer }
    };
    everywhere(ServerOptions::default(), service, async |at| {
        let (observer, events) = watcher();
        *locked(&slot) = Some(observer);
        let mut client = at.connect().await;
        let got = client.ask(request(Method::GET, "/", &[])).await.await.expect("a head");
        assert_eq!(got.status(), 200);
        let mut body = got.into_body();
        let first = body.data().await.expect("data").expect("data");
        let file = std::fs::OpenOptions::new().write(true).open(&path).expect("a file");
        file.write_all_at(b"X", LEN as u64 / 2).expect("overwritten");
        body.flow_control().release_capacity(first.len()).expect("received");
        let error = collect(body).await.expect_err("a whole body");
        assert_eq!(error.reason(), Some(Reason::INTERNAL_ERROR), "{error}");
        let Event::Failed(sum, why) = events.ending(LEN as u64) else { panic!("ended otherwise") };
        assert!(sum < LEN as u64 && why.contains("was changed"), "{sum}, {why}");
    });
    drop(folder);
}

#[test]
fn a_service_that_fails_is_a_500_and_to_head_without_a_body() {
    let service = |request: Request<RequestBody>| async move {
        match request.uri().path() {
            "/fire" => Err("the database is on fire".to_owned()),
            "/early" => {
                let mut response = text("");
                *response.status_mut() = StatusCode::EARLY_HINTS;
                Ok(response)
            }
            _ => Ok(text("fine")),
        }
    };
    everywhere(ServerOptions::default(), service, async |at| {
        let mut client = at.connect().await;
        for path in ["/fire", "/early"] {
            let got = client.get(path, &[]).await;
            assert_eq!(got.status(), 500);
            assert!(!got.text().contains("fire") && !got.text().is_empty(), "{}", got.text());
            let head = client.ask(request(Method::HEAD, path, &[])).await;
            let head = whole(head).await.expect("a head and nothing else");
            assert_eq!((head.status(), &head.body[..]), (500, &b""[..]));
            assert_eq!(head.header("content-length"), got.header("content-length"));
        }
        assert_eq!(client.get("/", &[]).await.text(), "fine");
    });
}

#[test]
fn what_only_http_1_knows_is_taken_out_of_answers() {
    let service = |_| async {
        let mut response = text("hello");
        for (name, value) in [
            ("connection", "close, x-hop"),
            ("x-hop", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "close"),
            ("upgrade", "websocket"),
            ("x-kept", "yes"),
        ] {
            let name = HeaderName::from_static(name);
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        Ok(response)
    };
    everywhere(ServerOptions::default(), service, async |at| {
        let got = at.connect().await.get("/", &[]).await;
        assert_eq!((got.text(), got.header("x-kept")), ("hello", Some("yes")));
        for name in ["connection", "x-hop", "keep-alive", "proxy-connection", "upgrade", "transfer-encoding"]
        {
            assert_eq!(got.header(name), None);
        }
    });
}

/// Answers with the body and what it was said to be long; on `/unread` without looking at the body.
async fn echo(request: Request<RequestBody>) -> Answer {
    if request.uri().path() == "/unread" {
        return Ok(text("not interested"));
    }
    let hint = request.body().size_hint().exact();
    let body = request.into_body().collect().await.map_err(|error| error.to_string())?.to_bytes();
    assert!(hint.is_none_or(|hint| hint == body.len() as u64), "{hint:?} announced");
    Ok(text(body))
}

/// Sends a body as the windows allow.
async fn send_body(mut to: h2::SendStream<Bytes>, mut body: Bytes) {
    while !body.is_empty() {
        to.reserve_capacity(body.len());
        let Some(Ok(room)) = std::future::poll_fn(|cx| to.poll_capacity(cx)).await else { return };
        let piece = body.split_to(room.min(body.len()));
        if to.send_data(piece, false).is_err() {
            return;
        }
    }
    let _ = to.send_data(Bytes::new(), true);
}

#[test]
fn request_bodies_are_read_as_the_service_asks_for_them() {
    everywhere(ServerOptions::default(), echo, async |at| {
        let mut client = at.connect().await;
        for len in [0, 1, 100_000, 3_000_000] {
            let body = Bytes::from(pattern(len, 13));
            let length = len.to_string();
            for fields in [&[][..], &[("content-length", &*length)]] {
                let (answer, to) = client.send(request(Method::POST, "/", fields), false).await;
                let sending = tokio::spawn(send_body(to, body.clone()));
                assert_same(&whole(answer).await.expect("an answer").body, &body, "the body");
                sending.await.expect("sent");
            }
        }
        // Bodies that nobody reads hold nothing up, however many come: their bytes are given back.
        for _ in 0..20 {
            let (answer, to) = client.send(request(Method::POST, "/unread", &[]), false).await;
            let sending = tokio::spawn(send_body(to, Bytes::from(vec![0; 3_000_000])));
            assert_eq!(whole(answer).await.expect("an answer").text(), "not interested");
            sending.await.expect("ended");
        }
        assert_eq!(client.get("/unread", &[]).await.text(), "not interested");
        assert_eq!(at.server.counters.connections(), 1);
    });
}

#[test]
fn a_request_body_that_stalls_or_is_reset_is_an_error_to_the_service() {
    let options = ServerOptions { stall_timeout: SHORT, ..ServerOptions::default() };
    let (told, heard) = channel();
    let service = move |request: Request<RequestBody>| {
        let told = told.clone();
        async move {
            let error = request.into_body().collect().await.map(|_| ()).expect_err("a whole body");
            let _ = told.send(error.to_string());
            Ok(text(error.to_string()))
        }
    };
    everywhere(options, service, async |at| {
        let mut client = at.connect().await;
        let (answer, mut to) = client.send(request(Method::POST, "/", &[]), false).await;
        to.send_data(Bytes::from_static(b"hello"), false).expect("sent");
        let got = whole(answer).await.expect("an answer");
        assert!(got.text().starts_with("the client sent nothing for"), "{}", got.text());
        heard.recv().expect("told");

        let (answer, mut to) = client.send(request(Method::POST, "/", &[]), false).await;
        to.send_data(Bytes::from_static(b"hello"), false).expect("sent");
        to.send_reset(Reason::CANCEL);
        assert!(whole(answer).await.is_err());
    });
}

#[test]
fn a_hundred_streams_at_the_same_time_get_their_own_bytes() {
    let bytes = pattern(400_000, 17);
    let (_folder, path) = temp("file", &bytes);
    let file = TestFile::open(&path);
    let memory = Bytes::from(bytes.clone());
    let service = move |request: Request<RequestBody>| {
        let n: usize = request.uri().path()[1..].parse().expect("a number");
        let answer = match n % 3 {
            0 => content(&request, file.content()),
            1 => content(&request, Content::new(Arc::new(Fed(memory.clone(), 399_997)))),
            _ => Ok(text(memory.clone())),
        };
        async move { answer }
    };
    everywhere(ServerOptions::default(), service, async |at| {
        let mut client = at.connect().await;
        let mut waiting = Vec::new();
        for n in 0..100_usize {
            let range = format!("bytes={}-", n * 3000);
            let answer = client.ask(request(Method::GET, &format!("/{n}"), &[("range", &range)])).await;
            waiting.push((n, tokio::spawn(whole(answer))));
        }
        for (n, got) in waiting {
            let got = got.await.expect("no panic").expect("a whole response");
            let from = if n % 3 == 2 { 0 } else { n * 3000 };
            let mut want = bytes[from..].to_vec();
            if n % 3 == 1 {
                let at = want.len() - 3;
                want[at..].copy_from_slice(b"end");
            }
            assert_same(&got.body, &want, &format!("stream {n}"));
        }
        assert_eq!(at.server.counters.connections(), 1);
    });
}

/// A big download takes all that its client reads; what is asked for meanwhile comes within a few megabytes of it.
#[test]
fn one_big_download_does_not_starve_small_ones() {
    const WITHIN: u64 = 24 * 1024 * 1024;
    let (_folder, path) = temp("file", b"");
    std::fs::File::options().write(true).open(&path).expect("a file").set_len(1 << 40).expect("holes");
    let file = TestFile::open(&path);
    let service = move |request: Request<RequestBody>| {
        let answer = match request.uri().path() {
            "/big" => content(&request, file.content()),
            _ => content(&request, Content::bytes("small")),
        };
        async move { answer }
    };
    everywhere(ServerOptions::default(), service, async |at| {
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(8 << 20).initial_connection_window_size(16 << 20);
        let mut client = H2::with(at.server.addr, at.config.as_ref(), &builder).await;
        let big = client.ask(request(Method::GET, "/big", &[])).await.await.expect("a head");
        let mut body = big.into_body();
        let read = Arc::new(Mutex::new(0_u64));
        let count = Arc::clone(&read);
        let reading = tokio::spawn(async move {
            while let Some(Ok(data)) = body.data().await {
                let _ = body.flow_control().release_capacity(data.len());
                *locked(&count) += data.len() as u64;
            }
        });
        let so_far = || *locked(&read);
        while so_far() < WITHIN {
            tokio::task::yield_now().await;
        }
        for _ in 0..10 {
            let before = so_far();
            assert_eq!(client.get("/small", &[]).await.text(), "small");
            let meanwhile = so_far() - before;
            assert!(meanwhile < WITHIN, "{meanwhile} bytes of the big one came first");
        }
        // And the big one goes on.
        let before = so_far();
        while so_far() < before + WITHIN {
            tokio::task::yield_now().await;
        }
        reading.abort();
    });
}

#[test]
fn a_stream_without_a_window_stalls_and_its_neighbours_do_not() {
    let options = ServerOptions { stall_timeout: SHORT, min_rate: u32::MAX, ..ServerOptions::default() };
    let (observer, events) = watcher();
    let observer = Mutex::new(Some(observer));
    let server = serve_h2(options, move |request| {
        let answer = match request.uri().path() {
            "/big" => {
                let observer = locked(&observer).take().expect("one");
                content(&request, Content::bytes(pattern(100_000, 3)).observer(observer))
            }
            "/copied" => Ok(text(pattern(100_000, 3))),
            _ => content(&request, Content::bytes("small")),
        };
        async move { answer }
    });
    // A thousand bytes for each stream, and no more.
    let mut client = Framed::connect(server.addr, &[(4, 1000)]);
    client.get(1, "/big").get(3, "/copied").get(5, "/small");
    let (mut small, mut resets) = (Vec::new(), Vec::new());
    while resets.len() < 2 {
        let frame = client.next(&[DATA, RST_STREAM]);
        match frame.kind {
            RST_STREAM => resets.push((frame.stream, frame.code())),
            _ if frame.stream == 5 => small.extend(frame.payload),
            _ => {}
        }
    }
    resets.sort_unstable();
    assert_eq!(resets, [(1, CANCEL), (3, CANCEL)]);
    assert_eq!(small, b"small");
    let (event, ending) = events.end(100_000);
    assert!(matches!(event, Event::Aborted(1000, AbortReason::Stalled)), "{event:?}, {ending:?}");
    assert_eq!(client.get(7, "/small").body(7), (b"small".to_vec(), None));
}

/// Tells when it is dropped.
struct Guard(#[allow(dead_code)] Sender<()>);

/// Never yields.
struct Silent(#[allow(dead_code)] Guard);

impl Body for Silent {
    type Data = Bytes;
    type Error = String;
    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, String>>> {
        Poll::Pending
    }
}

impl Feed for Silent {
    fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, SpanError>>> {
        Poll::Pending
    }
}

/// A content whose bytes never come, behind its first `0`.
struct Never(u64, Mutex<Option<Guard>>);

impl Spans for Never {
    fn len(&self) -> u64 {
        1000
    }

    fn span_at(&self, offset: u64) -> Result<Span, SpanError> {
        if offset < self.0 {
            return Ok(Span::Memory(Bytes::from(vec![0; (self.0 - offset) as usize])));
        }
        let feed = Box::new(Silent(locked(&self.1).take().expect("asked once")));
        Ok(Span::Feed(FeedSpan { feed, len: 1000 - offset }))
    }
}

/// What a client does not want any more is dropped, wherever it waits: by a reset, and by the end of the connection.
#[test]
fn what_the_client_gives_up_is_dropped() {
    for path in ["/service", "/body", "/feed", "/midway"] {
        for resets in [true, false] {
            let (guard, dropped) = channel();
            let (asked, heard) = channel();
            let (observer, events) = watcher();
            let slot = Mutex::new(Some((Guard(guard), observer)));
            let server = serve_h2(ServerOptions::default(), move |request| {
                if request.uri().path() == "/other" {
                    return Box::pin(async { Ok(text("fine")) })
                        as Pin<Box<dyn Future<Output = Answer> + Send>>;
                }
                let (guard, observer) = locked(&slot).take().expect("one request");
                let asked = asked.clone();
                Box::pin(async move {
                    let _ = asked.send(());
                    let path = request.uri().path().to_owned();
                    match &*path {
                        "/service" => {
                            std::future::pending::<()>().await;
                            drop(guard);
                            Ok(text(""))
                        }
                        "/body" => Ok(text("").map(|_| Silent(guard).boxed_unsync())),
                        path => {
                            let first = if path == "/feed" { 0 } else { 10 };
                            let never = Never(first, Mutex::new(Some(guard)));
                            content(&request, Content::new(Arc::new(never)).observer(observer))
                        }
                    }
                })
            });
            let mut client = Framed::wide(Client::connect(server.addr));
            client.get(1, path);
            heard.recv_timeout(PATIENCE).expect("a request");
            if path == "/midway" {
                assert_eq!(client.bytes(10), 10);
            }
            if resets {
                client.reset(1, CANCEL);
                assert_eq!(dropped.recv_timeout(PATIENCE), Err(RecvTimeoutError::Disconnected), "{path}");
                assert_eq!(client.get(3, "/other").body(3), (b"fine".to_vec(), None));
            } else {
                client.client.reset();
                assert_eq!(dropped.recv_timeout(PATIENCE), Err(RecvTimeoutError::Disconnected), "{path}");
            }
            if path == "/feed" || path == "/midway" {
                let (event, _) = events.end(1000);
                let sent = if path == "/feed" { 0 } else { 10 };
                assert!(
                    matches!(&event, Event::Aborted(n, AbortReason::Disconnected(_)) if *n == sent),
                    "{path}, {resets}: {event:?}"
                );
            }
        }
    }
}

#[test]
fn draining_lets_streams_finish_and_says_so() {
    let bytes = pattern(8_000_000, 19);
    let (_folder, path) = temp("file", &bytes);
    let file = TestFile::open(&path);
    let service = move |request: Request<RequestBody>| {
        let answer = match request.uri().path() {
            "/large" => content(&request, file.content()),
            _ => Ok(text("small")),
        };
        async move { answer }
    };
    everywhere(ServerOptions::default(), service, async |at| {
        // Of three that are quiet, one has asked for something, one has shaken hands only, one has said nothing.
        let mut idle = at.connect().await;
        assert_eq!(idle.get("/", &[]).await.text(), "small");
        let quiet = at.connect().await;
        let silent = tokio::net::TcpStream::connect(at.server.addr).await.expect("connected");
        let mut client = at.connect().await;
        let large = client.ask(request(Method::GET, "/large", &[])).await.await.expect("a head");
        let (mut body, mut got) = (large.into_body(), Vec::new());
        got.extend(body.data().await.expect("data").expect("data"));
        while at.server.counters.connections() < 4 {
            tokio::task::yield_now().await;
        }
        at.server.handle.drain(PATIENCE * 100);
        idle.driver.await.expect("no panic").expect("an orderly end");
        quiet.driver.await.expect("no panic").expect("an orderly end");
        let mut silent = silent;
        assert_eq!(silent.read(&mut [0; 1]).await.expect("an orderly end"), 0);
        assert!(TcpStream::connect(at.server.addr).is_err());
        body.flow_control().release_capacity(got.len()).expect("received");
        got.extend(collect(body).await.expect("the rest"));
        assert_same(&got, &bytes, "what was under way");
        client.driver.await.expect("no panic").expect("an orderly end");
        at.server.join();
    });
}

#[test]
fn an_idle_connection_is_closed_with_a_word_and_a_busy_one_is_not() {
    let options = ServerOptions { keep_alive_timeout: SHORT, ..ServerOptions::default() };
    let (go, wait) = tokio::sync::watch::channel(false);
    let service = move |_| {
        let mut wait = wait.clone();
        async move {
            wait.wait_for(|go| *go).await.map_err(|error| error.to_string())?;
            Ok(text("late"))
        }
    };
    everywhere(options, service, async |at| {
        go.send_replace(false);
        let mut client = at.connect().await;
        let waiting = client.ask(request(Method::GET, "/", &[])).await;
        // Meanwhile another one has come, rested too long, and gone; twice, to be sure of the clocks.
        for _ in 0..4 {
            let idle = at.connect().await;
            idle.driver.await.expect("no panic").expect("an orderly end");
        }
        go.send_replace(true);
        assert_eq!(whole(waiting).await.expect("a response").text(), "late");
        client.driver.await.expect("no panic").expect("an orderly end");
    });
}

#[test]
fn more_streams_than_may_be_open_wait_or_are_refused() {
    let (go, wait) = tokio::sync::watch::channel(false);
    let server = serve_h2(ServerOptions::default(), move |_| {
        let mut wait = wait.clone();
        async move {
            wait.wait_for(|go| *go).await.map_err(|error| error.to_string())?;
            Ok(text("late"))
        }
    });
    // A client that does not keep to it.
    let mut client = Framed::wide(Client::connect(server.addr));
    for n in 0..130 {
        client.get(2 * n + 1, "/");
    }
    for _ in 0..2 {
        let refused = client.next(&[HEADERS, RST_STREAM]);
        assert_eq!((refused.kind, refused.code()), (RST_STREAM, 7), "REFUSED_STREAM");
        assert!(refused.stream >= 257);
    }
    go.send_replace(true);
    let mut ended = 0;
    while ended < 128 {
        ended += usize::from(client.next(&[HEADERS, DATA]).ends());
    }
    assert_eq!(client.get(301, "/").body(301), (b"late".to_vec(), None));
}

#[test]
fn there_is_one_host_and_it_is_the_authority() {
    let server = serve_h2(ServerOptions::default(), |request| async move {
        assert!(request.uri().authority().is_none() && request.uri().scheme().is_none());
        assert_eq!(request.version(), http::Version::HTTP_2);
        let hosts: Vec<_> = request.headers().get_all("host").iter().collect();
        Ok(text(format!("{} {hosts:?}", request.uri())))
    });
    let mut client = Framed::wide(Client::connect(server.addr));
    let base = [(":method", "GET"), (":scheme", "http"), (":path", "/a?b")];
    let tables: [(&[(&str, &str)], &str); 8] = [
        (&[(":authority", "a.test")], "/a?b [\"a.test\"]"),
        (&[("host", "a.test")], "/a?b [\"a.test\"]"),
        (&[(":authority", "a.test"), ("host", "A.test")], "/a?b [\"a.test\"]"),
        (&[(":authority", "a.test"), ("host", "b.test")], "400 "),
        (&[(":authority", "a.test"), ("host", "a.test"), ("host", "a.test")], "400 "),
        (&[("host", "a.test"), ("host", "a.test")], "400 "),
        (&[(":authority", "user@a.test")], "400 "),
        (&[], "400 "),
    ];
    let mut stream = 1;
    for (fields, want) in tables {
        let block = block(&[&base[..], fields].concat());
        let (body, reset) = client.send(HEADERS, END | END_HEADERS, stream, &block).body(stream);
        let body = String::from_utf8_lossy(&body).into_owned();
        assert!(body.starts_with(want) && reset.is_none(), "{fields:?}: {body}, {reset:?}");
        stream += 2;
    }
    assert_eq!(server.counters.refused(), 5);
    assert_eq!(server.counters.requests(), 8);
}

#[test]
fn the_client_is_known_by_address_proxy_and_tls() {
    let service = |request: Request<RequestBody>| async move {
        let extensions = request.extensions();
        let peer = extensions.get::<PeerAddr>().expect("always there").0;
        let via = extensions.get::<ViaProxy>().map(|via| via.0);
        let host = extensions.get::<Secure>().map(|secure| secure.host.clone());
        Ok(text(format!("{peer} {via:?} {host:?}")))
    };
    everywhere(ServerOptions::default(), service, async |at| {
        let got = at.connect().await.get("/", &[]).await;
        let want = if at.config.is_some() { "None Some(Some(\"localhost\"))" } else { "None None" };
        assert!(got.text().starts_with("127.0.0.1:") && got.text().ends_with(want), "{}", got.text());
    });
    let behind = ServerOptions {
        proxy_protocol: vec!["127.0.0.1/32".parse().expect("a network")],
        http2_cleartext: true,
        ..ServerOptions::default()
    };
    let identity = Identity::new();
    let tls = identity.tls(&TlsOptions::default());
    let config = identity.client(outflow_wire::rustls::ALL_VERSIONS, &[b"h2"]);
    for secured in [false, true] {
        let server = match secured {
            false => serve_h2(behind.clone(), service),
            true => serve_tls(behind.clone(), Arc::clone(&tls), service),
        };
        let mut client = Client::connect(server.addr);
        client.send("PROXY TCP4 192.0.2.7 198.51.100.1 4711 80\r\n");
        let own = client.stream.local_addr().expect("an address");
        if secured {
            client = client.secure(&config).expect("a handshake");
        }
        let (body, _) = Framed::wide(client).get(1, "/").body(1);
        let body = String::from_utf8(body).expect("text");
        assert!(body.starts_with(&format!("192.0.2.7:4711 Some({own}) ")), "{body}");
        assert_eq!(body.contains("localhost"), secured, "{body}");
    }
}

#[test]
fn requests_and_bytes_are_counted() {
    let service = |request: Request<RequestBody>| {
        let answer = match request.uri().path() {
            "/copied" => Ok(text(vec![1; 5_000])),
            _ => content(&request, Content::bytes(vec![1; 70_000])),
        };
        async move { answer }
    };
    everywhere(ServerOptions::default(), service, async |at| {
        let mut client = at.connect().await;
        client.get("/copied", &[]).await;
        client.get("/content", &[]).await;
        drop(client);
        let counters = at.server.counted();
        assert_eq!((counters.requests(), counters.copied_bytes()), (2, 75_000));
        assert_eq!((counters.connections(), counters.refused()), (1, 0));
    });
}

#[test]
fn http_1_goes_on_where_http_2_is_understood_in_the_clear() {
    let server = serve_h2(ServerOptions::default(), |request| async move {
        Ok(text(format!("{} {:?}", request.method(), request.version())))
    });
    let mut client = Client::connect(server.addr);
    assert_eq!(client.get("/", "").get("/", "").reply().text(), "GET HTTP/1.1");
    assert_eq!(client.reply().text(), "GET HTTP/1.1");
    // An offer to change over is not taken (RFC 9113, 3.1).
    let lines = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n";
    assert_eq!(client.get("/", lines).reply().text(), "GET HTTP/1.1");
    // What begins like the preface, and is another method.
    for (method, pieces) in [
        ("POST", &["P", "OST / HTTP/1.1\r\nHost: x\r\n\r\n"][..]),
        ("PRIM", &["PRI", "M / HTTP/1.1\r\nHost: x\r\n\r\n"]),
    ] {
        let mut client = Client::connect(server.addr);
        for piece in pieces {
            client.send(piece);
        }
        assert_eq!(client.reply().text(), format!("{method} HTTP/1.1"));
    }
    // The preface itself in pieces.
    let mut client = Client::connect(server.addr);
    let (first, rest) = crate::support::frames::PREFACE.split_at(10);
    client.send(first).send(rest);
    let mut client = Framed { client };
    client.send(crate::support::frames::SETTINGS, 0, 0, &[]).get(1, "/");
    assert_eq!(client.body(1).0, b"GET HTTP/2.0");
}

#[test]
fn http_2_is_not_understood_in_the_clear_unless_it_is_wanted() {
    let server = crate::support::serve(|_| async { Ok(text("")) });
    let mut client = Client::connect(server.addr);
    client.send(crate::support::frames::PREFACE);
    assert_eq!(client.reply().status, 505);
    client.expect_closed();
}

/// Server-sent events, for instance.
#[test]
fn a_stream_that_is_handed_over_carries_what_the_service_writes_until_it_ends() {
    let (sender, receiver) = channel();
    let service = move |request: Request<RequestBody>| {
        let sender = sender.clone();
        async move {
            if request.uri().path() == "/plain" {
                return Ok(text("plain"));
            }
            let mut response = text("ignored");
            response.extensions_mut().insert(upgrade::Handoff::new(move |stream| drop(sender.send(stream))));
            Ok(response)
        }
    };
    everywhere(ServerOptions::default(), service, async |at| {
        let mut client = at.connect().await;
        let head = client.ask(request(Method::HEAD, "/events", &[])).await;
        assert_eq!(whole(head).await.expect("a head").status(), 200);
        let answer = client.ask(request(Method::GET, "/events", &[])).await.await.expect("a head");
        assert_eq!((answer.status(), answer.headers().get("content-length")), (StatusCode::OK, None));
        let mut body = answer.into_body();
        let mut stream = receiver.recv().expect("a stream");
        assert!(stream.socket().is_none(), "a socket that is not its own");
        for event in ["data: 1\n\n", "data: 2\n\n"] {
            stream.write_all(event.as_bytes()).await.expect("written");
            stream.flush().await.expect("flushed");
            assert_eq!(body.data().await.expect("data").expect("data"), event);
            // Other streams go on meanwhile.
            assert_eq!(client.get("/plain", &[]).await.text(), "plain");
        }
        // More than any window.
        let large = pattern(3_000_000, 23);
        let mut stream = stream.into_parts().err().expect("not a socket's");
        let writing = tokio::spawn({
            let large = large.clone();
            async move {
                stream.write_all(&large).await.expect("written");
                stream
            }
        });
        let mut got = Vec::new();
        while got.len() < large.len() {
            let data = body.data().await.expect("data").expect("data");
            body.flow_control().release_capacity(data.len()).expect("received");
            got.extend_from_slice(&data);
        }
        assert_same(&got, &large, "what was written");
        // Whoever lets go of it has said all.
        drop(writing.await.expect("written"));
        assert_eq!(collect(body).await.expect("an end"), b"");

        // A client that goes away ends it.
        let answer = client.ask(request(Method::GET, "/events", &[])).await.await.expect("a head");
        let mut stream = receiver.recv().expect("a stream");
        drop(answer);
        assert_eq!(stream.read(&mut [0; 10]).await.expect("an end"), 0);
        assert!(stream.write_all(b"more").await.is_err());

        // A server that drains tells it.
        let answer = client.ask(request(Method::GET, "/events", &[])).await.await.expect("a head");
        let stream = receiver.recv().expect("a stream");
        let mut draining = stream.draining();
        at.server.handle.drain(PATIENCE * 100);
        draining.begun().await;
        drop(stream);
        assert_eq!(collect(answer.into_body()).await.expect("an end"), b"");
        client.driver.await.expect("no panic").expect("an orderly end");
        at.server.join();
    });
}

#[test]
fn a_server_that_stops_never_makes_half_a_body_look_whole() {
    let service = |_| async { Ok(text("").map(|_| Half(Some("half of it")).boxed_unsync())) };
    everywhere(ServerOptions::default(), service, async |at| {
        let mut client = at.connect().await;
        let mut body = client.ask(request(Method::GET, "/", &[])).await.await.expect("a head").into_body();
        assert_eq!(body.data().await.expect("data").expect("data"), "half of it");
        at.server.handle.stop();
        at.server.join();
        assert!(body.data().await.is_some_and(|data| data.is_err()), "an orderly end");
    });
}

/// A frame, and then nothing.
struct Half(Option<&'static str>);

impl Body for Half {
    type Data = Bytes;
    type Error = String;
    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, String>>> {
        match self.0.take() {
            Some(frame) => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(frame.as_bytes()))))),
            None => Poll::Pending,
        }
    }
}

/// A client that reads slowly and says much while the server ends its connection: closed at once, the RST for what it says
/// would destroy what is on its way.
#[test]
fn what_is_on_its_way_when_a_connection_ends_arrives() {
    const LEN: usize = 1_000_000;
    let bytes = pattern(LEN, 29);
    let sent = Bytes::from(bytes.clone());
    let server = serve_h2(ServerOptions::default(), move |_| {
        let response = text(sent.clone());
        async move { Ok(response) }
    });
    let mut client = Framed::wide(Client::connect_narrow(server.addr, 16 * 1024));
    client.get(1, "/");
    let mut body = client.next(&[DATA]).payload;
    server.handle.drain(PATIENCE);
    while body.len() < LEN {
        let frame = client.next(&[DATA, PING]);
        match frame.kind {
            PING => drop(client.pong(&frame)),
            _ => body.extend(frame.payload),
        }
        // It may not be heard any more; it must not be punished.
        let _ = client.client.stream.write_all(&crate::support::frames::frame(PING, 0, 0, b"question"));
    }
    assert_same(&body, &bytes, "the body");
    while let Ok(frame) = client.frame() {
        if frame.kind == PING && frame.flags == 0 {
            client.pong(&frame);
        }
    }
    drop(client);
    server.join();
}

/// What a client is told that does not answer any more, over a connection that has been closed on it.
#[test]
fn a_connection_that_is_closed_says_goodbye() {
    let options = ServerOptions { keep_alive_timeout: SHORT, ..ServerOptions::default() };
    let server = serve_h2(options, |_| async { Ok(text("small")) });
    let mut client = Framed::wide(Client::connect(server.addr));
    client.get(1, "/").body(1);
    // It answers nothing: neither the question whether all has arrived, nor the one before the end.
    let said = client.rest();
    let goodbye = said.iter().find(|frame| frame.kind == GOAWAY).expect("a goodbye");
    assert_eq!(goodbye.code(), 0);
    assert_eq!(client.client.read_to_end().expect("an orderly end"), b"");
}
