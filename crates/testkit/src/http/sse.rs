//! A client of server-sent events that hides nothing.

use serde_json::Value;

use super::{HttpClient, Reply};

/// One stream of events.
pub struct EventStream {
    /// The response's head.
    pub head: Reply,
    client: HttpClient,
    /// How long the server wants clients to wait before they reconnect, in milliseconds.
    pub retry: Option<u64>,
}

/// One event of a stream.
#[derive(Debug)]
pub struct SentEvent {
    /// Its `event` field.
    pub name: String,
    /// Its `id` field.
    pub id: String,
    /// Its `data`, which has to be JSON.
    pub data: Value,
}

impl SentEvent {
    /// A member of its data, as text.
    #[track_caller]
    #[must_use]
    pub fn text(&self, name: &str) -> &str {
        self.data[name].as_str().unwrap_or_else(|| panic!("no {name} in {self:?}"))
    }

    /// A member of its data, as a number.
    #[track_caller]
    #[must_use]
    pub fn number(&self, name: &str) -> u64 {
        self.data[name].as_u64().unwrap_or_else(|| panic!("no {name} in {self:?}"))
    }
}

impl EventStream {
    /// Requests `path` with further header lines.
    #[track_caller]
    #[must_use]
    pub fn open(mut client: HttpClient, path: &str, lines: &str) -> EventStream {
        let head = client.request("GET", path, lines).head().expect(200);
        assert_eq!(head.header("content-type"), "text/event-stream");
        EventStream { head, client, retry: None }
    }

    /// The first event, which is the state: downloads, newest first.
    #[track_caller]
    pub fn state(&mut self) -> Vec<Value> {
        let event = self.next().expect("a state");
        assert_eq!(event.name, "state", "{event:?}");
        event.data["downloads"].as_array().unwrap_or_else(|| panic!("{event:?}")).clone()
    }

    /// The next event; `None` at the stream's end.
    #[track_caller]
    #[allow(clippy::should_implement_trait, reason = "tests read on behind an end")]
    pub fn next(&mut self) -> Option<SentEvent> {
        let (mut name, mut id, mut data) = (None, None, None);
        loop {
            let line = self.line()?;
            match line.split_once(": ") {
                Some(("event", value)) => name = Some(value.to_owned()),
                Some(("id", value)) => id = Some(value.to_owned()),
                Some(("retry", value)) => self.retry = Some(value.parse().unwrap()),
                Some(("data", value)) => data = Some(serde_json::from_str(value).unwrap()),
                None if line.is_empty() => match (name.take(), id.take(), data.take()) {
                    (Some(name), Some(id), Some(data)) => return Some(SentEvent { name, id, data }),
                    (None, None, None) => {}
                    parts => panic!("a part of an event: {parts:?}"),
                },
                None if line == ":" => {}
                _ => panic!("no line of a stream: {line:?}"),
            }
        }
    }

    /// Reads up to an event that fulfils `wanted`, and returns all of them.
    #[track_caller]
    pub fn until(&mut self, wanted: impl Fn(&SentEvent) -> bool) -> Vec<SentEvent> {
        let mut all = Vec::new();
        loop {
            let event = self.next().unwrap_or_else(|| panic!("an end behind {all:#?}"));
            let found = wanted(&event);
            all.push(event);
            if found {
                return all;
            }
        }
    }

    /// Reads up to the completion of the download of `path`.
    #[track_caller]
    pub fn completed(&mut self, path: &str) -> Vec<SentEvent> {
        self.until(|event| event.data["state"] == "completed" && event.data["path"] == path)
    }

    /// The stream ends, and sends nothing more.
    #[track_caller]
    pub fn expect_end(&mut self) {
        self.client.expect_closed();
    }

    fn line(&mut self) -> Option<String> {
        let mut line = Vec::new();
        let mut byte = [0];
        while self.client.read(&mut byte).expect("an orderly end") == 1 {
            if byte == *b"\n" {
                return Some(String::from_utf8(line).unwrap());
            }
            line.push(byte[0]);
        }
        assert!(line.is_empty(), "half a line: {line:?}");
        None
    }
}
