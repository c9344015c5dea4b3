//! HTTP/2, in the clear and within TLS: the same contents and bodies, the same ends, on streams.

use std::future::Future;
use std::io::Write as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, StatusCode};
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;
use outflow_content::{AbortReason, Content};
use outflow_metrics::MetricRegistry;
use outflow_wire::rustls::ClientConfig;
use outflow_wire::{RequestBody, ServerOptions, TlsOptions, upgrade};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::sending::Fed;
use crate::support::frames::{
    CANCEL, DATA, END, END_HEADERS, Framed, GOAWAY, HEADERS, PING, RST_STREAM, block,
};
use crate::support::h2::{H2, collect, request, run, whole};
use crate::support::{
    Answer, Event, Identity, PATIENCE, Running, TestFile, assert_same, noise, respond, serve_h2, serve_tls,
    temp, text, watcher,
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
    // A registry of its own: clones of options count together.
    let options = ServerOptions { metrics: MetricRegistry::default(), ..options };
    let server = serve_tls(options, identity.tls(&TlsOptions::default()), service);
    let config = identity.client(outflow_wire::rustls::ALL_VERSIONS, &[b"h2", b"http/1.1"]);
    run(test(At { server, config: Some(config) }));
}

fn content(request: &Request<RequestBody>, content: Content) -> Answer {
    Ok(respond(content, request.method(), request.headers()))
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
    let large = Bytes::from(noise(7, 1_000_000));
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
        assert_eq!((got.text(), got.find("x-kept")), ("hello", Some("yes")));
        for name in ["connection", "x-hop", "keep-alive", "proxy-connection", "upgrade", "transfer-encoding"]
        {
            assert_eq!(got.find(name), None);
        }
    });
}

#[test]
fn a_hundred_streams_at_the_same_time_get_their_own_bytes() {
    let bytes = noise(17, 400_000);
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
        assert_eq!(at.server.counters.connections.get(), 1);
    });
}

/// A big download takes all that its client reads; what is asked for meanwhile comes within a few
/// megabytes of it.
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
                *count.lock() += data.len() as u64;
            }
        });
        let so_far = || *read.lock();
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
                let observer = observer.lock().take().expect("one");
                content(&request, Content::bytes(noise(3, 100_000)).observer(observer))
            }
            "/copied" => Ok(text(noise(3, 100_000))),
            _ => content(&request, Content::bytes("small")),
        };
        async move { answer }
    });
    // A thousand bytes for each stream, and no more.
    let mut client = Framed::over(server.client(), &[(4, 1000)]);
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
    let mut client = Framed::wide(server.client());
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
    let mut client = Framed::wide(server.client());
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
    assert_eq!(server.counters.refused.get(), 5);
    assert_eq!(server.counters.requests.get(), 8);
}

#[test]
fn a_path_begins_with_a_slash_and_an_asterisk_is_for_options() {
    let server = serve_h2(ServerOptions::default(), |request| async move {
        Ok(text(format!("{} {}", request.method(), request.uri())))
    });
    let mut client = Framed::wide(server.client());
    let mut stream = 1;
    for (method, path, want) in [
        ("GET", "/a", "GET /a"),
        ("OPTIONS", "/a", "OPTIONS /a"),
        ("OPTIONS", "*", "OPTIONS *"),
        ("GET", "*", "400 "),
        ("POST", "*", "400 "),
    ] {
        let fields = [(":method", method), (":scheme", "http"), (":authority", "a.test"), (":path", path)];
        let (body, reset) = client.send(HEADERS, END | END_HEADERS, stream, &block(&fields)).body(stream);
        let body = String::from_utf8_lossy(&body).into_owned();
        assert!(body.starts_with(want) && reset.is_none(), "{method} {path}: {body}, {reset:?}");
        stream += 2;
    }
    assert_eq!(server.counters.refused.get(), 2);
}

#[test]
fn http_1_goes_on_where_http_2_is_understood_in_the_clear() {
    let server = serve_h2(ServerOptions::default(), |request| async move {
        Ok(text(format!("{} {:?}", request.method(), request.version())))
    });
    let mut client = server.client();
    assert_eq!(client.request("GET", "/", "").request("GET", "/", "").reply().text(), "GET HTTP/1.1");
    assert_eq!(client.reply().text(), "GET HTTP/1.1");
    // An offer to change over is not taken (RFC 9113, 3.1).
    let lines = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n";
    assert_eq!(client.request("GET", "/", lines).reply().text(), "GET HTTP/1.1");
    // What begins like the preface, and is another method.
    for (method, pieces) in [
        ("POST", &["P", "OST / HTTP/1.1\r\nHost: x\r\n\r\n"][..]),
        ("PRIM", &["PRI", "M / HTTP/1.1\r\nHost: x\r\n\r\n"]),
    ] {
        let mut client = server.client();
        for piece in pieces {
            client.send(piece);
        }
        assert_eq!(client.reply().text(), format!("{method} HTTP/1.1"));
    }
    // The preface itself in pieces.
    let mut client = server.client();
    let (first, rest) = crate::support::frames::PREFACE.split_at(10);
    client.send(first).send(rest);
    let mut client = Framed { client };
    client.send(crate::support::frames::SETTINGS, 0, 0, &[]).get(1, "/");
    assert_eq!(client.body(1).0, b"GET HTTP/2.0");
}

#[test]
fn http_2_is_not_understood_in_the_clear_unless_it_is_wanted() {
    let server = crate::support::serve(|_| async { Ok(text("")) });
    let mut client = server.client();
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
        assert_eq!(whole(head).await.expect("a head").status, 200);
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
        let large = noise(23, 3_000_000);
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
        // Dropping it ends the stream.
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

/// A client that reads slowly and says much while the server ends its connection: closed at once,
/// the RST for what it says would destroy what is on its way.
#[test]
fn what_is_on_its_way_when_a_connection_ends_arrives() {
    const LEN: usize = 1_000_000;
    let bytes = noise(29, LEN);
    let sent = Bytes::from(bytes.clone());
    let server = serve_h2(ServerOptions::default(), move |_| {
        let response = text(sent.clone());
        async move { Ok(response) }
    });
    let mut client = Framed::wide(server.narrow_client(16 * 1024));
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

/// What a client is told that does not answer any more, over a connection that has been closed on
/// it.
#[test]
fn a_connection_that_is_closed_says_goodbye() {
    let options = ServerOptions { keep_alive_timeout: SHORT, ..ServerOptions::default() };
    let server = serve_h2(options, |_| async { Ok(text("small")) });
    let mut client = Framed::wide(server.client());
    client.get(1, "/").body(1);
    // It answers nothing: neither the question whether all has arrived, nor the one before the end.
    let said = client.rest();
    let goodbye = said.iter().find(|frame| frame.kind == GOAWAY).expect("a goodbye");
    assert_eq!(goodbye.code(), 0);
    assert_eq!(client.client.read_to_end().expect("an orderly end"), b"");
}
