//! WebSocket frames (RFC 6455) for services that take a connection over: the handshake's key, frame
//! heads, masks.
//!
//! No messages and no state: assembling fragments, closing and pinging are the caller's.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{CONNECTION, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use http::{HeaderMap, HeaderValue};

/// Hashed behind the handshake's key (RFC 6455, 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Maximum length of a frame's head, in bytes.
pub const MAX_FRAME_HEAD: usize = 14;

/// Maximum payload of a control frame (RFC 6455, 5.5), in bytes.
///
/// Bound: tunnels.
pub const MAX_CONTROL_PAYLOAD: u64 = 125;

/// The kind of a frame (RFC 6455, 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    /// Continues the message before it.
    Continuation,
    /// UTF-8.
    Text,
    /// Bytes.
    Binary,
    /// The end, with a status and a reason.
    Close,
    /// To be answered by a pong with the same payload.
    Ping,
    /// The answer.
    Pong,
}

impl Opcode {
    fn of(code: u8) -> Option<Opcode> {
        Some(match code {
            0 => Opcode::Continuation,
            1 => Opcode::Text,
            2 => Opcode::Binary,
            8 => Opcode::Close,
            9 => Opcode::Ping,
            10 => Opcode::Pong,
            _ => return None,
        })
    }

    fn code(self) -> u8 {
        match self {
            Opcode::Continuation => 0,
            Opcode::Text => 1,
            Opcode::Binary => 2,
            Opcode::Close => 8,
            Opcode::Ping => 9,
            Opcode::Pong => 10,
        }
    }

    /// Close, ping or pong: may stand between the fragments of a message.
    #[must_use]
    pub fn is_control(self) -> bool {
        self.code() >= 8
    }
}

/// The side that sent a frame: clients mask what they send, servers do not (RFC 6455, 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameSender {
    /// The side that connected.
    Client,
    /// The side that answered 101.
    Server,
}

/// The head of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHead {
    /// The last of its message.
    pub fin: bool,
    /// The kind of frame.
    pub opcode: Opcode,
    /// The key that the payload is masked with.
    pub mask: Option<[u8; 4]>,
    /// Length of the payload, in bytes.
    pub payload: u64,
    /// Length of the head itself, in bytes.
    pub len: usize,
}

/// Why a frame or a handshake breaks RFC 6455.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WebSocketError(&'static str);

impl fmt::Display for WebSocketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for WebSocketError {}

impl FrameHead {
    /// Reads the head that `bytes` begin with; `None` if there is not all of it yet.
    ///
    /// # Errors
    /// A head that RFC 6455 forbids `sender`: reserved bits and opcodes, a missing or needless
    /// mask, a control frame in parts or with more than 125 bytes, a length that is not written in
    /// the shortest form, one of 2^63 or more.
    pub fn parse(bytes: &[u8], sender: FrameSender) -> Result<Option<FrameHead>, WebSocketError> {
        let [first, second, rest @ ..] = bytes else { return Ok(None) };
        if first & 0x70 != 0 {
            return Err(WebSocketError("a frame uses an extension that was not negotiated"));
        }
        let opcode = Opcode::of(first & 0x0f).ok_or(WebSocketError("a frame of an unknown kind"))?;
        let fin = first & 0x80 != 0;
        if (second & 0x80 != 0) != (sender == FrameSender::Client) {
            return Err(WebSocketError(match sender {
                FrameSender::Client => "a client's frame is not masked",
                FrameSender::Server => "a server's frame is masked",
            }));
        }
        let (payload, rest) = match second & 0x7f {
            126 => {
                let Some((length, rest)) = rest.split_first_chunk() else { return Ok(None) };
                (u64::from(u16::from_be_bytes(*length)), rest)
            }
            127 => {
                let Some((length, rest)) = rest.split_first_chunk() else { return Ok(None) };
                (u64::from_be_bytes(*length), rest)
            }
            short => (u64::from(short), rest),
        };
        let shortest = match second & 0x7f {
            126 => payload > 125,
            127 => payload > 0xffff && payload >> 63 == 0,
            _ => true,
        };
        if !shortest {
            return Err(WebSocketError("a frame's length is not in the shortest form"));
        }
        if opcode.is_control() && (!fin || payload > MAX_CONTROL_PAYLOAD) {
            return Err(WebSocketError("a control frame is fragmented or too long"));
        }
        let (mask, rest) = match sender {
            FrameSender::Client => {
                let Some((mask, rest)) = rest.split_first_chunk() else { return Ok(None) };
                (Some(*mask), rest)
            }
            FrameSender::Server => (None, rest),
        };
        Ok(Some(FrameHead { fin, opcode, mask, payload, len: bytes.len() - rest.len() }))
    }

    /// Appends the head of a whole message, or of a control frame, with `payload` bytes to follow.
    pub fn write(out: &mut Vec<u8>, opcode: Opcode, payload: u64, mask: Option<[u8; 4]>) {
        out.push(0x80 | opcode.code());
        let masked = if mask.is_some() { 0x80 } else { 0 };
        match payload {
            // The casts fit their ranges.
            0..=125 => out.push(masked | payload as u8),
            126..=0xffff => {
                out.push(masked | 126);
                out.extend_from_slice(&(payload as u16).to_be_bytes());
            }
            _ => {
                out.push(masked | 127);
                out.extend_from_slice(&payload.to_be_bytes());
            }
        }
        if let Some(mask) = mask {
            out.extend_from_slice(&mask);
        }
    }
}

/// Masks or unmasks a part of a payload that begins `at` bytes into it.
pub fn mask(bytes: &mut [u8], key: [u8; 4], at: u64) {
    let mut key = key;
    key.rotate_left((at % 4) as usize);
    let wide = u64::from_ne_bytes([key[0], key[1], key[2], key[3], key[0], key[1], key[2], key[3]]);
    let mut chunks = bytes.chunks_exact_mut(8);
    for chunk in &mut chunks {
        // A chunk of eight is eight bytes.
        let masked = u64::from_ne_bytes([
            chunk[0], chunk[1], chunk[2], chunk[3], chunk[4], chunk[5], chunk[6], chunk[7],
        ]) ^ wide;
        chunk.copy_from_slice(&masked.to_ne_bytes());
    }
    for (at, byte) in chunks.into_remainder().iter_mut().enumerate() {
        *byte ^= key[at % 4];
    }
}

/// The `Sec-WebSocket-Accept` for a client's `Sec-WebSocket-Key` (RFC 6455, 4.2.2).
#[must_use]
pub fn accept_key(key: &[u8]) -> String {
    let mut hash = ring::digest::Context::new(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY);
    hash.update(key);
    hash.update(GUID);
    STANDARD.encode(hash.finish())
}

/// Whether a request asks for WebSocket by HTTP/1.1's upgrade. On HTTP/2,
/// [`super::ConnectProtocol`] does (RFC 8441).
#[must_use]
pub fn is_requested(headers: &HeaderMap) -> bool {
    let has = |name, word: &[u8]| {
        headers
            .get_all(name)
            .iter()
            .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
            .any(|one| one.trim_ascii().eq_ignore_ascii_case(word))
    };
    has(UPGRADE, b"websocket") && has(CONNECTION, b"upgrade")
}

/// The value of `Sec-WebSocket-Accept` for a request that asks for WebSocket.
///
/// # Errors
/// Why the request is invalid: answer 400, or for the version 426 (RFC 6455, 4.2.1 and 4.4).
pub fn accept(headers: &HeaderMap) -> Result<HeaderValue, WebSocketError> {
    if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err(WebSocketError("Sec-WebSocket-Version has to be 13"));
    }
    let key = headers.get(SEC_WEBSOCKET_KEY).map(HeaderValue::as_bytes).unwrap_or_default();
    if STANDARD.decode(key).map_or(true, |nonce| nonce.len() != 16) {
        return Err(WebSocketError("Sec-WebSocket-Key has to be 16 bytes in Base64"));
    }
    // Base64 is valid in a field's value.
    HeaderValue::try_from(accept_key(key)).map_err(|_| WebSocketError("Sec-WebSocket-Key cannot be answered"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_the_rfc_is_answered_as_there() {
        let mut headers = HeaderMap::new();
        headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        headers.insert(SEC_WEBSOCKET_KEY, HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ=="));
        assert_eq!(accept(&headers).unwrap(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        headers.insert(SEC_WEBSOCKET_KEY, HeaderValue::from_static("dGhlIHNhbXBsZQ=="));
        assert!(accept(&headers).is_err());
        headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("8"));
        assert!(accept(&headers).unwrap_err().to_string().contains("13"));
    }

    #[test]
    fn heads_come_back_as_they_were_written_and_only_whole() {
        for payload in [0, 1, 125, 126, 127, 65_535, 65_536, (1 << 63) - 1] {
            for (mask, sender) in [(None, FrameSender::Server), (Some([1, 2, 3, 4]), FrameSender::Client)] {
                let mut bytes = Vec::new();
                FrameHead::write(&mut bytes, Opcode::Binary, payload, mask);
                let head = FrameHead { fin: true, opcode: Opcode::Binary, mask, payload, len: bytes.len() };
                assert!(bytes.len() <= MAX_FRAME_HEAD);
                for end in 0..bytes.len() {
                    assert_eq!(FrameHead::parse(&bytes[..end], sender), Ok(None), "{payload} {end}");
                }
                bytes.push(7);
                assert_eq!(FrameHead::parse(&bytes, sender), Ok(Some(head)), "{payload}");
            }
        }
    }

    #[test]
    fn what_the_rfc_forbids_is_malformed() {
        let client = [0; 4];
        for (bytes, why) in [
            (&[0x82, 0x01, 0, 0, 0, 0][..], "no mask"),
            (&[0xc2, 0x81], "reserved bit"),
            (&[0x83, 0x81], "reserved opcode"),
            (&[0x8b, 0x81], "reserved control opcode"),
            (&[0x09, 0x81], "ping in parts"),
            (&[0x89, 0xfe, 0, 126], "long ping"),
            (&[0x82, 0xfe, 0, 125], "not the shortest length"),
            (&[0x82, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff], "not the shortest length"),
            (&[0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0], "2^63"),
        ] {
            let bytes = [bytes, &client].concat();
            assert!(FrameHead::parse(&bytes, FrameSender::Client).is_err(), "{why}");
        }
        assert!(FrameHead::parse(&[0x82, 0x81, 0, 0, 0, 0], FrameSender::Server).is_err());
    }

    #[test]
    fn a_mask_is_its_own_inverse_wherever_a_part_begins() {
        let whole: Vec<u8> = (0..100).collect();
        let key = [9, 8, 7, 200];
        let expected: Vec<u8> = whole.iter().enumerate().map(|(at, byte)| byte ^ key[at % 4]).collect();
        for cut in 0..=whole.len() {
            let mut bytes = whole.clone();
            let (one, other) = bytes.split_at_mut(cut);
            mask(one, key, 0);
            mask(other, key, cut as u64);
            assert_eq!(bytes, expected, "{cut}");
        }
    }
}
