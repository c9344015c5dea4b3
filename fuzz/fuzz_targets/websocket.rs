//! Any bytes as the heads of WebSocket frames, from either side: what is decided about a head stays
//! decided, and a head that is accepted is the one that the writer would have written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use outflow_wire::websocket::{FrameHead, FrameSender, MAX_FRAME_HEAD, mask};

fuzz_target!(|data: &[u8]| {
    for sender in [FrameSender::Client, FrameSender::Server] {
        head(data, sender);
    }
    outflow_channels::fuzzing::frames(data);
});

fn head(data: &[u8], sender: FrameSender) {
    let whole = FrameHead::parse(data, sender);
    let mut lengths = 0..=data.len().min(MAX_FRAME_HEAD);
    let decided = lengths.find(|len| FrameHead::parse(&data[..*len], sender) != Ok(None));
    let Some(len) = decided else {
        assert!(data.len() < MAX_FRAME_HEAD, "a head without a bound");
        return;
    };
    assert_eq!(FrameHead::parse(&data[..len], sender), whole, "what follows byte {len} changes it");
    let Ok(Some(head)) = whole else { return };
    assert_eq!(head.len, len, "complete before its last byte, or after it");
    let mut written = Vec::new();
    FrameHead::write(&mut written, head.opcode, head.payload, head.mask);
    if !head.fin {
        written[0] &= 0x7f;
    }
    assert_eq!(written, data[..len]);
    if let Some(key) = head.mask {
        let payload = &data[len..];
        let cut = payload.len() / 3;
        let mut masked = payload.to_vec();
        mask(&mut masked, key, 0);
        assert!(
            masked.iter().zip(payload).zip(key.iter().cycle()).all(|((one, other), key)| one ^ other == *key)
        );
        let (one, other) = masked.split_at_mut(cut);
        mask(other, key, cut as u64);
        mask(one, key, 0);
        assert_eq!(masked, payload, "masked in parts");
    }
}
