//! What is encoded is decoded, however it is split; what must not be is refused.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// What is sent, and what comes.
#[derive(Clone, Debug, PartialEq)]
enum Word {
    Data(Vec<u8>),
    Ping,
    Pong(Vec<u8>),
    Ack(u64),
    Fin,
}

fn words() -> impl Strategy<Value = Vec<Word>> {
    let word = prop_oneof![
        4 => vec(any::<u8>(), 1..200).prop_map(Word::Data),
        1 => (65_000_usize..70_000).prop_map(|n| Word::Data((0..n).map(|at| (at % 251) as u8).collect())),
        1 => Just(Word::Ping),
        1 => vec(any::<u8>(), 0..=125).prop_map(Word::Pong),
        1 => (0..1_u64 << 62).prop_map(Word::Ack),
    ];
    vec(word, 0..20)
}

fn encode(framing: Framing, role: Role, words: &[Word]) -> Vec<u8> {
    let mut encoder = Encoder::new(framing, role);
    let mut out = Vec::new();
    for word in words {
        match word {
            Word::Data(bytes) => {
                let mut buffer = [&[0; HEAD_ROOM][..], bytes].concat();
                let end = buffer.len();
                let frame = encoder.data(&mut buffer, HEAD_ROOM..end).unwrap();
                out.extend_from_slice(&buffer[frame]);
            }
            Word::Ping => encoder.ping(&mut out).unwrap(),
            Word::Pong(bytes) => encoder.pong(&mut out, bytes).unwrap(),
            Word::Ack(offset) => encoder.ack(&mut out, *offset),
            Word::Fin => encoder.fin(&mut out).unwrap(),
        }
    }
    out
}

/// Decodes pieces that end at `cuts`; payload that came in several is put together.
fn decode(decoder: &mut Decoder, bytes: &[u8], cuts: &[usize]) -> Result<Vec<Event>, Malformed> {
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    ends.push(bytes.len());
    ends.sort_unstable();
    let (mut events, mut start) = (Vec::new(), 0);
    for end in ends {
        let mut piece = bytes[start..end].to_vec();
        start = end;
        let mut at = 0;
        while let (used, Some(event)) = decoder.decode(&mut piece[at..])? {
            // Payload stands in the events as it came.
            at += used;
            events.push(event.clone());
            if let Event::Data(n) = event {
                events.pop();
                events.push(Event::Closed(0, hex(&piece[at - n..at])));
            }
        }
    }
    Ok(events)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Payloads that follow one another are one: where a frame ends means nothing.
fn joined(events: Vec<Event>) -> Vec<Event> {
    let mut out: Vec<Event> = Vec::new();
    for event in events {
        match (out.last_mut(), event) {
            (Some(Event::Closed(0, before)), Event::Closed(0, bytes)) => before.push_str(&bytes),
            (_, event) => out.push(event),
        }
    }
    out
}

fn expected(words: &[Word], framing: Framing) -> Vec<Event> {
    let events = words.iter().filter_map(|word| {
        Some(match word {
            Word::Data(bytes) => Event::Closed(0, hex(bytes)),
            Word::Ack(offset) if framing == Framing::Capsules => Event::Ack(*offset),
            Word::Ping if framing != Framing::Raw => Event::Ping(Vec::new()),
            Word::Pong(_) if framing != Framing::Raw => Event::Pong,
            Word::Fin if framing != Framing::Raw => Event::Fin,
            _ => return None,
        })
    });
    joined(events.collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_is_encoded_is_decoded_however_it_is_split(
        mut words in words(), cuts in vec(any::<usize>(), 0..60), kind in 0..3, client in any::<bool>(),
    ) {
        let framing = [Framing::Raw, Framing::Capsules, Framing::WebSocket][kind as usize];
        let (role, peer) =
            if client { (Role::Client, Role::Server) } else { (Role::Server, Role::Client) };
        words.push(Word::Fin);
        let bytes = encode(framing, role, &words);
        let mut decoder = Decoder::new(framing, peer);
        let events = decode(&mut decoder, &bytes, &cuts).unwrap();
        prop_assert_eq!(joined(events), expected(&words, framing));
        prop_assert_eq!(decoder.ended(), Ok(()));
    }

    #[test]
    fn noise_is_an_error_or_events_and_never_a_panic(
        noise in vec(any::<u8>(), 0..600), cuts in vec(any::<usize>(), 0..10), client in any::<bool>(),
    ) {
        let role = if client { Role::Client } else { Role::Server };
        for framing in [Framing::Capsules, Framing::WebSocket] {
            let whole = decode(&mut Decoder::new(framing, role), &noise, &[]).map(joined);
            let split = decode(&mut Decoder::new(framing, role), &noise, &cuts).map(joined);
            prop_assert_eq!(whole, split);
        }
    }
}

fn events(framing: Framing, role: Role, bytes: &[u8]) -> Result<Vec<Event>, Malformed> {
    let mut decoder = Decoder::new(framing, role);
    let whole = decode(&mut decoder, bytes, &[])?;
    decoder.ended()?;
    Ok(whole)
}

/// Lower-case hexadecimal digits, and spaces.
fn bytes(hex: &str) -> Vec<u8> {
    let digits: String = hex.split_whitespace().collect();
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn capsules_are_those_of_the_draft() {
    let words = [Word::Data(b"hi".to_vec()), Word::Ack(65_536), Word::Ping, Word::Fin];
    let sent = encode(Framing::Capsules, Role::Client, &words);
    assert_eq!(sent, bytes("a028d7f2 02 6869  af757403 04 80010000  af757401 00  a028d7f3 00"));
}

#[test]
fn the_last_bytes_may_come_with_the_end() {
    let got = events(Framing::Capsules, Role::Server, &bytes("a028d7f3 02 6869")).unwrap();
    assert_eq!(got, [Event::Closed(0, "6869".into()), Event::Fin]);
}

#[test]
fn capsules_that_nobody_knows_are_skipped_and_controls_may_follow_the_end() {
    // The type of RFC 9297's datagrams, one that is there to be skipped, and one of 0 bytes.
    let got = events(
        Framing::Capsules,
        Role::Server,
        &bytes("00 02 ffff 17 4001 aa 3e 00 a028d7f3 00 af757402 00"),
    );
    assert_eq!(got, Ok(vec![Event::Fin, Event::Pong]));
}

#[test]
fn a_capsule_of_any_length_passes_without_being_kept() {
    let mut decoder = Decoder::new(Framing::Capsules, Role::Client);
    // A DATA capsule of 2^62 - 1 bytes.
    let mut head = bytes("a028d7f2 ffffffffffffffff");
    assert_eq!(decoder.decode(&mut head), Ok((12, None)));
    let mut payload = vec![7; 100_000];
    for _ in 0..20 {
        assert_eq!(decoder.decode(&mut payload), Ok((100_000, Some(Event::Data(100_000)))));
    }
    assert_eq!(decoder.ended(), Err(Malformed::Truncated));
}

#[test]
fn what_is_malformed_says_why() {
    use Framing::{Capsules, WebSocket};
    for (framing, hex, why) in [
        (Capsules, "", Malformed::Truncated),
        (Capsules, "a028d7f2 02 6869", Malformed::Truncated),
        (Capsules, "a028d7f3 02 68", Malformed::Truncated),
        (Capsules, "a028d7f3 00 a028d7f2 00", Malformed::BehindEnd),
        (Capsules, "a028d7f3 00 a028d7f3 00", Malformed::BehindEnd),
        (Capsules, "af757401 407e", Malformed::LongControl),
        (Capsules, "af757403 00", Malformed::Ack),
        (Capsules, "af757403 01 40", Malformed::Ack),
        (Capsules, "af757403 02 0101", Malformed::Ack),
        (WebSocket, "", Malformed::Truncated),
        (WebSocket, "82 02 6869", Malformed::Truncated),
        (WebSocket, "88 02 03e8 82 01 68", Malformed::BehindEnd),
        (WebSocket, "88 00 88 00", Malformed::BehindEnd),
        (WebSocket, "88 01 03", Malformed::Close),
        (WebSocket, "80 01 68", Malformed::Fragments),
        (WebSocket, "02 01 68 82 01 68", Malformed::Fragments),
    ] {
        assert_eq!(events(framing, Role::Client, &bytes(hex)), Err(why), "{framing:?} {hex}");
    }
    assert!(matches!(events(WebSocket, Role::Server, &bytes("82 01 68")), Err(Malformed::Frame(_))));
}

#[test]
fn messages_in_parts_and_of_text_are_bytes_with_pings_between() {
    let got =
        events(Framing::WebSocket, Role::Client, &bytes("01 01 68 89 02 abcd 80 01 69 88 02 03e8")).unwrap();
    let data = |hex: &str| Event::Closed(0, hex.into());
    assert_eq!(got, [data("68"), Event::Ping(vec![0xab, 0xcd]), data("69"), Event::Fin]);
}

#[test]
fn who_gives_up_says_why_and_it_is_no_end() {
    let mut out = Vec::new();
    let mut encoder = Encoder::new(Framing::WebSocket, Role::Server);
    encoder.close(&mut out, 1011, &"the target is gone: ü".repeat(10)).unwrap();
    let got = events(Framing::WebSocket, Role::Client, &out).unwrap();
    let [Event::Closed(1011, words)] = &got[..] else { panic!("{got:?}") };
    assert!(words.starts_with("the target is gone: ü") && words.len() <= 123);
}

#[test]
fn each_frame_of_a_client_has_a_key_of_its_own() {
    let words = vec![Word::Data(vec![0; 4]); 40];
    let sent = encode(Framing::WebSocket, Role::Client, &words);
    let mut keys: Vec<&[u8]> = sent.chunks(10).map(|frame| &frame[2..6]).collect();
    keys.sort_unstable();
    keys.dedup();
    assert!(keys.len() > 35, "of 40 random keys, hardly two are the same");
}
