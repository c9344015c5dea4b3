//! What time does to subscribers: heartbeats, and the end of a subscription.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use http::{Request, Response};
use outflow_channels::{ChannelSettings, Channels, SubscribePolicy};
use outflow_texts::Language;
use outflow_web::ResponseBody;
use outflow_wire::{HttpService, PeerAddr, RequestBody};

/// A server of channels alone.
#[derive(Clone)]
struct Service(Channels);

impl HttpService for Service {
    type Body = ResponseBody;

    async fn answer(&self, mut request: Request<RequestBody>) -> Result<Response<ResponseBody>, String> {
        assert!(self.0.claim(&mut request));
        let client = request.extensions().get::<PeerAddr>().map(|peer| peer.0.ip());
        Ok(self.0.answer(request, client, Language::default()).await)
    }
}

/// The lines that a subscriber receives with heartbeats every 150 ms and a lifetime of one second.
fn subscribed(path: &str, lines: &str) -> Vec<Vec<u8>> {
    let channels = Channels::start(ChannelSettings {
        subscribe: SubscribePolicy::Open,
        heartbeat: Duration::from_millis(150),
        lifetime: Duration::from_secs(1),
        ..ChannelSettings::default()
    });
    let service = Service(channels.unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = outflow_wire::Server::new(outflow_wire::ServerOptions::default());
    let handle = server.handle();
    std::thread::scope(|scope| {
        let running = scope.spawn(|| server.run([listener], 1, service));
        let mut client = TcpStream::connect(address).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        write!(client, "GET {path} HTTP/1.1\r\nHost: test\r\n{lines}\r\n").unwrap();
        let mut heard = Vec::new();
        for line in BufReader::new(&client).split(b'\n') {
            heard.push(line.unwrap());
        }
        drop(client);
        handle.drain(Duration::from_secs(60));
        running.join().unwrap().unwrap();
        heard
    })
}

#[test]
fn who_has_nothing_to_hear_hears_heartbeats_and_is_asked_to_come_again() {
    let heard = subscribed("/channels/a", "");
    let head = heard.iter().position(|line| line == b"\r").unwrap();
    let [comment, retry, empty, beats @ ..] = &heard[head + 1..] else { panic!("{heard:?}") };
    assert_eq!((comment.as_slice(), empty.as_slice()), (&b":"[..], &b""[..]));
    assert!(retry.starts_with(b"retry: "));
    assert!(beats.chunks(2).all(|beat| beat == [&b":"[..], b""]), "{beats:?}");
    // Between four and seven on an idle machine.
    assert!((2..=7).contains(&(beats.len() / 2)), "{beats:?}");
}

#[test]
fn by_websocket_it_is_pings_and_a_close_frame() {
    let key = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let heard = subscribed("/channels/a", key);
    let head = heard.iter().position(|line| line == b"\r").unwrap();
    let frames = heard[head + 1..].concat();
    let farewell = b"\x88\x0b\x03\xe9reconnect";
    let beats = frames.strip_suffix(farewell).unwrap_or_else(|| panic!("{frames:?}"));
    assert!((2..=7).contains(&(beats.len() / 2)), "{beats:?}");
    assert!(beats.chunks(2).all(|beat| beat == [0x89, 0]), "{beats:?}");
}
