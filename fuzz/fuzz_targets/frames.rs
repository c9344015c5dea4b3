//! Any bytes from the other end of a tunnel: the same events however the bytes are cut, never more
//! kept than a control frame, and what was decoded comes back from the encoder.
#![no_main]

use libfuzzer_sys::fuzz_target;
use outflow_tunnel::frame::{
    FrameDecoder, FrameEncoder, FrameError, FrameEvent, HEAD_ROOM, LegFraming, LegRole,
};

/// Longest payload of a control frame, in bytes (RFC 6455, 5.5).
const MAX_CONTROL: usize = 125;
/// A Close spends two of them on its status.
const MAX_REASON: usize = MAX_CONTROL - 2;

/// An event, with the payload in place of its length. Adjacent payloads are one.
#[derive(Debug, PartialEq)]
enum LegEvent {
    Data(Vec<u8>),
    Other(FrameEvent),
}

fuzz_target!(|data: &[u8]| {
    let [kind, piece, bytes @ ..] = data else { return };
    let framing = if kind & 1 == 0 { LegFraming::Capsules } else { LegFraming::WebSocket };
    let (role, peer) = match kind & 2 {
        0 => (LegRole::Client, LegRole::Server),
        _ => (LegRole::Server, LegRole::Client),
    };
    let (events, outcome) = decode(framing, role, bytes, bytes.len().max(1));
    let in_pieces = decode(framing, role, bytes, usize::from(*piece).max(1));
    assert_eq!((&events, &outcome), (&in_pieces.0, &in_pieces.1), "in pieces of {piece}");

    let written = encode(framing, peer, &events);
    let (again, _) = decode(framing, role, &written, written.len().max(1));
    let expected: Vec<LegEvent> = events.into_iter().map(as_written).collect();
    assert_eq!(again, expected);
});

/// The events in `bytes`, and how they end.
fn decode(
    framing: LegFraming,
    role: LegRole,
    bytes: &[u8],
    piece: usize,
) -> (Vec<LegEvent>, Result<(), FrameError>) {
    let mut decoder = FrameDecoder::new(framing, role);
    let mut events = Vec::new();
    for piece in bytes.chunks(piece) {
        let mut piece = piece.to_vec();
        let mut at = 0;
        loop {
            let (used, event) = match decoder.decode(&mut piece[at..]) {
                Ok(decoded) => decoded,
                Err(error) => return (events, Err(error)),
            };
            at += used;
            assert!(decoder.remaining() == 0 || at == piece.len(), "a payload was left out");
            match event {
                None => break assert_eq!(at, piece.len(), "bytes are left, and no event"),
                Some(FrameEvent::Data(n)) => {
                    assert!(0 < n && n <= used);
                    let payload = &piece[at - n..at];
                    match events.last_mut() {
                        Some(LegEvent::Data(before)) => before.extend_from_slice(payload),
                        _ => events.push(LegEvent::Data(payload.to_vec())),
                    }
                }
                Some(event) => {
                    if let FrameEvent::Ping(payload) = &event {
                        assert!(payload.len() <= MAX_CONTROL);
                    }
                    events.push(LegEvent::Other(event));
                }
            }
        }
    }
    let end = decoder.finish();
    (events, end)
}

fn encode(framing: LegFraming, role: LegRole, events: &[LegEvent]) -> Vec<u8> {
    let mut encoder = FrameEncoder::new(framing, role);
    let mut out = Vec::new();
    for event in events {
        let written = match event {
            LegEvent::Data(payload) => {
                let mut buffer = [&[0; HEAD_ROOM], payload.as_slice()].concat();
                let end = buffer.len();
                encoder.data(&mut buffer, HEAD_ROOM..end).map(|frame| out.extend_from_slice(&buffer[frame]))
            }
            LegEvent::Other(FrameEvent::Ping(_)) => encoder.ping(&mut out),
            LegEvent::Other(FrameEvent::Pong) => encoder.pong(&mut out, b"any"),
            LegEvent::Other(FrameEvent::Fin) => encoder.fin(&mut out),
            LegEvent::Other(FrameEvent::Closed(status, reason)) => encoder.close(&mut out, *status, reason),
            LegEvent::Other(FrameEvent::Ack(offset)) => {
                encoder.ack(&mut out, *offset);
                Ok(())
            }
            LegEvent::Other(FrameEvent::Done) => {
                encoder.done(&mut out);
                Ok(())
            }
            LegEvent::Other(FrameEvent::Data(_)) => panic!("payload is kept as bytes"),
        };
        written.expect("the system has random numbers");
    }
    out
}

/// What the encoder makes of an event: its pings are empty, and it cuts a reason that became too
/// long when its bytes were made text.
fn as_written(event: LegEvent) -> LegEvent {
    match event {
        LegEvent::Other(FrameEvent::Ping(_)) => LegEvent::Other(FrameEvent::Ping(Vec::new())),
        LegEvent::Other(FrameEvent::Closed(status, mut reason)) => {
            reason.truncate(reason.floor_char_boundary(MAX_REASON));
            LegEvent::Other(FrameEvent::Closed(status, reason))
        }
        event => event,
    }
}
