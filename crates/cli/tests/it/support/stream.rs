//! A listener to server-sent events that hides nothing.

use serde_json::Value;

use super::{Client, Reply, Server};

/// One stream of events.
pub(crate) struct Listener {
    pub(crate) head: Reply,
    client: Client,
    /// What the server wants to be waited for before a next connection, in milliseconds.
    pub(crate) retry: Option<u64>,
}

/// One event.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) data: Value,
}

impl Told {
    /// A member of its data, as text.
    #[track_caller]
    pub(crate) fn text(&self, name: &str) -> &str {
        self.data[name].as_str().unwrap_or_else(|| panic!("no {name} in {self:?}"))
    }

    /// A member of its data, as a number.
    #[track_caller]
    pub(crate) fn number(&self, name: &str) -> u64 {
        self.data[name].as_u64().unwrap_or_else(|| panic!("no {name} in {self:?}"))
    }
}

impl Listener {
    /// Asks for `path` with further header lines.
    #[track_caller]
    pub(crate) fn to(server: &Server, path: &str, lines: &str) -> Listener {
        let mut client = server.client();
        let head = client.ask("GET", path, lines).head().expect(200);
        assert_eq!(head.header("content-type"), "text/event-stream");
        Listener { head, client, retry: None }
    }

    /// The state that comes first: downloads, newest first.
    #[track_caller]
    pub(crate) fn state(&mut self) -> Vec<Value> {
        let told = self.next().expect("a state");
        assert_eq!(told.name, "state", "{told:?}");
        told.data["downloads"].as_array().unwrap_or_else(|| panic!("{told:?}")).clone()
    }

    /// The next event; `None` at the stream's end.
    #[track_caller]
    pub(crate) fn next(&mut self) -> Option<Told> {
        let (mut name, mut id, mut data) = (None, None, None);
        loop {
            let line = self.line()?;
            match line.split_once(": ") {
                Some(("event", value)) => name = Some(value.to_owned()),
                Some(("id", value)) => id = Some(value.to_owned()),
                Some(("retry", value)) => self.retry = Some(value.parse().unwrap()),
                Some(("data", value)) => data = Some(serde_json::from_str(value).unwrap()),
                None if line.is_empty() => match (name.take(), id.take(), data.take()) {
                    (Some(name), Some(id), Some(data)) => return Some(Told { name, id, data }),
                    (None, None, None) => {}
                    parts => panic!("a part of an event: {parts:?}"),
                },
                None if line == ":" => {}
                _ => panic!("no line of a stream: {line:?}"),
            }
        }
    }

    /// Waits for an event that fulfils `wanted`, and returns all up to it.
    #[track_caller]
    pub(crate) fn until(&mut self, wanted: impl Fn(&Told) -> bool) -> Vec<Told> {
        let mut all = Vec::new();
        loop {
            let told = self.next().unwrap_or_else(|| panic!("an end behind {all:#?}"));
            let found = wanted(&told);
            all.push(told);
            if found {
                return all;
            }
        }
    }

    /// Waits for the completion of what is at `path`.
    #[track_caller]
    pub(crate) fn completed(&mut self, path: &str) -> Vec<Told> {
        self.until(|told| told.data["state"] == "completed" && told.data["path"] == path)
    }

    /// Nothing more comes.
    #[track_caller]
    pub(crate) fn expect_end(&mut self) {
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
