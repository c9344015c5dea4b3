//! An event, rendered once for each form in which it is heard, and its id.

use std::fmt;

use outflow_wire::websocket::{FrameHead, Opcode};
use serde::Serialize;

/// How a subscriber hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Server-sent events (WHATWG HTML, 9.2).
    Sse,
    /// Frames of text (RFC 6455): JSON with the members `id`, `event` and `data`.
    WebSocket,
}

/// What names an event. Ids of one channel ascend; those of a channel that was forgotten in the meantime, or of a server
/// before its restart, have another epoch, and so are not mistaken for those of now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Id {
    pub(super) epoch: u64,
    pub(super) number: u64,
}

impl Id {
    pub(super) fn parse(text: &str) -> Option<Id> {
        let (epoch, number) = text.split_once('-')?;
        Some(Id { epoch: u64::from_str_radix(epoch, 16).ok()?, number: number.parse().ok()? })
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{}", self.epoch, self.number)
    }
}

/// One event, as it leaves.
#[derive(Debug)]
pub(super) struct Event {
    sse: Box<[u8]>,
    frame: Box<[u8]>,
}

#[derive(Serialize)]
struct Message<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'a str>,
    data: &'a str,
}

impl Event {
    /// `name` has no line ends. Without an id, nobody comes back to it.
    pub(super) fn new(id: Option<Id>, name: Option<&str>, data: &str) -> Event {
        let mut sse = String::with_capacity(data.len() + 64);
        if let Some(name) = name {
            sse += &format!("event: {name}\n");
        }
        if let Some(id) = id {
            sse += &format!("id: {id}\n");
        }
        for line in lines(data) {
            sse.push_str("data: ");
            sse.push_str(line);
            sse.push('\n');
        }
        sse.push('\n');
        let message = Message { id: id.map(|id| id.to_string()), event: name, data };
        // Texts are always JSON.
        let json = serde_json::to_vec(&message).unwrap_or_default();
        let mut frame = Vec::with_capacity(json.len() + outflow_wire::websocket::MAX_FRAME_HEAD);
        FrameHead::write(&mut frame, Opcode::Text, json.len() as u64, None);
        frame.extend_from_slice(&json);
        Event { sse: sse.into_bytes().into(), frame: frame.into() }
    }

    pub(super) fn bytes(&self, form: Form) -> &[u8] {
        match form {
            Form::Sse => &self.sse,
            Form::WebSocket => &self.frame,
        }
    }

    /// What it takes, in bytes.
    pub(super) fn size(&self) -> usize {
        self.sse.len() + self.frame.len()
    }
}

/// The lines of a text, whatever ends them: CR LF, LF or CR. A text that ends in one has an empty last line.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.split('\n').enumerate().flat_map({
        let last = text.matches('\n').count();
        move |(at, line)| {
            let line = if at < last { line.strip_suffix('\r').unwrap_or(line) } else { line };
            line.split('\r')
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_written_as_both_standards_want_it() {
        let id = Id { epoch: 0xab, number: 7 };
        let event = Event::new(Some(id), Some("news"), "a\nb");
        assert_eq!(event.bytes(Form::Sse), b"event: news\nid: ab-7\ndata: a\ndata: b\n\n");
        let json = br#"{"id":"ab-7","event":"news","data":"a\nb"}"#;
        assert_eq!(event.bytes(Form::WebSocket), [&[0x81, json.len() as u8][..], json].concat());
        assert_eq!(event.size(), event.bytes(Form::Sse).len() + json.len() + 2);
        let event = Event::new(None, None, "");
        assert_eq!(event.bytes(Form::Sse), b"data: \n\n");
        let event = Event::new(None, None, &"x".repeat(200));
        assert_eq!(event.bytes(Form::WebSocket)[..4], [0x81, 126, 0, 211]);
    }

    #[test]
    fn no_data_can_end_its_line_or_its_event() {
        for (data, expected) in [
            ("a\r\nb", &["a", "b"][..]),
            ("a\rb", &["a", "b"]),
            ("a\n\nid: 9", &["a", "", "id: 9"]),
            ("a\n", &["a", ""]),
            ("a\r\n", &["a", ""]),
            ("\r\r\n\r", &["", "", "", ""]),
            ("\u{2028}ä", &["\u{2028}ä"]),
        ] {
            assert_eq!(lines(data).collect::<Vec<_>>(), expected, "{data:?}");
        }
    }

    #[test]
    fn ids_come_back_as_they_were_and_nothing_else_does() {
        let id = Id { epoch: u64::MAX, number: 0 };
        assert_eq!(Id::parse(&id.to_string()), Some(id));
        for wrong in ["", "-", "1", "1-", "-1", "g-1", "1-a", "1-1-1", "urn:uuid:5"] {
            assert_eq!(Id::parse(wrong), None, "{wrong}");
        }
    }
}
