//! Connections that a proxy passes on: who the client is, and what becomes of those that do not say
//! it.

use std::net::SocketAddr;
use std::time::Duration;

use outflow_wire::{PeerAddr, ServerOptions, ViaProxy};

use crate::support::{HttpClient, Running, serve_with, text};

/// Tells the client's address and the proxy's.
fn behind(networks: &[&str]) -> Running {
    let networks = networks.iter().map(|network| network.parse().expect("a network")).collect();
    telling(ServerOptions { proxy_protocol: networks, ..ServerOptions::default() })
}

fn telling(options: ServerOptions) -> Running {
    serve_with(options, 1, |request| {
        let peer = request.extensions().get::<PeerAddr>().expect("always there").0;
        let via = request.extensions().get::<ViaProxy>().map(|via| via.0);
        async move { Ok(text(format!("{peer} {via:?}"))) }
    })
}

fn own(client: &HttpClient) -> SocketAddr {
    client.stream.local_addr().expect("an address")
}

const FOURTH: &str = "PROXY TCP4 192.0.2.7 198.51.100.1 4711 80\r\n";

fn second_of(command: u8, family: u8, fields: &[u8]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    header.extend([command, family]);
    header.extend(u16::try_from(fields.len()).expect("short").to_be_bytes());
    header.extend(fields);
    header
}

#[test]
fn the_client_behind_a_proxy_is_the_one_that_the_proxy_names() {
    let server = behind(&["10.0.0.0/8", "127.0.0.0/8"]);
    let fields = [192, 0, 2, 7, 198, 51, 100, 1, 0x12, 0x67, 0, 80, 4, 0, 2, 1, 1];
    for header in [FOURTH.as_bytes().to_vec(), second_of(0x21, 0x11, &fields)] {
        let mut client = server.client();
        client.send(&header);
        let want = format!("192.0.2.7:4711 Some({})", own(&client));
        // All requests of the connection are that client's.
        for _ in 0..3 {
            assert_eq!(client.request("GET", "/", "").reply().text(), want);
        }
    }
}

#[test]
fn a_proxy_that_speaks_for_itself_or_does_not_know_stays_the_peer() {
    let server = behind(&["127.0.0.1/32"]);
    for header in
        [b"PROXY UNKNOWN\r\n".to_vec(), second_of(0x20, 0, &[]), second_of(0x21, 0x31, &[b'x'; 216])]
    {
        let mut client = server.client();
        let want = format!("{} None", own(&client));
        client.send(&header);
        assert_eq!(client.request("GET", "/", "").reply().text(), want);
    }
}

#[test]
fn a_header_that_comes_byte_by_byte_or_with_the_request_is_read_the_same() {
    let server = behind(&["127.0.0.1/32"]);
    let fields = [192, 0, 2, 7, 198, 51, 100, 1, 0x12, 0x67, 0, 80];
    for header in [FOURTH.as_bytes().to_vec(), second_of(0x21, 0x11, &fields)] {
        let mut trickling = server.client();
        for byte in &header {
            trickling.send([*byte]);
        }
        assert!(trickling.request("GET", "/", "").reply().text().starts_with("192.0.2.7:4711 "));

        let mut at_once = server.client();
        at_once.send([&header[..], b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"].concat());
        assert!(at_once.reply().text().starts_with("192.0.2.7:4711 "));
    }
}

#[test]
fn a_proxy_without_a_good_header_is_closed_and_served_nothing() {
    let server = behind(&["127.0.0.1/32"]);
    let bad = second_of(0x21, 0x12, &[0; 12]);
    for bytes in [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".as_slice(),
        b"PROXY TCP4 192.0.2.7 198.51.100.1 4711\r\n",
        b"PROXY TCP4 192.0.2.7",
        &bad,
    ] {
        let mut client = server.client();
        client.send(bytes).finish();
        // Closed with bytes that nobody read: an RST, or an end if all had been read.
        let got = client.read_to_end().unwrap_or_default();
        assert!(got.is_empty(), "{}", got.escape_ascii());
    }
    assert_eq!(server.counters.requests.get(), 0);
}

#[test]
fn a_header_that_does_not_come_is_waited_for_no_longer_than_a_head() {
    let server = telling(ServerOptions {
        proxy_protocol: vec!["127.0.0.1/32".parse().expect("a network")],
        head_timeout: Duration::from_millis(100),
        ..ServerOptions::default()
    });
    for bytes in ["", "PROXY TCP4 "] {
        let mut client = server.client();
        client.send(bytes).expect_closed();
    }
}

#[test]
fn from_others_no_header_is_read() {
    for server in [behind(&[]), behind(&["192.0.2.0/24", "::1/128"])] {
        let mut client = server.client();
        let want = format!("{} None", own(&client));
        assert_eq!(client.request("GET", "/", "").reply().text(), want);
        assert_eq!(client.send(FOURTH).reply().status, 505, "a request in no version of HTTP");
    }
}
