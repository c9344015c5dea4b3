//! Sessions: who may come back, until when, and what becomes of those that nobody comes back to.

use std::time::Duration;

use bytes::Bytes;
use outflow_tunnel::carry::{self, TunnelEnd};
use outflow_tunnel::frame::{FrameDecoder, FrameEncoder, FrameEvent, HEAD_ROOM, LegFraming, LegRole};
use outflow_tunnel::session::{
    AttachError, LegOutcome, ResumeResponse, SessionId, SessionLimits, Sessions, TunnelSession, WINDOW_BYTES,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use outflow_testkit::noise;

use crate::side::{Fate, Watched, watched};
use crate::world::{World, start};

fn id(session: &TunnelSession<Watched>) -> SessionId {
    match session.response() {
        ResumeResponse::Granted { id, .. } | ResumeResponse::Again { id, .. } => id,
    }
}

fn run(session: TunnelSession<Watched>, room: usize) -> (DuplexStream, JoinHandle<LegOutcome>) {
    let (leg, other) = duplex(room);
    let limits = carry::TunnelTimeouts::default();
    (other, tokio::spawn(async move { session.run(leg, Bytes::new(), &limits).await.1 }))
}

fn begin(sessions: &Sessions<Watched>, owner: &str) -> (TunnelSession<Watched>, Fate, DuplexStream) {
    let (far, fate, program) = watched(4 << 20);
    let Ok(session) = sessions.begin(owner, far) else { panic!("too many") };
    (session, fate, program)
}

fn data(payload: &[u8]) -> Vec<u8> {
    let mut buffer = [&[0; HEAD_ROOM][..], payload].concat();
    let end = buffer.len();
    let mut encoder = FrameEncoder::new(LegFraming::Capsules, LegRole::Client);
    let frame = encoder.data(&mut buffer, HEAD_ROOM..end).unwrap();
    buffer[frame].to_vec()
}

fn ack(offset: u64) -> Vec<u8> {
    let mut out = Vec::new();
    FrameEncoder::new(LegFraming::Capsules, LegRole::Client).ack(&mut out, offset);
    out
}

/// Reads payload until there are `len` bytes, or nothing arrives for 20 seconds.
async fn payload(leg: &mut DuplexStream, len: usize) -> Vec<u8> {
    let mut decoder = FrameDecoder::new(LegFraming::Capsules, LegRole::Client);
    let mut out = Vec::new();
    while out.len() < len {
        let mut piece = vec![0; 10_000];
        let Ok(n) = tokio::time::timeout(Duration::from_secs(20), leg.read(&mut piece)).await else { break };
        let (n, mut at) = (n.unwrap(), 0);
        assert!(n > 0, "the leg has ended");
        while let (used, Some(event)) = decoder.decode(&mut piece[at..n]).unwrap() {
            at += used;
            if let FrameEvent::Data(n) = event {
                out.extend_from_slice(&piece[at - n..at]);
            }
        }
    }
    out
}

#[tokio::test(start_paused = true)]
async fn only_the_owner_may_come_back_to_what_is_there() {
    let sessions = Sessions::new(SessionLimits::default());
    let (session, _, mut program) = begin(&sessions, "anna");
    let id = id(&session);
    let (mut leg, ran) = run(session, 1 << 16);
    leg.write_all(&data(b"0123456789")).await.unwrap();
    program.read_exact(&mut [0; 10]).await.unwrap();
    program.write_all(b"abcdef").await.unwrap();
    assert_eq!(payload(&mut leg, 6).await, b"abcdef");
    leg.write_all(&ack(4)).await.unwrap();
    drop(leg);
    assert!(matches!(ran.await.unwrap(), LegOutcome::Detached(_)));

    let stranger: SessionId = "AAAAAAAAAAAAAAAAAAAAAA".parse().unwrap();
    let refused = |result: Result<TunnelSession<Watched>, AttachError>| result.err().unwrap();
    assert_eq!(refused(sessions.attach(stranger, "anna", 4).await), AttachError::Unknown);
    assert_eq!(refused(sessions.attach(id, "berta", 4).await), AttachError::NotYours);
    assert_eq!(refused(sessions.attach(id, "anna", 3).await), AttachError::OutOfWindow, "acknowledged");
    assert_eq!(refused(sessions.attach(id, "anna", 7).await), AttachError::OutOfWindow, "never sent");
    assert_eq!(refused(sessions.attach(id, "anna", u64::MAX).await), AttachError::OutOfWindow);

    let session = sessions.attach(id, "anna", 5).await.unwrap();
    assert_eq!(session.response(), ResumeResponse::Again { id, received: 10 });
    let (mut leg, _ran) = run(session, 1 << 16);
    assert_eq!(payload(&mut leg, 1).await, b"f", "what was not received comes again");
}

#[tokio::test(start_paused = true)]
async fn who_does_not_come_back_is_given_up_and_the_far_end_is_reset() {
    let sessions = Sessions::new(SessionLimits::default());
    let (session, fate, _program) = begin(&sessions, "anna");
    let id = id(&session);
    let (leg, _) = run(session, 1 << 16);
    let start = Instant::now();
    drop(leg);
    tokio::time::sleep(Duration::from_secs(59)).await;
    assert!(!fate.is_reset());
    // Reconnecting starts the time again.
    let session = sessions.attach(id, "anna", 0).await.unwrap();
    let (leg, ran) = run(session, 1 << 16);
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(!fate.is_reset());
    drop(leg);
    assert!(matches!(ran.await.unwrap(), LegOutcome::Detached(_)));
    let lost = Instant::now();
    while !fate.is_reset() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!((60_000..60_200).contains(&lost.elapsed().as_millis()), "{:?}", start.elapsed());
    assert_eq!(sessions.attach(id, "anna", 0).await.err(), Some(AttachError::Unknown));
    assert!(sessions.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_newer_leg_displaces_the_older() {
    let sessions = Sessions::new(SessionLimits::default());
    let (session, fate, mut program) = begin(&sessions, "anna");
    let id = id(&session);
    let (mut older, ran) = run(session, 1 << 16);
    older.write_all(&data(b"one ")).await.unwrap();
    program.read_exact(&mut [0; 4]).await.unwrap();
    // The older leg has not noticed yet that its network is gone.
    let session = sessions.attach(id, "anna", 0).await.unwrap();
    assert!(matches!(ran.await.unwrap(), LegOutcome::Displaced));
    let mut rest = Vec::new();
    older.read_to_end(&mut rest).await.unwrap();
    assert_eq!(session.response(), ResumeResponse::Again { id, received: 4 });
    let (mut newer, _ran) = run(session, 1 << 16);
    newer.write_all(&data(b"two")).await.unwrap();
    let mut got = [0; 3];
    program.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"two");
    // The older leg lets nothing expire.
    tokio::time::sleep(Duration::from_secs(20)).await;
    newer.write_all(&ack(0)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(45)).await;
    assert!(!fate.is_reset());
}

#[tokio::test(start_paused = true)]
async fn who_never_acknowledges_gets_a_window_and_no_more() {
    let sessions = Sessions::new(SessionLimits::default());
    let (session, _, mut program) = begin(&sessions, "anna");
    let id = id(&session);
    let sent = noise(1, 3 << 20);
    program.write_all(&sent).await.unwrap();
    let (mut leg, ran) = run(session, 4 << 20);
    let got = payload(&mut leg, usize::MAX).await;
    assert_eq!(got.len(), WINDOW_BYTES);
    assert!(got == sent[..WINDOW_BYTES]);
    // Each acknowledged byte lets another one pass.
    leg.write_all(&ack(100)).await.unwrap();
    assert!(payload(&mut leg, 100).await == sent[WINDOW_BYTES..WINDOW_BYTES + 100]);
    drop(leg);
    ran.await.unwrap();
    let session = sessions.attach(id, "anna", 100).await.unwrap();
    let (mut leg, _ran) = run(session, 4 << 20);
    assert!(payload(&mut leg, WINDOW_BYTES).await == sent[100..WINDOW_BYTES + 100], "the whole window again");
}

#[tokio::test(start_paused = true)]
async fn what_arrives_is_acknowledged_soon_and_often() {
    let sessions = Sessions::new(SessionLimits::default());
    let (session, _, mut program) = begin(&sessions, "anna");
    let (mut leg, _ran) = run(session, 1 << 20);
    let start = Instant::now();
    leg.write_all(&data(b"a few bytes")).await.unwrap();
    program.read_exact(&mut [0; 11]).await.unwrap();
    let mut got = vec![0; ack(11).len()];
    leg.read_exact(&mut got).await.unwrap();
    assert_eq!(got, ack(11));
    assert_eq!(start.elapsed().as_millis(), 100);

    for _ in 0..8 {
        leg.write_all(&data(&[7; 32 << 10])).await.unwrap();
    }
    program.read_exact(&mut [0; 256 << 10]).await.unwrap();
    let mut offsets = Vec::new();
    let mut decoder = FrameDecoder::new(LegFraming::Capsules, LegRole::Client);
    while offsets.last() != Some(&(11 + (256 << 10))) {
        let mut byte = [0];
        leg.read_exact(&mut byte).await.unwrap();
        if let (_, Some(FrameEvent::Ack(offset))) = decoder.decode(&mut byte).unwrap() {
            offsets.push(offset);
        } else if let (_, Some(FrameEvent::Ack(offset))) = decoder.decode(&mut []).unwrap() {
            offsets.push(offset);
        }
    }
    assert!(offsets.len() >= 3, "{offsets:?}");
    assert!(offsets.is_sorted());
}

#[tokio::test(start_paused = true)]
async fn acknowledging_what_was_not_sent_is_malformed() {
    let sessions = Sessions::new(SessionLimits::default());
    let (session, fate, _program) = begin(&sessions, "anna");
    let (mut leg, ran) = run(session, 1 << 16);
    leg.write_all(&ack(1)).await.unwrap();
    drop(leg);
    assert!(matches!(ran.await.unwrap(), LegOutcome::Over(TunnelEnd::Malformed(_))));
    assert!(fate.is_reset() && sessions.is_empty());
}

#[tokio::test(start_paused = true)]
async fn there_are_no_more_than_allowed_and_an_end_makes_room() {
    let sessions = Sessions::new(SessionLimits { sessions: 3, per_owner: 2, ..SessionLimits::default() });
    let one = begin(&sessions, "anna");
    let _two = begin(&sessions, "anna");
    let (far, fate, _) = watched(1);
    let Err(far) = sessions.begin("anna", far) else { panic!("three of one owner") };
    let Ok(_three) = sessions.begin("berta", far) else { panic!("three in all") };
    let Err(_) = sessions.begin("caesar", watched(1).0) else { panic!("four in all") };
    assert!(!fate.is_reset());
    // Dropped before it ran, it waits for its client and then expires.
    drop(one);
    assert!(sessions.begin("anna", watched(1).0).is_err());
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert!(sessions.begin("anna", watched(1).0).is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_far_end_that_breaks_at_the_server_is_reset_at_the_client() {
    let world = World::new(SessionLimits::default(), Vec::new(), 1 << 16);
    let mut running = start(&world, 1 << 16);
    running.client.write_all(b"hello").await.unwrap();
    running.server.read_exact(&mut [0; 5]).await.unwrap();
    drop(running.server);
    // One direction has ended; bytes in the other direction cannot be accepted.
    running.client.write_all(b"hello?").await.unwrap();
    let (_, end) = running.carried.await.unwrap();
    assert!(matches!(end, TunnelEnd::GivenUp(1011, _)), "{end}");
    assert!(running.client_fate.is_reset() && running.server_fate.is_reset());
    assert!(world.sessions.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_has_forgotten_is_told_as_such() {
    let limits = SessionLimits { keep: Duration::from_millis(50), ..SessionLimits::default() };
    let world = World::new(limits, vec![30], 1 << 16);
    let mut running = start(&world, 1 << 16);
    running.client.write_all(&[1; 100]).await.unwrap();
    let (_, end) = running.carried.await.unwrap();
    let TunnelEnd::LegLost(error) = end else { panic!("{end}") };
    assert!(error.to_string().contains("could not reconnect to the server within"), "{error}");
    assert!(running.client_fate.is_reset());
}
