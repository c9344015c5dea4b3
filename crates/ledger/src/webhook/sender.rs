//! What the two ways to send events have in common.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::model::{EventKind, LedgerEvent, WebhookOutcome};

/// A way to send events to one endpoint.
#[async_trait]
pub(super) trait EventSender: Send + Sync + 'static {
    /// Makes one attempt at `at`. It ends within [`EventSender::timeout`], and what it has started
    /// ends with it.
    async fn send(&self, event: &LedgerEvent, at: Timestamp) -> AttemptResult;

    /// The longest time that an attempt takes.
    fn timeout(&self) -> Duration;

    /// Maximum number of attempts that may be under way.
    fn max_concurrent(&self) -> usize;

    /// The endpoint's name for the log, without secrets.
    fn name(&self) -> &str;
}

/// The result of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AttemptResult {
    pub(super) outcome: AttemptOutcome,
    /// What happened, and what the receiver replied. It may repeat secrets of the address, so it
    /// must not be logged.
    pub(super) note: String,
    /// The part of the note without secrets.
    pub(super) brief: String,
}

/// What the result means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AttemptOutcome {
    /// The endpoint has accepted the event.
    Delivered,
    /// The endpoint has not accepted the event.
    Failed,
    /// The endpoint is overloaded.
    Overloaded {
        /// How long it wants no requests.
        wait: Option<Duration>,
        /// Whether the attempt counts for the event. It does not if the rate was too high.
        counts: bool,
    },
    /// The endpoint wants no more events.
    Gone,
}

impl From<&AttemptOutcome> for WebhookOutcome {
    fn from(outcome: &AttemptOutcome) -> WebhookOutcome {
        match outcome {
            AttemptOutcome::Delivered => WebhookOutcome::Delivered,
            AttemptOutcome::Failed => WebhookOutcome::Failed,
            AttemptOutcome::Overloaded { .. } => WebhookOutcome::Overloaded,
            AttemptOutcome::Gone => WebhookOutcome::Gone,
        }
    }
}

impl AttemptResult {
    pub(super) fn new(outcome: AttemptOutcome, brief: impl Into<String>) -> AttemptResult {
        let brief = brief.into();
        AttemptResult { outcome, note: brief.clone(), brief }
    }

    /// Adds what the receiver replied to the note: at most `limit` printable characters.
    pub(super) fn with_reply(mut self, reply: &[u8], limit: usize) -> AttemptResult {
        let reply = printable(reply);
        if !reply.is_empty() {
            self.note = format!("{}: {}", self.brief, reply.chars().take(limit).collect::<String>());
        }
        self
    }
}

/// Text on one line, without control characters.
pub(super) fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let words = text.split(|c: char| c.is_whitespace() || c.is_control());
    words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// An event as receivers get it.
#[derive(Serialize)]
pub(super) struct EventMessage<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<&'a str>,
    #[serde(rename = "type")]
    kind: EventKind,
    timestamp: Timestamp,
    data: &'a RawValue,
}

impl EventMessage<'_> {
    /// For a webhook, whose id is in a header.
    pub(super) fn without_id(event: &LedgerEvent) -> Vec<u8> {
        EventMessage { id: None, kind: event.kind, timestamp: event.timestamp, data: &event.data }.bytes()
    }

    /// For a command, which has no headers.
    pub(super) fn with_id(event: &LedgerEvent) -> Vec<u8> {
        EventMessage { id: Some(&event.id), kind: event.kind, timestamp: event.timestamp, data: &event.data }
            .bytes()
    }

    fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings, times and JSON, into memory")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_one_line_of_bounded_length() {
        let result = AttemptResult::new(AttemptOutcome::Failed, "500 Internal Server Error");
        let replied = result.clone().with_reply(b"<h1>\r\n  it\tbroke \x1b[31m\xff</h1>\0", 300);
        assert_eq!(replied.note, "500 Internal Server Error: <h1> it broke [31m\u{fffd}</h1>");
        assert_eq!(replied.brief, "500 Internal Server Error");
        assert_eq!(result.clone().with_reply(b" \n", 300).note, "500 Internal Server Error");
        assert!(result.with_reply("ü".repeat(9999).as_bytes(), 300).note.chars().count() < 330);
    }
}
