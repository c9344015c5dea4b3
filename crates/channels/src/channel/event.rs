//! An event, encoded once for each stream format, and its id.

use std::fmt;

use outflow_web::sse;
use outflow_wire::websocket::{FrameHead, Opcode};
use serde::Serialize;

/// Size of an event's data, in bytes.
///
/// Bound: channels.
pub(crate) const MAX_DATA: usize = 64 << 10;

/// How a subscriber receives events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StreamFormat {
    /// Server-sent events (WHATWG HTML, 9.2).
    Sse,
    /// WebSocket text frames (RFC 6455): JSON with the members `id`, `event` and `data`.
    WebSocket,
}

/// Identifies an event. Numbers ascend within a channel. A channel that was dropped and created
/// again, or a restarted server, has another epoch, so that an old id is recognised as such.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EventId {
    pub(crate) epoch: u64,
    pub(crate) number: u64,
}

impl EventId {
    pub(crate) fn parse(text: &str) -> Option<EventId> {
        let (epoch, number) = text.split_once('-')?;
        Some(EventId { epoch: u64::from_str_radix(epoch, 16).ok()?, number: number.parse().ok()? })
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{}", self.epoch, self.number)
    }
}

/// An event, encoded.
#[derive(Debug)]
pub(crate) struct ChannelEvent {
    sse: Box<[u8]>,
    frame: Box<[u8]>,
}

#[derive(Serialize)]
struct JsonMessage<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'a str>,
    data: &'a str,
}

impl ChannelEvent {
    /// `name` has no line ends. A subscriber cannot resume after an event without an id.
    pub(crate) fn new(id: Option<EventId>, name: Option<&str>, data: &str) -> ChannelEvent {
        let mut sse = String::with_capacity(data.len() + 64);
        let displayed = id.as_ref().map(|id| id as &dyn fmt::Display);
        sse::write_event(&mut sse, name, displayed, data);
        let message = JsonMessage { id: id.map(|id| id.to_string()), event: name, data };
        // Serialising strings does not fail.
        let json = serde_json::to_vec(&message).unwrap_or_default();
        let mut frame = Vec::with_capacity(json.len() + outflow_wire::websocket::MAX_FRAME_HEAD);
        FrameHead::write(&mut frame, Opcode::Text, json.len() as u64, None);
        frame.extend_from_slice(&json);
        ChannelEvent { sse: sse.into_bytes().into(), frame: frame.into() }
    }

    pub(crate) fn bytes(&self, form: StreamFormat) -> &[u8] {
        match form {
            StreamFormat::Sse => &self.sse,
            StreamFormat::WebSocket => &self.frame,
        }
    }

    /// Memory of all encodings, in bytes.
    pub(crate) fn size(&self) -> usize {
        self.sse.len() + self.frame.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_written_as_both_standards_want_it() {
        let id = EventId { epoch: 0xab, number: 7 };
        let event = ChannelEvent::new(Some(id), Some("news"), "a\nb");
        assert_eq!(event.bytes(StreamFormat::Sse), b"event: news\nid: ab-7\ndata: a\ndata: b\n\n");
        let json = br#"{"id":"ab-7","event":"news","data":"a\nb"}"#;
        assert_eq!(event.bytes(StreamFormat::WebSocket), [&[0x81, json.len() as u8][..], json].concat());
        assert_eq!(event.size(), event.bytes(StreamFormat::Sse).len() + json.len() + 2);
        let event = ChannelEvent::new(None, None, "");
        assert_eq!(event.bytes(StreamFormat::Sse), b"data: \n\n");
        let event = ChannelEvent::new(None, None, &"x".repeat(200));
        assert_eq!(event.bytes(StreamFormat::WebSocket)[..4], [0x81, 126, 0, 211]);
    }

    #[test]
    fn ids_come_back_as_they_were_and_nothing_else_does() {
        let id = EventId { epoch: u64::MAX, number: 0 };
        assert_eq!(EventId::parse(&id.to_string()), Some(id));
        for wrong in ["", "-", "1", "1-", "-1", "g-1", "1-a", "1-1-1", "urn:uuid:5"] {
            assert_eq!(EventId::parse(wrong), None, "{wrong}");
        }
    }
}
