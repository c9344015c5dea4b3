//! Bytes both ways, in every order of ends; the path they take; what happens when a side breaks.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use outflow_relay::flow::{
    ByteCounts, FlowCounters, FlowEnd, FlowOutcome, FlowSide, FlowSocket, FlowTimeouts, flow,
};
use rustix::net::{SendFlags, sockopt};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::support::{Duplex, SocketSort, end_of, is_reset, read, tcp, write};

const MIB: usize = 1024 * 1024;

/// More than a flow of some megabytes needs, far less than one that spins.
const POLLS: usize = 100_000;

/// Starts a flow that fails when it is polled more than [`POLLS`] times.
fn start(
    left: FlowSocket,
    right: FlowSocket,
    timeouts: FlowTimeouts,
) -> (JoinHandle<FlowOutcome>, Arc<FlowCounters>) {
    start_with(left, right, b"", timeouts)
}

fn start_with(
    left: FlowSocket,
    right: FlowSocket,
    head: &'static [u8],
    timeouts: FlowTimeouts,
) -> (JoinHandle<FlowOutcome>, Arc<FlowCounters>) {
    let counters = Arc::<FlowCounters>::default();
    let shared = Arc::clone(&counters);
    let flowing = tokio::spawn(async move {
        let mut flow = pin!(flow(left, right, head, &timeouts, &shared));
        let mut polls = 0;
        poll_fn(|cx| {
            polls += 1;
            assert!(polls < POLLS, "a busy loop");
            flow.as_mut().poll(cx)
        })
        .await
    });
    (flowing, counters)
}

/// Two TCP connections with a flow between them: the peers' ends.
async fn joined(
    timeouts: FlowTimeouts,
) -> (TcpStream, TcpStream, JoinHandle<FlowOutcome>, Arc<FlowCounters>) {
    let ((left, one), (right, other)) = (tcp().await, tcp().await);
    let (flowing, counters) = start(one.into(), other.into(), timeouts);
    (left, right, flowing, counters)
}

fn complete(flowed: &FlowOutcome) {
    assert!(matches!(flowed.end, FlowEnd::Complete), "{flowed:?}");
}

/// When a side ends its direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    /// After its last byte.
    AtOnce,
    /// It begins to send only once the other side has ended.
    Last,
}

async fn talk(peer: Box<dyn Duplex>, says: (u64, usize), hears: (u64, usize), ends: Ends, piece: usize) {
    let (reading, mut writing) = tokio::io::split(peer);
    let speak = async {
        write(&mut writing, says.0, says.1, piece).await;
        writing.shutdown().await.unwrap();
    };
    match ends {
        Ends::AtOnce => tokio::join!(read(reading, hears.0, hears.1, piece), speak).0,
        Ends::Last => {
            read(reading, hears.0, hears.1, piece).await;
            speak.await;
        }
    }
}

#[tokio::test]
async fn every_order_of_ends_brings_every_byte() {
    let kinds = [SocketSort::Tcp, SocketSort::Narrow, SocketSort::Unix];
    let mut seed = 0;
    for (one, other) in kinds.into_iter().flat_map(|one| kinds.map(|other| (one, other))) {
        for (left_ends, right_ends) in
            [(Ends::AtOnce, Ends::AtOnce), (Ends::AtOnce, Ends::Last), (Ends::Last, Ends::AtOnce)]
        {
            let most = if [one, other].contains(&SocketSort::Narrow) { 200_000 } else { 3 * MIB };
            for (up, down) in [(most, most / 2), (0, most), (most, 0), (1, 1), (0, 0)] {
                seed += 10;
                let ((left, near), (right, far)) = (end_of(one).await, end_of(other).await);
                let (flowing, counters) = start(near, far, FlowTimeouts::default());
                let (says, hears) = ((seed, up), (seed + 5, down));
                let piece = if seed % 3 == 0 { 200_000 } else { 3_000 };
                let right = tokio::spawn(talk(right, hears, says, right_ends, piece));
                talk(left, says, hears, left_ends, piece).await;
                right.await.unwrap();
                let flowed = flowing.await.unwrap();
                let what = format!("{one:?} {left_ends:?} {up}, {other:?} {right_ends:?} {down}: {flowed:?}");
                assert!(matches!(flowed.end, FlowEnd::Complete), "{what}");
                assert_eq!((flowed.up.total(), flowed.down.total()), (up as u64, down as u64), "{what}");
                assert_eq!(counters.bytes(), flowed.up + flowed.down, "{what}");
            }
        }
    }
}

#[tokio::test]
async fn much_is_spliced_in_whatever_pieces_it_comes() {
    let (left, right, flowing, counters) = joined(FlowTimeouts::default()).await;
    let len = 120 * MIB;
    let right = tokio::spawn(talk(Box::new(right), (2, len), (1, len), Ends::AtOnce, 700_000));
    talk(Box::new(left), (1, len), (2, len), Ends::AtOnce, 300_000).await;
    right.await.unwrap();
    let flowed = flowing.await.unwrap();
    complete(&flowed);
    for bytes in [flowed.up, flowed.down] {
        assert_eq!(bytes.total(), len as u64);
        assert!(bytes.spliced > bytes.copied * 4, "not spliced: {flowed:?}");
    }
    assert_eq!((counters.unspliceable(), counters.without_pipe()), (0, 0));
}

#[tokio::test]
async fn unix_sockets_are_spliced_as_well() {
    let ((left, near), (right, far)) = (end_of(SocketSort::Unix).await, end_of(SocketSort::Unix).await);
    let (flowing, counters) = start(near, far, FlowTimeouts::default());
    let len = 20 * MIB;
    let right = tokio::spawn(talk(right, (2, len), (1, len), Ends::AtOnce, 700_000));
    talk(left, (1, len), (2, len), Ends::AtOnce, 700_000).await;
    right.await.unwrap();
    complete(&flowing.await.unwrap());
    assert_eq!(counters.unspliceable(), 0);
    assert!(counters.bytes().spliced > 20 * MIB as u64, "{counters:?}");
}

#[tokio::test]
async fn small_messages_are_copied_and_none_waits_for_the_next() {
    let (mut left, mut right, flowing, _) = joined(FlowTimeouts::default()).await;
    let mut got = [0; 300];
    for round in 0..1000_u32 {
        let message = [round as u8; 300];
        left.write_all(&message).await.unwrap();
        right.read_exact(&mut got).await.unwrap();
        assert_eq!(got, message);
        right.write_all(&got[..7]).await.unwrap();
        left.read_exact(&mut got[..7]).await.unwrap();
        assert_eq!(got[..7], message[..7]);
    }
    drop((left, right));
    let flowed = flowing.await.unwrap();
    assert_eq!(flowed.up, ByteCounts { spliced: 0, copied: 300_000 });
    assert_eq!(flowed.down, ByteCounts { spliced: 0, copied: 7_000 });
}

#[tokio::test]
async fn what_was_read_before_comes_first() {
    let ((mut left, one), (mut right, other)) = (tcp().await, tcp().await);
    let (flowing, _) = start_with(one.into(), other.into(), b"PROXY ", FlowTimeouts::default());
    left.write_all(b"hello").await.unwrap();
    left.shutdown().await.unwrap();
    let mut got = Vec::new();
    right.read_to_end(&mut got).await.unwrap();
    assert_eq!(got, b"PROXY hello");
    right.shutdown().await.unwrap();
    assert_eq!(left.read(&mut [0]).await.unwrap(), 0);
    complete(&flowing.await.unwrap());
}

#[tokio::test]
async fn a_reset_on_one_side_resets_the_other() {
    for (breaks, megabytes) in
        [(FlowSide::Left, 0), (FlowSide::Right, 0), (FlowSide::Left, 5), (FlowSide::Right, 5)]
    {
        let (left, right, flowing, _) = joined(FlowTimeouts::default()).await;
        let (mut breaking, mut other) = if breaks == FlowSide::Left { (left, right) } else { (right, left) };
        // Some bytes have arrived, so that the end could pass for an orderly one.
        let writing = tokio::spawn(async move {
            write(&mut breaking, 3, megabytes * MIB + 1000, 100_000).await;
            breaking
        });
        let mut first = vec![0; megabytes * MIB + 1000];
        other.read_exact(&mut first).await.unwrap();
        let breaking = writing.await.unwrap();
        sockopt::set_socket_linger(&breaking, Some(Duration::ZERO)).unwrap();
        drop(breaking);
        is_reset(other.read(&mut [0]).await);
        let flowed = flowing.await.unwrap();
        assert!(matches!(flowed.end, FlowEnd::Broken(side, _) if side == breaks), "{flowed:?}");
    }
}

#[tokio::test]
async fn a_target_that_is_gone_resets_the_source() {
    let (mut left, right, flowing, _) = joined(FlowTimeouts::default()).await;
    drop(right);
    // The end of its direction arrives first; then the kernel reports that it does not read either.
    assert_eq!(left.read(&mut [0]).await.unwrap(), 0);
    loop {
        if let Err(error) = left.write_all(&[1; 1000]).await {
            is_reset(Err(error));
            break;
        }
        tokio::task::yield_now().await;
    }
    let flowed = flowing.await.unwrap();
    assert!(matches!(flowed.end, FlowEnd::Broken(FlowSide::Right, _)), "{flowed:?}");
}

#[tokio::test]
async fn an_answer_before_a_reset_is_handed_on() {
    let (mut left, mut right, flowing, _) = joined(FlowTimeouts::default()).await;
    left.write_all(b"a request that is not wanted").await.unwrap();
    right.readable().await.unwrap();
    right.write_all(b"413 too large").await.unwrap();
    // With unread bytes the kernel resets.
    drop(right);
    let mut got = Vec::new();
    is_reset(left.read_to_end(&mut got).await);
    assert_eq!(got, b"413 too large");
    assert!(matches!(flowing.await.unwrap().end, FlowEnd::Broken(FlowSide::Right, _)));
}

#[tokio::test]
async fn a_flow_that_is_dropped_resets_both() {
    let (mut left, mut right, flowing, _) = joined(FlowTimeouts::default()).await;
    left.write_all(b"half").await.unwrap();
    right.read_exact(&mut [0; 4]).await.unwrap();
    flowing.abort();
    is_reset(left.read(&mut [0]).await);
    is_reset(right.read(&mut [0]).await);
}

#[tokio::test]
async fn urgent_bytes_stop_nothing() {
    let (left, right, flowing, _) = joined(FlowTimeouts::default()).await;
    let reading = tokio::spawn(async move {
        let mut got = Vec::new();
        let mut right = right;
        right.read_to_end(&mut got).await.unwrap();
        right.shutdown().await.unwrap();
        got
    });
    let mut left = left;
    for _ in 0..4 {
        left.write_all(&[b'x'; MIB]).await.unwrap();
        left.writable().await.unwrap();
        rustix::net::send(&left, b"!", SendFlags::OOB).unwrap();
        left.write_all(b"behind").await.unwrap();
    }
    left.shutdown().await.unwrap();
    let got = reading.await.unwrap();
    let behind = got.windows(6).filter(|window| window == b"behind").count();
    assert_eq!(behind, 4);
    // Urgent bytes themselves may get lost: RFC 6093 advises against them.
    assert!((4 * (MIB + 6)..=4 * (MIB + 7)).contains(&got.len()), "{}", got.len());
    complete(&flowing.await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn silence_ends_a_flow_and_bytes_put_that_off() {
    let timeouts =
        FlowTimeouts { idle: Some(Duration::from_secs(60)), half_closed: Some(Duration::from_secs(10)) };
    let (mut left, mut right, flowing, _) = joined(timeouts).await;
    let begin = Instant::now();
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_secs(50)).await;
        left.write_all(b"x").await.unwrap();
        right.read_exact(&mut [0]).await.unwrap();
    }
    is_reset(right.read(&mut [0]).await);
    is_reset(left.read(&mut [0]).await);
    assert!(matches!(flowing.await.unwrap().end, FlowEnd::Idle));
    let took = begin.elapsed().as_secs();
    assert!((210..=211).contains(&took), "{took} s");
}

#[tokio::test(start_paused = true)]
async fn one_side_alone_has_less_time() {
    let timeouts = FlowTimeouts { idle: None, half_closed: Some(Duration::from_secs(10)) };
    let (mut left, mut right, flowing, _) = joined(timeouts).await;
    tokio::time::sleep(Duration::from_secs(5_000)).await;
    left.shutdown().await.unwrap();
    assert_eq!(right.read(&mut [0]).await.unwrap(), 0);
    let begin = Instant::now();
    is_reset(left.read(&mut [0]).await);
    is_reset(right.write(b"x").await);
    assert!(matches!(flowing.await.unwrap().end, FlowEnd::Idle));
    let took = begin.elapsed().as_secs();
    assert!((10..=11).contains(&took), "{took} s");
}

/// Both sides send more than anyone reads. Paused time advances only when nothing else can run, so
/// a busy loop would reach [`POLLS`] before the timeout.
#[tokio::test(start_paused = true)]
async fn nobody_spins_while_nobody_reads() {
    let timeouts = FlowTimeouts { idle: Some(Duration::from_secs(3_600)), half_closed: None };
    for kind in [SocketSort::Tcp, SocketSort::Narrow, SocketSort::Unix] {
        let ((mut left, near), (mut right, far)) = (end_of(kind).await, end_of(kind).await);
        let (flowing, _) = start(near, far, timeouts);
        let fill = |peer: &mut Box<dyn Duplex>| {
            let mut written = 0;
            let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
            while let Poll::Ready(n) = std::pin::Pin::new(&mut **peer).poll_write(&mut cx, &[7; 50_000]) {
                written += n.unwrap();
            }
            written
        };
        let mut written = 0;
        for _ in 0..100 {
            written += fill(&mut left) + fill(&mut right);
            tokio::task::yield_now().await;
        }
        assert!(written > 0);
        let flowed = flowing.await.unwrap();
        assert!(matches!(flowed.end, FlowEnd::Idle), "{flowed:?}");
        drop((left, right));
    }
}

/// A side that only reads is always writable, which makes a naive select(2) loop spin.
#[tokio::test(start_paused = true)]
async fn nobody_spins_while_nobody_speaks() {
    let timeouts = FlowTimeouts { idle: Some(Duration::from_secs(3_600)), half_closed: None };
    let (mut left, mut right, flowing, _) = joined(timeouts).await;
    right.write_all(b"x").await.unwrap();
    right.shutdown().await.unwrap();
    let mut got = Vec::new();
    left.read_to_end(&mut got).await.unwrap();
    assert_eq!(got, b"x");
    assert!(matches!(flowing.await.unwrap().end, FlowEnd::Idle));
}
