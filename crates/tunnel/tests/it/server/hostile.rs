//! What clients and targets do wrong, slowly, or too often.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use outflow_tunnel::carry::TunnelTimeouts;
use outflow_tunnel::server::{TunnelLimits, TunnelSettings};

use super::support::{
    DATA, FINAL_DATA, LegProtocol, Running, TOKEN, TestLeg, TestTarget, capsule_head, frame_head, patient,
    settings, until,
};

fn bearer() -> String {
    format!("Authorization: Bearer {TOKEN}\r\n")
}

#[test]
fn upgrades_that_are_not_right_are_refused_before_the_target_hears_of_them() {
    let target = TestTarget::new();
    let server = Running::start();
    let path = format!("/.well-known/masque/tcp/127.0.0.1/{}/", target.addr.port());
    for (lines, status) in [
        ("Connection: Upgrade\r\nUpgrade: connect-tcp\r\n", 400),
        ("Connection: Upgrade\r\nUpgrade: connect-tcp\r\nCapsule-Protocol: ?0\r\n", 400),
        ("Connection: Upgrade\r\nUpgrade: websocket\r\n", 400),
        (
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 8\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
            400,
        ),
        (
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: short\r\n",
            400,
        ),
        ("Connection: Upgrade\r\nUpgrade: purr\r\nPurr-Request: MEOW\r\nPurr-Version: 0.2.0\r\n", 400),
        ("Connection: Upgrade\r\nUpgrade: h2c\r\n", 426),
        ("Upgrade: connect-tcp\r\n", 426),
        ("", 426),
        ("Connection: Upgrade\r\nUpgrade: connect-tcp\r\nCapsule-Protocol: ?1\r\nContent-Length: 5\r\n", 400),
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\n{}{lines}\r\n", bearer());
        let (head, body) = TestLeg::ask(server.addr, LegProtocol::Capsules, &request).err().expect(lines);
        assert_eq!(head.status, status, "{lines}: {body}");
    }
    let request = format!("POST {path} HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n{}\r\n", bearer());
    let (head, _) = TestLeg::ask(server.addr, LegProtocol::Capsules, &request).err().unwrap();
    assert_eq!((head.status, head.find("allow")), (405, Some("GET, CONNECT")));
    assert!(target.is_untouched());
}

#[test]
fn frames_that_are_not_right_end_the_tunnel_with_a_reason_and_reset_the_target() {
    let server = Running::start();
    let websocket: &[(&[u8], u16)] = &[
        (&[0x82, 0x01, b'x'], 1002),
        (&[0xc2, 0x81, 0, 0, 0, 0, b'x'], 1002),
        (&[0x83, 0x81, 0, 0, 0, 0, b'x'], 1002),
        (&[0x89, 0xfe, 0, 200, 0, 0, 0, 0], 1002),
        (&[0x80, 0x81, 0, 0, 0, 0, b'x'], 1002),
        (&[0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 1002),
        (&[0x88, 0x81, 0, 0, 0, 0, 3], 1002),
    ];
    for (bytes, status) in websocket {
        let target = TestTarget::new();
        let mut leg = TestLeg::open(server.addr, LegProtocol::WebSocket, target.addr);
        let mut far = target.accept();
        leg.stream.write_all(bytes).unwrap();
        let error = leg.read_to_end().expect_err("an end").to_string();
        assert!(error.contains(&format!("closed with {status}")), "{bytes:x?}: {error}");
        far.read_to_end(&mut Vec::new()).expect_err("what was cut looked whole");
    }
    for (bytes, ended) in [
        // Data after the end.
        ([capsule_head(FINAL_DATA, 0), capsule_head(DATA, 1), b"x".to_vec()].concat(), true),
        // The leg ends within a capsule, and after one.
        ([capsule_head(DATA, 100), b"x".to_vec()].concat(), false),
        ([capsule_head(DATA, 1), b"x".to_vec()].concat(), false),
    ] {
        let target = TestTarget::new();
        let mut leg = TestLeg::open(server.addr, LegProtocol::Capsules, target.addr);
        let mut far = target.accept();
        leg.stream.write_all(&bytes).unwrap();
        leg.stream.shutdown(std::net::Shutdown::Write).unwrap();
        leg.read_to_end().expect_err("an end");
        let heard = far.read_to_end(&mut Vec::new());
        assert!(ended || heard.is_err(), "what was cut looked whole");
        // Whatever the server received, the leg is closed.
        until("the target is reset", || far.write_all(b"x").err());
    }
}

#[test]
fn frames_without_end_are_passed_on_as_they_come() {
    // A capsule that claims 2^61 bytes is neither awaited nor allocated.
    let server = Running::start();
    let target = TestTarget::new();
    let endless: [(LegProtocol, Vec<u8>); 2] = [
        (LegProtocol::Capsules, capsule_head(DATA, 1 << 61)),
        (LegProtocol::WebSocket, frame_head(0x82, 1 << 61, [0; 4])),
    ];
    for (protocol, head) in endless {
        let mut leg = TestLeg::open(server.addr, protocol, target.addr);
        let mut far = target.accept();
        leg.stream.write_all(&head).unwrap();
        for _ in 0..3 {
            leg.stream.write_all(b"piece").unwrap();
            let mut piece = [0; 5];
            far.read_exact(&mut piece).unwrap();
            assert_eq!(&piece, b"piece");
        }
    }
}

#[test]
fn a_capsule_of_an_unknown_kind_is_passed_over() {
    let server = Running::start();
    let target = TestTarget::new();
    let mut leg = TestLeg::open(server.addr, LegProtocol::Capsules, target.addr);
    let mut far = target.accept();
    leg.stream.write_all(&capsule_head(0x1234_5678, 3_000_000)).unwrap();
    leg.stream.write_all(&vec![7; 3_000_000]).unwrap();
    leg.send(b"hello").unwrap();
    leg.end();
    let mut heard = Vec::new();
    far.read_to_end(&mut heard).unwrap();
    assert_eq!(heard, b"hello");
}

#[test]
fn one_who_takes_all_their_places_leaves_those_of_others() {
    let target = TestTarget::new();
    let limits = TunnelLimits { tunnels: 6, per_owner: 4, connecting: 6 };
    let server = Running::with(TunnelSettings { limits, ..settings(&["127.0.0.0/8:*"]) });
    let mut legs: Vec<TestLeg> =
        (0..4).map(|_| TestLeg::open(server.addr, LegProtocol::Capsules, target.addr)).collect();
    let request = LegProtocol::Capsules.request(target.addr, &bearer());
    let (head, body) = TestLeg::ask(server.addr, LegProtocol::Capsules, &request).err().unwrap();
    assert_eq!((head.status, head.find("retry-after")), (503, Some("5")));
    assert!(body.contains("4 tunnels"), "{body}");
    let bens = LegProtocol::Capsules.request(target.addr, "Authorization: Bearer another token, ben's\r\n");
    assert!(TestLeg::ask(server.addr, LegProtocol::Capsules, &bens).is_ok());
    // A permit is free again when its tunnel has ended.
    drop(legs.pop());
    until("a place is free", || TestLeg::ask(server.addr, LegProtocol::Capsules, &request).ok());
}

#[test]
fn silence_ends_a_tunnel() {
    let target = TestTarget::new();
    let timeouts = TunnelTimeouts { idle: Some(Duration::from_millis(300)), ..TunnelTimeouts::default() };
    let server = Running::with(TunnelSettings { timeouts, ..settings(&["127.0.0.0/8:*"]) });
    for protocol in LegProtocol::ALL {
        let mut leg = TestLeg::open(server.addr, protocol, target.addr);
        let mut far = target.accept();
        leg.read_to_end().expect_err("silence is no end");
        far.read_to_end(&mut Vec::new()).expect_err("silence is no end");
    }
}

#[test]
fn half_open_attempts_by_the_thousand_keep_nobody_out() {
    let target = TestTarget::new();
    let server = Running::start();
    let mut open = Vec::new();
    for at in 0..1_500 {
        let mut stream = patient(TcpStream::connect(server.addr).unwrap());
        let request = LegProtocol::Capsules.request(target.addr, &bearer());
        stream.write_all(&request.as_bytes()[..1 + at % (request.len() - 2)]).unwrap();
        open.push(stream);
    }
    let mut leg = TestLeg::open(server.addr, LegProtocol::Capsules, target.addr);
    let mut far = target.accept();
    leg.send(b"hello").unwrap();
    let mut heard = [0; 5];
    far.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"hello");
    drop(open);
}

#[test]
fn how_many_there_are_is_told_to_those_who_may_know() {
    let target = TestTarget::new();
    let server = Running::start();
    let _leg = TestLeg::open(server.addr, LegProtocol::WebSocket, target.addr);
    let metrics = |lines: &str| {
        let mut stream = patient(TcpStream::connect(server.addr).unwrap());
        let request = format!(
            "GET /.well-known/outflow/tunnels HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{lines}\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    assert!(metrics("").starts_with("HTTP/1.1 401 "));
    until("the tunnel is counted", || {
        let told = metrics(&bearer());
        (told.contains("\noutflow_tunnels_open 1\n") && told.contains("{carrier=\"websocket\"} 1\n"))
            .then_some(())
    });
    assert!(metrics(&bearer()).contains("outflow_tunnels_refused_total{status=\"401\"} 1\n"));
}
