//! Channels: what is published is heard by those who subscribe, and nobody else.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::{FileTree, HttpClient, Reply, Server, Setup, until};

/// May publish, and subscribe, everywhere.
pub(crate) const PUBLISH: &str = "Authorization: Bearer 0123456789abcdef\r\n";
/// May subscribe to some.
const SUBSCRIBE: &str = "fedcba9876543210";
/// What comes first: a comment, and for how long to wait before coming back.
const FIRST: usize = ":\nretry: 1234\n\n".len();

/// A server with channels.
pub(crate) fn setup(tree: &FileTree) -> Setup {
    let tokens = tree.beside("tokens");
    fs::write(&tokens, format!("publish 0123456789abcdef\nsubscribe {SUBSCRIBE} news*\n")).unwrap();
    fs::set_permissions(&tokens, fs::Permissions::from_mode(0o600)).unwrap();
    Setup::of(tree.root()).arg("--channel-tokens").arg(tokens)
}

#[track_caller]
pub(crate) fn publish(server: &Server, path: &str, data: &str) -> String {
    let reply = post(server, path, PUBLISH, data.as_bytes()).expect(200);
    reply.json()["id"].as_str().unwrap().to_owned()
}

#[track_caller]
fn post(server: &Server, path: &str, lines: &str, data: &[u8]) -> Reply {
    let lines = format!("{lines}Content-Length: {}\r\n", data.len());
    server.client().request("POST", path, &lines).send(data).reply()
}

/// Subscribes, and hears the first words.
#[track_caller]
pub(crate) fn subscribe(server: &Server, path: &str, lines: &str) -> HttpClient {
    let mut client = server.client();
    client.request("GET", path, &format!("{PUBLISH}{lines}")).head().expect(200);
    let first = hear(&mut client, FIRST);
    let retry = first.strip_prefix(":\nretry: ").and_then(|rest| rest.trim_end().parse().ok());
    assert!(retry.is_some_and(|retry: u64| (2_000..6_000).contains(&retry)), "{first:?}");
    client
}

#[track_caller]
fn hear(client: &mut HttpClient, len: usize) -> String {
    String::from_utf8(client.take(len).unwrap()).unwrap()
}

/// The very next event that comes, up to its empty line. Heartbeats come when they are due.
#[track_caller]
fn event(client: &mut HttpClient) -> Option<String> {
    loop {
        let mut event = Vec::new();
        while !event.ends_with(b"\n\n") {
            match client.take(1) {
                Ok(byte) => event.extend(byte),
                Err(_) if event.is_empty() => return None,
                Err(error) => panic!("{error} behind {}", String::from_utf8_lossy(&event)),
            }
        }
        if event != b":\n\n" {
            return Some(String::from_utf8(event).unwrap());
        }
    }
}

/// The very next events.
#[track_caller]
fn expect(client: &mut HttpClient, events: &str) {
    let mut heard = String::new();
    while heard.len() < events.len() {
        heard += &event(client).unwrap_or_else(|| panic!("the end behind {heard:?}"));
    }
    assert_eq!(heard, events);
}

/// The end, in good order.
#[track_caller]
fn expect_end(client: &mut HttpClient) {
    assert_eq!(event(client), None);
    client.expect_closed();
}

#[track_caller]
pub(crate) fn await_count(server: &Server, path: &str, count: u64) {
    until("so many subscribers", || {
        let told = server.fetch("GET", &format!("{path}?count"), PUBLISH).expect(200).json();
        (told["subscribers"] == count).then_some(())
    });
}

#[test]
fn all_who_subscribe_hear_what_is_published_and_in_which_order() {
    let tree = FileTree::new();
    let server = setup(&tree).start();
    let mut one = server.client();
    let head = one.request("GET", "/channels/news", PUBLISH).head().expect(200);
    for (name, value) in [
        ("content-type", "text/event-stream"),
        ("cache-control", "no-store"),
        ("x-accel-buffering", "no"),
        ("connection", "close"),
    ] {
        assert_eq!(head.header(name), value);
    }
    hear(&mut one, FIRST);
    let mut others = [
        subscribe(&server, "/channels/news", ""),
        subscribe(&server, "/.well-known/mercure?topic=news", ""),
        subscribe(&server, &format!("/channels/news?token={SUBSCRIBE}"), "Authorization: \r\n"),
    ];
    let mut elsewhere = subscribe(&server, "/channels/olds", "");
    await_count(&server, "/channels/news", 4);

    let reply = post(&server, "/channels/news?event=up", PUBLISH, "two\nlines ä".as_bytes()).expect(200);
    assert_eq!(reply.json()["subscribers"], 4);
    let first = reply.json()["id"].as_str().unwrap().to_owned();
    let second = publish(&server, "/channels/news", "");
    assert_eq!(second, first.replace("-1", "-2"));
    let expected = format!("event: up\nid: {first}\ndata: two\ndata: lines ä\n\nid: {second}\ndata: \n\n");
    expect(&mut one, &expected);
    others.iter_mut().for_each(|other| expect(other, &expected));
    let id = publish(&server, "/channels/olds", "x");
    expect(&mut elsewhere, &format!("id: {id}\ndata: x\n\n"));

    // A subscriber that leaves is no longer counted, however it leaves.
    one.reset();
    drop(others);
    await_count(&server, "/channels/news", 0);
    let head = server.fetch("HEAD", "/channels/news", PUBLISH).expect(200);
    assert_eq!(head.header("content-type"), "text/event-stream");
    assert_eq!(
        server.fetch("OPTIONS", "/channels/news", "").expect(204).header("allow"),
        "DELETE, GET, HEAD, OPTIONS, POST"
    );
    server.fetch("PUT", "/channels/news", "").expect(405);
    assert!(server.log().iter().all(|line| !line.contains(SUBSCRIBE)));
}

#[test]
fn who_comes_back_hears_what_was_missed_or_that_something_is_lost() {
    let tree = FileTree::new();
    let server = setup(&tree).arg("--channel-history").arg("3").start();
    let mut ids: Vec<String> = (1..=5).map(|n| publish(&server, "/channels/a", &n.to_string())).collect();
    let events = |ids: &[String], from: usize| {
        let events = ids.iter().zip(from..).map(|(id, data)| format!("id: {id}\ndata: {data}\n\n"));
        events.collect::<String>()
    };
    for (path, lines) in [
        ("/channels/a", format!("Last-Event-ID: {}\r\n", ids[1])),
        (&*format!("/channels/a?last_event_id={}", ids[1]), String::new()),
        (&*format!("/.well-known/mercure?match=a&lastEventID={}", ids[1]), String::new()),
        ("/channels/a?last_event_id=earliest", String::new()),
    ] {
        expect(&mut subscribe(&server, path, &lines), &events(&ids[2..], 3));
    }
    // The server does not know this id: it may be from before a restart.
    for lost in ["1-1", "nonsense", &ids[4].replace("-5", "-6")] {
        let lines = format!("{PUBLISH}Last-Event-ID: {lost}\r\n");
        let mut client = server.client();
        let head = client.request("GET", "/channels/a", &lines).head().expect(200);
        assert_eq!(head.header("mercure-last-event-id"), "earliest");
        hear(&mut client, FIRST);
        expect(&mut client, &format!("event: missed\ndata: \n\n{}", events(&ids[2..], 3)));
    }
    // More are kept than history says, for those who fall behind, but not all.
    ids.extend((6..=200).map(|n| publish(&server, "/channels/a", &n.to_string())));
    let lines = format!("Last-Event-ID: {}\r\n", ids[100]);
    expect(&mut subscribe(&server, "/channels/a", &lines), &events(&ids[101..], 102));
    let lines = format!("Last-Event-ID: {}\r\n", ids[10]);
    let mut client = subscribe(&server, "/channels/a", &lines);
    expect(&mut client, &format!("event: missed\ndata: \n\n{}", events(&ids[197..], 198)));
    // And then it goes on.
    let id = publish(&server, "/channels/a", "on");
    expect(&mut client, &format!("id: {id}\ndata: on\n\n"));
}

#[test]
fn a_channel_ends_for_all_and_for_those_who_come_back() {
    let tree = FileTree::new();
    let server = setup(&tree).start();
    let mut client = subscribe(&server, "/channels/a", "");
    let first = publish(&server, "/channels/a", "x");
    let last = publish(&server, "/channels/a", "y");
    let reply = server.fetch("DELETE", "/channels/a", PUBLISH).expect(200);
    assert_eq!(reply.json()["subscribers"], 1);
    let end = format!("id: {last}\ndata: y\n\n");
    expect(&mut client, &format!("id: {first}\ndata: x\n\n{end}"));
    expect_end(&mut client);
    for lines in ["", &format!("Last-Event-ID: {last}\r\n"), "Last-Event-ID: other\r\n"] {
        server.fetch("GET", "/channels/a", &format!("{PUBLISH}{lines}")).expect(204);
    }
    // A subscriber that missed events gets a notice.
    let mut late = subscribe(&server, "/channels/a", &format!("Last-Event-ID: {first}\r\n"));
    expect(&mut late, &end);
    expect_end(&mut late);
    // The next event begins anew.
    let id = publish(&server, "/channels/a", "z");
    assert!(id.ends_with("-1") && id != first, "{id}");
    let mut client = subscribe(&server, "/channels/a", &format!("Last-Event-ID: {last}\r\n"));
    expect(&mut client, &format!("event: missed\ndata: \n\nid: {id}\ndata: z\n\n"));
}

#[test]
fn who_may_not_is_told_what_to_do() {
    let tree = FileTree::new();
    tree.file("channels/readme.txt", "hidden by the channels");
    let server = setup(&tree).start();
    let subscriber = format!("Authorization: Bearer {SUBSCRIBE}\r\n");
    let big = "x".repeat(65_537);
    for (method, path, lines, data, status, words) in [
        ("POST", "/channels/a", "", "x", 401, "Authorization: Bearer"),
        ("POST", "/channels/a", "Authorization: Bearer nobody-knows-this-one\r\n", "x", 401, "does not know"),
        ("POST", "/channels/a?token=0123456789abcdef", "", "x", 401, "Authorization: Bearer"),
        ("POST", "/channels/news", &subscriber, "x", 403, "subscribing only"),
        ("GET", "/channels/a", &subscriber, "", 403, "other channels"),
        ("GET", "/channels/a", "", "", 401, "?token="),
        ("GET", "/channels/a?count", "", "", 401, "?token="),
        ("DELETE", "/channels/news", &subscriber, "", 403, "subscribing only"),
        ("POST", "/channels/a", PUBLISH, &big, 413, "65536 bytes"),
        ("POST", "/channels/a?event=a%0Aid:1", PUBLISH, "x", 400, "event's name"),
        ("POST", "/channels/a/b", PUBLISH, "x", 400, "channel's name"),
        ("GET", "/channels/readme.txt/", PUBLISH, "", 400, "channel's name"),
        ("GET", "/.well-known/mercure", PUBLISH, "", 400, "?topic="),
        ("POST", "/.well-known/mercure?topic=a", PUBLISH, "x", 405, "answers GET"),
    ] {
        let lines = format!("{lines}Content-Length: {}\r\n", data.len());
        let mut client = server.client();
        client.request(method, path, &lines);
        if data.len() < 100 {
            client.send(data);
        }
        let reply = client.reply().expect(status);
        let detail = reply.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(words), "{method} {path}: {detail}");
        assert_eq!(reply.find("www-authenticate"), (status == 401).then_some("Bearer"));
    }
    let reply = post(&server, "/channels/a", PUBLISH, b"\xff").expect(400);
    assert!(reply.text().contains("UTF-8"), "{}", reply.text());
    // A body without a length is bounded as well.
    let mut client = server.client();
    client.request("POST", "/channels/a", &format!("{PUBLISH}Transfer-Encoding: chunked\r\n"));
    client.send(format!("10001\r\n{big}\r\n"));
    client.head().expect(413);
    // Nothing of all that was published.
    let mut client = subscribe(&server, "/channels/a?last_event_id=earliest", "");
    let id = publish(&server, "/channels/a", "first");
    expect(&mut client, &format!("id: {id}\ndata: first\n\n"));

    // Without channels, such addresses are files.
    let server = Server::of(tree.root());
    assert_eq!(server.get("/channels/readme.txt").expect(200).text(), "hidden by the channels");
    let (code, error) = Setup::of(tree.root()).arg("--channel-subscribe").arg("open").fail();
    assert_eq!(code, Some(2));
    assert!(error.contains("--channel-tokens"), "{error}");
}

#[test]
fn every_limit_is_said_with_when_to_come_back() {
    let tree = FileTree::new();
    let limited = |name: &str, limit: &str| setup(&tree).arg(name).arg(limit).start();
    for (name, status) in
        [("--channel-per-address", 429), ("--channel-per-token", 429), ("--channel-per-channel", 503)]
    {
        let server = limited(name, "2");
        let kept = [subscribe(&server, "/channels/a", ""), subscribe(&server, "/channels/a", "")];
        let reply = server.fetch("GET", "/channels/a", PUBLISH).expect(status);
        let wait: u64 = reply.header("retry-after").parse().unwrap();
        assert!((10..60).contains(&wait), "{wait}");
        drop(kept);
        await_count(&server, "/channels/a", 0);
        subscribe(&server, "/channels/a", "");
    }
    // With a token or without.
    let server = setup(&tree).args(["--channel-subscribe", "open"]).start();
    server.client().request("GET", "/channels/a", "").head().expect(200);
}

#[test]
fn who_does_not_read_is_let_go_of_and_hinders_nobody() {
    let tree = FileTree::new();
    let server = setup(&tree).start();
    let mut deaf = HttpClient::connect_narrow(server.addr, 4096);
    deaf.request("GET", "/channels/a", PUBLISH).head().expect(200);
    let mut client = subscribe(&server, "/channels/a", "");
    await_count(&server, "/channels/a", 2);
    let data = "x".repeat(10_000);
    for number in 0.. {
        let reply = post(&server, "/channels/a", PUBLISH, data.as_bytes()).expect(200).json();
        expect(&mut client, &format!("id: {}\ndata: {data}\n\n", reply["id"].as_str().unwrap()));
        if reply["subscribers"] == 1 {
            break;
        }
        assert!(number < 2_000, "somebody who does not read is still there");
    }
    server.log_line(&["subscriber closed", "it does not read"]);
}

#[test]
fn a_server_that_goes_away_says_farewell_to_one_after_the_other() {
    const MANY: usize = 120;
    let tree = FileTree::new();
    let mut server = setup(&tree).args(["--drain", "1h"]).start();
    let mut clients: Vec<HttpClient> = (0..MANY).map(|_| subscribe(&server, "/channels/a", "")).collect();
    let begun = Instant::now();
    server.signal(Signal::TERM);
    let mut retries = Vec::new();
    let mut times = Vec::new();
    for client in &mut clients {
        let text = event(client).unwrap();
        expect_end(client);
        times.push(begun.elapsed());
        let retry = text.strip_prefix("retry: ").and_then(|rest| rest.strip_suffix("\n\n"));
        retries.push(retry.unwrap_or_else(|| panic!("{text:?}")).parse::<u64>().unwrap());
    }
    drop(clients);
    assert!(server.wait().success());
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    // Not all at once, and not all back at once.
    assert!(times[MANY - 1] - times[0] > Duration::from_secs(1), "{times:?}");
    assert!(retries.iter().all(|retry| (1_000..10_000).contains(retry)), "{retries:?}");
    assert!(retries.iter().max().unwrap() - retries.iter().min().unwrap() > 2_000, "{retries:?}");
}
