//! `carry`: bytes, ends, breaks, silence.

use std::time::Duration;

use bytes::Bytes;
use outflow_tunnel::carry::{TunnelEnd, TunnelTimeouts, TunnelTotals, carry};
use outflow_tunnel::frame::{FrameError, LegFraming, LegRole};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use outflow_testkit::noise;

use crate::side::{Fails, Fate, watched};

const ALL: [LegFraming; 3] = [LegFraming::Raw, LegFraming::Capsules, LegFraming::WebSocket];
const FRAMED: [LegFraming; 2] = [LegFraming::Capsules, LegFraming::WebSocket];

type Carried = JoinHandle<(TunnelTotals, TunnelEnd)>;

/// One end of a running tunnel.
struct Running {
    /// The program whose bytes are tunnelled.
    program: DuplexStream,
    fate: Fate,
    carried: Carried,
}

fn run(
    leg: DuplexStream,
    early: &[u8],
    framing: LegFraming,
    role: LegRole,
    room: usize,
    limits: TunnelTimeouts,
) -> Running {
    let (far, fate, program) = watched(room);
    let early = Bytes::copy_from_slice(early);
    let carried = tokio::spawn(async move { carry(leg, early, framing, role, far, &limits).await });
    Running { program, fate, carried }
}

/// Both ends, with a leg between them.
fn tunnel(framing: LegFraming, room: usize) -> (Running, Running) {
    let (one, other) = duplex(room);
    let client = run(one, b"", framing, LegRole::Client, room, TunnelTimeouts::default());
    let server = run(other, b"", framing, LegRole::Server, room, TunnelTimeouts::default());
    (client, server)
}

/// One end; the test holds the other end of the leg.
fn half(framing: LegFraming, role: LegRole, limits: TunnelTimeouts) -> (Running, DuplexStream) {
    let (one, other) = duplex(1 << 20);
    (run(one, b"", framing, role, 1 << 20, limits), other)
}

#[tokio::test(start_paused = true)]
async fn what_goes_in_comes_out_both_ways_at_once() {
    for framing in ALL {
        for (room, len) in [(1, 3_000), (777, 300_000), (1 << 20, 8 << 20)] {
            let (client, server) = tunnel(framing, room);
            let (up, down) = (noise(1, len), noise(2, len + 1));
            let exchange = |program: DuplexStream, out: Vec<u8>| async move {
                let (mut read, mut write) = tokio::io::split(program);
                let send = async {
                    write.write_all(&out).await.unwrap();
                    write.shutdown().await.unwrap();
                };
                let mut got = Vec::new();
                let (_, read) = tokio::join!(send, read.read_to_end(&mut got));
                read.unwrap();
                got
            };
            let (at_client, at_server) =
                tokio::join!(exchange(client.program, up.clone()), exchange(server.program, down.clone()));
            assert!(at_client == down && at_server == up, "{framing:?} {room}");
            let (totals, end) = client.carried.await.unwrap();
            assert!(matches!(end, TunnelEnd::Complete), "{framing:?}: {end}");
            assert_eq!(totals, TunnelTotals { to_far: len as u64 + 1, from_far: len as u64 });
            let (totals, end) = server.carried.await.unwrap();
            assert!(matches!(end, TunnelEnd::Complete), "{framing:?}: {end}");
            assert_eq!(totals, TunnelTotals { to_far: len as u64, from_far: len as u64 + 1 });
            assert!(!client.fate.is_reset() && !server.fate.is_reset());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn one_direction_goes_on_when_the_other_has_ended() {
    for framing in ALL {
        let (mut client, mut server) = tunnel(framing, 1000);
        client.program.write_all(b"question").await.unwrap();
        client.program.shutdown().await.unwrap();
        let mut got = Vec::new();
        server.program.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, b"question");

        for _ in 0..3 {
            server.program.write_all(b"answer").await.unwrap();
            let mut got = [0; 6];
            client.program.read_exact(&mut got).await.unwrap();
            assert_eq!(&got, b"answer");
        }
        server.program.shutdown().await.unwrap();
        assert_eq!(client.program.read(&mut [0]).await.unwrap(), 0);
        for (_, end) in [client.carried.await.unwrap(), server.carried.await.unwrap()] {
            assert!(matches!(end, TunnelEnd::Complete), "{framing:?}: {end}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_came_early_comes_first() {
    let (leg, mut other) = duplex(100);
    let mut running = run(leg, b"SSH-2.0-", LegFraming::Raw, LegRole::Client, 100, TunnelTimeouts::default());
    other.write_all(b"outflow\r\n").await.unwrap();
    let mut got = [0; 17];
    running.program.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"SSH-2.0-outflow\r\n");

    // A frame that is cut by the end of the buffer of the head.
    let (leg, mut other) = duplex(100);
    let mut running =
        run(leg, b"\x82\x05he", LegFraming::WebSocket, LegRole::Client, 100, TunnelTimeouts::default());
    other.write_all(b"llo").await.unwrap();
    let mut got = [0; 5];
    running.program.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"hello");
}

#[tokio::test(start_paused = true)]
async fn a_leg_that_breaks_is_no_end() {
    for framing in FRAMED {
        let (client, mut server) = tunnel(framing, 1 << 16);
        server.program.write_all(b"half of it").await.unwrap();
        let mut program = client.program;
        program.read_exact(&mut [0; 10]).await.unwrap();
        server.carried.abort();
        let (totals, end) = client.carried.await.unwrap();
        let TunnelEnd::LegLost(error) = end else { panic!("{end}") };
        assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof, "{error}");
        assert_eq!(totals.to_far, 10);
        assert!(client.fate.is_reset(), "{framing:?}");
        // Dropping a tunnel in the middle leaves no end either.
        assert!(server.carried.await.is_err());
        assert!(server.fate.is_reset(), "{framing:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_malformed_resets_the_far_end() {
    let (running, mut leg) = half(LegFraming::Capsules, LegRole::Server, TunnelTimeouts::default());
    leg.write_all(b"\xa0\x28\xd7\xf3\x00\xa0\x28\xd7\xf2\x00").await.unwrap();
    let (_, end) = running.carried.await.unwrap();
    assert!(matches!(end, TunnelEnd::Malformed(FrameError::DataAfterEnd)), "{end}");
    assert!(running.fate.is_reset());

    let (running, mut leg) = half(LegFraming::WebSocket, LegRole::Client, TunnelTimeouts::default());
    leg.write_all(b"\x83\x00").await.unwrap();
    // 1002, masked: opcode, length, key, two bytes of status, and the reason.
    let mut close = [0; 2];
    leg.read_exact(&mut close).await.unwrap();
    assert_eq!(close[0], 0x88);
    drop(leg);
    assert!(matches!(running.carried.await.unwrap().1, TunnelEnd::Malformed(_)));
}

#[tokio::test(start_paused = true)]
async fn a_far_end_that_breaks_is_no_end() {
    for framing in ALL {
        let (leg, fate, mut other) = watched(1 << 16);
        let carried = tokio::spawn(async move {
            carry(leg, Bytes::new(), framing, LegRole::Server, Fails, &TunnelTimeouts::default()).await
        });
        let mut got = Vec::new();
        other.read_to_end(&mut got).await.unwrap();
        match framing {
            // The bytes alone do not show it; the socket has to be reset.
            LegFraming::Raw => assert!(got.is_empty()),
            LegFraming::Capsules => {
                assert_eq!(got[..4], [0xaf, 0x75, 0x74, 0x04], "no FINAL_DATA");
                assert_eq!(got[5..7], 1011_u16.to_be_bytes());
            }
            LegFraming::WebSocket => {
                assert_eq!(got[0], 0x88);
                assert_eq!(got[2..4], 1011_u16.to_be_bytes());
            }
        }
        drop(other);
        assert!(matches!(carried.await.unwrap().1, TunnelEnd::FarLost(_)));
        assert_eq!(fate.is_reset(), framing == LegFraming::Raw);
    }
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_is_believed() {
    let (running, mut leg) = half(LegFraming::WebSocket, LegRole::Client, TunnelTimeouts::default());
    leg.write_all(b"\x88\x06\x03\xf3gone").await.unwrap();
    let (_, end) = running.carried.await.unwrap();
    assert_eq!(end.to_string(), "the other end gave up: gone (1011)");
    assert!(running.fate.is_reset());
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_that_nobody_uses_is_given_up() {
    let limits = TunnelTimeouts { idle: Some(Duration::from_secs(100)), ping: None };
    let (mut running, mut leg) = half(LegFraming::Capsules, LegRole::Server, limits);
    let start = Instant::now();
    tokio::time::sleep(Duration::from_secs(60)).await;
    running.program.write_all(b"x").await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    // A byte in the other direction counts as well; a ping does not.
    leg.write_all(b"\xa0\x28\xd7\xf2\x01x").await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    leg.write_all(b"\xaf\x75\x74\x01\x00").await.unwrap();
    let (_, end) = running.carried.await.unwrap();
    assert!(matches!(end, TunnelEnd::Idle), "{end}");
    // One second of it is for the Close, as this test does not close the leg.
    assert_eq!(start.elapsed().as_secs(), 221);
    assert!(running.fate.is_reset());
}

#[tokio::test(start_paused = true)]
async fn silence_is_asked_and_then_taken_for_a_loss() {
    let (running, mut leg) = half(LegFraming::WebSocket, LegRole::Server, TunnelTimeouts::default());
    let start = Instant::now();
    for at in [25, 50] {
        let mut ping = [0; 2];
        leg.read_exact(&mut ping).await.unwrap();
        assert_eq!((ping, start.elapsed().as_secs()), ([0x89, 0], at));
    }
    let (_, end) = running.carried.await.unwrap();
    assert!(matches!(end, TunnelEnd::LegLost(_)), "{end}");
    assert_eq!(start.elapsed().as_millis(), 62_500);
    assert!(running.fate.is_reset());
}

#[tokio::test(start_paused = true)]
async fn two_ends_keep_a_silent_leg_alive() {
    for framing in FRAMED {
        let (mut client, mut server) = tunnel(framing, 1 << 16);
        tokio::time::sleep(Duration::from_secs(3000)).await;
        client.program.write_all(b"still there").await.unwrap();
        let mut got = [0; 11];
        server.program.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"still there");
    }
}

#[tokio::test(start_paused = true)]
async fn who_does_not_know_our_ping_is_not_lost_by_it() {
    let (mut running, mut leg) = half(LegFraming::Capsules, LegRole::Client, TunnelTimeouts::default());
    tokio::time::sleep(Duration::from_secs(1000)).await;
    leg.write_all(b"\xa0\x28\xd7\xf2\x01x").await.unwrap();
    assert_eq!(running.program.read_u8().await.unwrap(), b'x');
    // A ping was sent every 25 seconds, each an empty capsule.
    let mut asked = vec![0; 40 * 5];
    leg.read_exact(&mut asked).await.unwrap();
    assert!(asked.chunks(5).all(|ping| ping == b"\xaf\x75\x74\x01\x00"));
    // Once it has answered, its silence counts.
    leg.write_all(b"\xaf\x75\x74\x02\x00").await.unwrap();
    assert!(matches!(running.carried.await.unwrap().1, TunnelEnd::LegLost(_)));
}

#[tokio::test(start_paused = true)]
async fn a_leg_that_is_not_read_is_not_taken_for_silent() {
    for framing in FRAMED {
        let (mut client, server) = tunnel(framing, 1 << 10);
        let sent = noise(3, 1 << 19);
        let mut program = server.program;
        let all = sent.clone();
        let sending = tokio::spawn(async move {
            client.program.write_all(&all).await.unwrap();
            client.program
        });
        // No byte is read for ten minutes.
        tokio::time::sleep(Duration::from_secs(600)).await;
        let mut got = vec![0; sent.len()];
        program.read_exact(&mut got).await.unwrap();
        assert!(got == sent, "{framing:?}");
        drop(sending.await.unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn the_latest_of_many_pings_is_answered_with_its_bytes() {
    let (_running, mut leg) = half(LegFraming::WebSocket, LegRole::Client, TunnelTimeouts::default());
    let ping = |last: u8| [0x89, 2, b'n', last];
    let pings: Vec<u8> = (0..100).flat_map(ping).collect();
    leg.write_all(&pings).await.unwrap();
    let mut pong = [0; 8];
    leg.read_exact(&mut pong).await.unwrap();
    assert_eq!(pong[..2], [0x8a, 0x82], "masked, as a client's");
    assert_eq!([pong[6] ^ pong[2], pong[7] ^ pong[3]], [b'n', 99]);
}

#[tokio::test(start_paused = true)]
async fn a_leg_may_end_in_one_direction_behind_its_end() {
    let (mut running, mut leg) = half(LegFraming::Capsules, LegRole::Server, TunnelTimeouts::default());
    leg.write_all(b"\xa0\x28\xd7\xf3\x02hi").await.unwrap();
    leg.shutdown().await.unwrap();
    let mut got = Vec::new();
    running.program.read_to_end(&mut got).await.unwrap();
    assert_eq!(got, b"hi");
    running.program.write_all(b"ho").await.unwrap();
    running.program.shutdown().await.unwrap();
    let mut got = Vec::new();
    leg.read_to_end(&mut got).await.unwrap();
    assert_eq!(got, b"\xa0\x28\xd7\xf2\x02ho\xa0\x28\xd7\xf3\x00");
    assert!(matches!(running.carried.await.unwrap().1, TunnelEnd::Complete));
}
