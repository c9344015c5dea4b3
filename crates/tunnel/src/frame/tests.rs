//! Encoded frames are decoded however they are split; invalid frames are refused.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// A frame to send.
#[derive(Clone, Debug, PartialEq)]
enum SentFrame {
    Data(Vec<u8>),
    Ping,
    Pong(Vec<u8>),
    Ack(u64),
    Fin,
}

fn frames() -> impl Strategy<Value = Vec<SentFrame>> {
    let frame = prop_oneof![
        4 => vec(any::<u8>(), 1..200).prop_map(SentFrame::Data),
        1 => (65_000_usize..70_000).prop_map(|n| SentFrame::Data((0..n).map(|at| (at % 251) as u8).collect())),
        1 => Just(SentFrame::Ping),
        1 => vec(any::<u8>(), 0..=125).prop_map(SentFrame::Pong),
        1 => (0..1_u64 << 62).prop_map(SentFrame::Ack),
    ];
    vec(frame, 0..20)
}

fn encode(framing: LegFraming, role: LegRole, frames: &[SentFrame]) -> Vec<u8> {
    let mut encoder = FrameEncoder::new(framing, role);
    let mut out = Vec::new();
    for frame in frames {
        match frame {
            SentFrame::Data(bytes) => {
                let mut buffer = [&[0; HEAD_ROOM][..], bytes].concat();
                let end = buffer.len();
                let range = encoder.data(&mut buffer, HEAD_ROOM..end).unwrap();
                out.extend_from_slice(&buffer[range]);
            }
            SentFrame::Ping => encoder.ping(&mut out).unwrap(),
            SentFrame::Pong(bytes) => encoder.pong(&mut out, bytes).unwrap(),
            SentFrame::Ack(offset) => encoder.ack(&mut out, *offset),
            SentFrame::Fin => encoder.fin(&mut out).unwrap(),
        }
    }
    out
}

/// Decodes pieces that end at `cuts`. Payload appears as `Closed(0, hex)`.
fn decode(decoder: &mut FrameDecoder, bytes: &[u8], cuts: &[usize]) -> Result<Vec<FrameEvent>, FrameError> {
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    ends.push(bytes.len());
    ends.sort_unstable();
    let (mut events, mut start) = (Vec::new(), 0);
    for end in ends {
        let mut piece = bytes[start..end].to_vec();
        start = end;
        let mut at = 0;
        while let (used, Some(event)) = decoder.decode(&mut piece[at..])? {
            at += used;
            events.push(event.clone());
            if let FrameEvent::Data(n) = event {
                events.pop();
                events.push(FrameEvent::Closed(0, hex(&piece[at - n..at])));
            }
        }
    }
    Ok(events)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Joins adjacent payloads, because frame boundaries carry no meaning.
fn joined(events: Vec<FrameEvent>) -> Vec<FrameEvent> {
    let mut out: Vec<FrameEvent> = Vec::new();
    for event in events {
        match (out.last_mut(), event) {
            (Some(FrameEvent::Closed(0, before)), FrameEvent::Closed(0, bytes)) => before.push_str(&bytes),
            (_, event) => out.push(event),
        }
    }
    out
}

fn expected(frames: &[SentFrame], framing: LegFraming) -> Vec<FrameEvent> {
    let events = frames.iter().filter_map(|frame| {
        Some(match frame {
            SentFrame::Data(bytes) => FrameEvent::Closed(0, hex(bytes)),
            SentFrame::Ack(offset) if framing == LegFraming::Capsules => FrameEvent::Ack(*offset),
            SentFrame::Ping if framing != LegFraming::Raw => FrameEvent::Ping(Vec::new()),
            SentFrame::Pong(_) if framing != LegFraming::Raw => FrameEvent::Pong,
            SentFrame::Fin if framing != LegFraming::Raw => FrameEvent::Fin,
            _ => return None,
        })
    });
    joined(events.collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_is_encoded_is_decoded_however_it_is_split(
        mut frames in frames(), cuts in vec(any::<usize>(), 0..60), kind in 0..3, client in any::<bool>(),
    ) {
        let framing = [LegFraming::Raw, LegFraming::Capsules, LegFraming::WebSocket][kind as usize];
        let (role, peer) =
            if client { (LegRole::Client, LegRole::Server) } else { (LegRole::Server, LegRole::Client) };
        frames.push(SentFrame::Fin);
        let bytes = encode(framing, role, &frames);
        let mut decoder = FrameDecoder::new(framing, peer);
        let events = decode(&mut decoder, &bytes, &cuts).unwrap();
        prop_assert_eq!(joined(events), expected(&frames, framing));
        prop_assert_eq!(decoder.finish(), Ok(()));
    }

    #[test]
    fn noise_is_an_error_or_events_and_never_a_panic(
        noise in vec(any::<u8>(), 0..600), cuts in vec(any::<usize>(), 0..10), client in any::<bool>(),
    ) {
        let role = if client { LegRole::Client } else { LegRole::Server };
        for framing in [LegFraming::Capsules, LegFraming::WebSocket] {
            let whole = decode(&mut FrameDecoder::new(framing, role), &noise, &[]).map(joined);
            let split = decode(&mut FrameDecoder::new(framing, role), &noise, &cuts).map(joined);
            prop_assert_eq!(whole, split);
        }
    }
}

fn events(framing: LegFraming, role: LegRole, bytes: &[u8]) -> Result<Vec<FrameEvent>, FrameError> {
    let mut decoder = FrameDecoder::new(framing, role);
    let whole = decode(&mut decoder, bytes, &[])?;
    decoder.finish()?;
    Ok(whole)
}

/// Lower-case hexadecimal digits, and spaces.
fn bytes(hex: &str) -> Vec<u8> {
    let digits: String = hex.split_whitespace().collect();
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn capsules_are_those_of_the_draft() {
    let frames = [SentFrame::Data(b"hi".to_vec()), SentFrame::Ack(65_536), SentFrame::Ping, SentFrame::Fin];
    let sent = encode(LegFraming::Capsules, LegRole::Client, &frames);
    assert_eq!(sent, bytes("a028d7f2 02 6869  af757403 04 80010000  af757401 00  a028d7f3 00"));
}

#[test]
fn the_last_bytes_may_come_with_the_end() {
    let got = events(LegFraming::Capsules, LegRole::Server, &bytes("a028d7f3 02 6869")).unwrap();
    assert_eq!(got, [FrameEvent::Closed(0, "6869".into()), FrameEvent::Fin]);
}

#[test]
fn capsules_that_nobody_knows_are_skipped_and_controls_may_follow_the_end() {
    // The type of RFC 9297's datagrams, a reserved type, and a capsule of 0 bytes.
    let got = events(
        LegFraming::Capsules,
        LegRole::Server,
        &bytes("00 02 ffff 17 4001 aa 3e 00 a028d7f3 00 af757402 00"),
    );
    assert_eq!(got, Ok(vec![FrameEvent::Fin, FrameEvent::Pong]));
}

#[test]
fn a_capsule_of_any_length_passes_without_being_kept() {
    let mut decoder = FrameDecoder::new(LegFraming::Capsules, LegRole::Client);
    // A DATA capsule of 2^62 - 1 bytes.
    let mut head = bytes("a028d7f2 ffffffffffffffff");
    assert_eq!(decoder.decode(&mut head), Ok((12, None)));
    let mut payload = vec![7; 100_000];
    for _ in 0..20 {
        assert_eq!(decoder.decode(&mut payload), Ok((100_000, Some(FrameEvent::Data(100_000)))));
    }
    assert_eq!(decoder.finish(), Err(FrameError::Truncated));
}

#[test]
fn what_is_malformed_says_why() {
    use LegFraming::{Capsules, WebSocket};
    for (framing, hex, why) in [
        (Capsules, "", FrameError::Truncated),
        (Capsules, "a028d7f2 02 6869", FrameError::Truncated),
        (Capsules, "a028d7f3 02 68", FrameError::Truncated),
        (Capsules, "a028d7f3 00 a028d7f2 00", FrameError::DataAfterEnd),
        (Capsules, "a028d7f3 00 a028d7f3 00", FrameError::DataAfterEnd),
        (Capsules, "af757401 407e", FrameError::LongControl),
        (Capsules, "af757403 00", FrameError::Ack),
        (Capsules, "af757403 01 40", FrameError::Ack),
        (Capsules, "af757403 02 0101", FrameError::Ack),
        (WebSocket, "", FrameError::Truncated),
        (WebSocket, "82 02 6869", FrameError::Truncated),
        (WebSocket, "88 02 03e8 82 01 68", FrameError::DataAfterEnd),
        (WebSocket, "88 00 88 00", FrameError::DataAfterEnd),
        (WebSocket, "88 01 03", FrameError::Close),
        (WebSocket, "80 01 68", FrameError::Fragments),
        (WebSocket, "02 01 68 82 01 68", FrameError::Fragments),
    ] {
        assert_eq!(events(framing, LegRole::Client, &bytes(hex)), Err(why), "{framing:?} {hex}");
    }
    assert!(matches!(events(WebSocket, LegRole::Server, &bytes("82 01 68")), Err(FrameError::Head(_))));
}

#[test]
fn messages_in_parts_and_of_text_are_bytes_with_pings_between() {
    let got =
        events(LegFraming::WebSocket, LegRole::Client, &bytes("01 01 68 89 02 abcd 80 01 69 88 02 03e8"))
            .unwrap();
    let data = |hex: &str| FrameEvent::Closed(0, hex.into());
    assert_eq!(got, [data("68"), FrameEvent::Ping(vec![0xab, 0xcd]), data("69"), FrameEvent::Fin]);
}

#[test]
fn who_gives_up_says_why_and_it_is_no_end() {
    let mut out = Vec::new();
    let mut encoder = FrameEncoder::new(LegFraming::WebSocket, LegRole::Server);
    encoder.close(&mut out, 1011, &"the target is gone: ü".repeat(10)).unwrap();
    let got = events(LegFraming::WebSocket, LegRole::Client, &out).unwrap();
    let [FrameEvent::Closed(1011, frames)] = &got[..] else { panic!("{got:?}") };
    assert!(frames.starts_with("the target is gone: ü") && frames.len() <= 123);
}

#[test]
fn each_frame_of_a_client_has_a_key_of_its_own() {
    let frames = vec![SentFrame::Data(vec![0; 4]); 40];
    let sent = encode(LegFraming::WebSocket, LegRole::Client, &frames);
    let mut keys: Vec<&[u8]> = sent.chunks(10).map(|frame| &frame[2..6]).collect();
    keys.sort_unstable();
    keys.dedup();
    assert!(keys.len() > 35, "of 40 random keys, hardly two are the same");
}
