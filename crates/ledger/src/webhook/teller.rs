//! What a webhook and a command have in common.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::model::{Event, Kind};

/// A way to tell one endpoint.
#[async_trait]
pub(super) trait Teller: Send + Sync + 'static {
    /// One attempt, made at `at`. Comes to an end within [`Teller::limit`], and what it started ends with it.
    async fn tell(&self, event: &Event, at: Timestamp) -> Told;

    /// The longest time that an attempt takes.
    fn limit(&self) -> Duration;

    /// How many attempts may be under way.
    fn at_once(&self) -> usize;

    /// For the log: nothing secret.
    fn name(&self) -> &str;
}

/// What became of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) answer: Answer,
    /// What the receiver said, or what happened; it may repeat secrets of the address, so it is not for the log.
    pub(super) note: String,
    /// The part of it that cannot.
    pub(super) brief: String,
}

/// What that means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It knows.
    Delivered,
    /// It does not.
    Failed,
    /// It has too much to do.
    Overloaded {
        /// Leave it alone for so long.
        wait: Option<Duration>,
        /// Whether this says something of the event as well. Not if it is about the rate: then no event uses its
        /// attempts up.
        counts: bool,
    },
    /// It does not want to be told any more.
    Gone,
}

impl Told {
    pub(super) fn new(answer: Answer, brief: impl Into<String>) -> Told {
        let brief = brief.into();
        Told { answer, note: brief.clone(), brief }
    }

    /// Adds what the receiver said, made printable, `limit` characters of it at the most.
    pub(super) fn saying(mut self, said: &[u8], limit: usize) -> Told {
        let said = printable(said);
        if !said.is_empty() {
            self.note = format!("{}: {}", self.brief, said.chars().take(limit).collect::<String>());
        }
        self
    }
}

/// Text on one line.
pub(super) fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let words: Vec<&str> = text.split(|c: char| c.is_whitespace() || c.is_control()).collect();
    words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// An event as it is written.
#[derive(Serialize)]
pub(super) struct Message<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<&'a str>,
    #[serde(rename = "type")]
    kind: Kind,
    timestamp: Timestamp,
    data: &'a RawValue,
}

impl Message<'_> {
    /// For a webhook, which has the id in a header.
    pub(super) fn without_id(event: &Event) -> Vec<u8> {
        Message { id: None, kind: event.kind, timestamp: event.timestamp, data: &event.data }.bytes()
    }

    /// For a command, which has nothing else.
    pub(super) fn with_id(event: &Event) -> Vec<u8> {
        Message { id: Some(&event.id), kind: event.kind, timestamp: event.timestamp, data: &event.data }
            .bytes()
    }

    fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings, times and JSON can always be written")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_receiver_says_is_one_line_of_bounded_length() {
        let told = Told::new(Answer::Failed, "500 Internal Server Error");
        let said = told.clone().saying(b"<h1>\r\n  it\tbroke \x1b[31m\xff</h1>\0", 300);
        assert_eq!(said.note, "500 Internal Server Error: <h1> it broke [31m\u{fffd}</h1>");
        assert_eq!(said.brief, "500 Internal Server Error");
        assert_eq!(told.clone().saying(b" \n", 300).note, "500 Internal Server Error");
        assert!(told.saying("ü".repeat(9999).as_bytes(), 300).note.chars().count() < 330);
    }
}
