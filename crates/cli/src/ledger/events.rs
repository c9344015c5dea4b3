//! `outflow event`: events, their deliveries to endpoints, and sending them again.

use std::fmt::Write as _;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use jiff::Timestamp;
use outflow_ledger::{
    EventDetail, EventKind, EventQuery, EventSubject, LedgerEvent, Replay, ReplayEvents, SendState,
};
use outflow_texts::{ConsoleText, console};
use serde_json::Value;

use crate::failure::{Failure, print};
use crate::ledger::access::{LedgerArgs, wait};

#[derive(Debug, Subcommand)]
pub(crate) enum EventCommand {
    /// List events, newest last
    List(EventsListArgs),
    /// Show an event, and each attempt to deliver it
    Show(EventsShowArgs),
    /// Send events again, with the same ids
    Replay(ReplayArgs),
}

#[derive(Args, Debug)]
pub(crate) struct EventsListArgs {
    #[command(flatten)]
    ledger: LedgerArgs,

    /// Only events of this kind: download.completed, …
    #[arg(long, value_name = "KIND", value_parser = kind)]
    kind: Vec<EventKind>,

    /// Only events about this download
    #[arg(long, value_name = "ID")]
    download: Option<String>,

    /// Maximum number of events; the latest ones
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    limit: u16,

    /// Print events as endpoints receive them, one JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct EventsShowArgs {
    /// The event: evt_…
    id: String,

    #[command(flatten)]
    ledger: LedgerArgs,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct ReplayArgs {
    /// The event: evt_…
    #[arg(required_unless_present = "since")]
    id: Option<String>,

    /// All events since this time: 2026-11-23T08:00:00Z
    #[arg(long, value_name = "TIME", conflicts_with = "id")]
    since: Option<Timestamp>,

    /// Endpoint that receives them, whatever its filter
    #[arg(long, value_name = "ID")]
    endpoint: String,

    #[command(flatten)]
    ledger: LedgerArgs,
}

pub(crate) fn run(command: EventCommand) -> Result<(), Failure> {
    let text = match command {
        EventCommand::List(list) => list.text()?,
        EventCommand::Show(show) => show.text()?,
        EventCommand::Replay(replay) => replay.text()?,
    };
    Ok(print(&text)?)
}

fn kind(text: &str) -> Result<EventKind, ConsoleText> {
    EventKind::from_name(text).ok_or_else(|| {
        let known: Vec<&str> = EventKind::ALL.iter().map(|kind| kind.name()).collect();
        console!(one_of, known = known.join(", "))
    })
}

impl EventsListArgs {
    fn text(self) -> anyhow::Result<String> {
        let ledger = self.ledger.open()?;
        let query = EventQuery {
            kinds: self.kind,
            download: self.download,
            limit: self.limit.into(),
            last: true,
            ..EventQuery::default()
        };
        let events = wait(ledger.events(&query))??;
        let mut text = String::new();
        for event in &events {
            if self.json {
                let _ = writeln!(text, "{}", json(event)?);
            } else {
                let _ = writeln!(text, "{}", line(event));
            }
        }
        if events.is_empty() && !self.json {
            let _ = writeln!(text, "{}", console!(no_events));
        }
        Ok(text)
    }
}

/// The event as a program receives it.
fn json(event: &LedgerEvent) -> anyhow::Result<String> {
    Ok(serde_json::to_string(event)?)
}

fn line(event: &LedgerEvent) -> String {
    let data: Value = serde_json::from_str(event.data.get()).unwrap_or_default();
    let text = |pointer: &str| data.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let about = match event.kind.subject() {
        EventSubject::Download => {
            format!("{}  {}  {}", text("/download/name"), text("/download/recipient"), text("/download/id"))
        }
        EventSubject::Link => text("/link/id"),
        EventSubject::Transfer => text("/transfer/id"),
        EventSubject::Endpoint => format!("{}: {}", text("/endpoint/id"), text("/endpoint/reason")),
    };
    format!(
        "{}  {}  {:<18}  {about}",
        event.id,
        event.timestamp.strftime("%Y-%m-%d %H:%M:%S"),
        event.kind.name()
    )
}

impl EventsShowArgs {
    fn text(self) -> anyhow::Result<String> {
        let ledger = self.ledger.open()?;
        let detail =
            wait(ledger.event(&self.id))??.with_context(|| console!(no_such_event, id = &self.id))?;
        if self.json { Ok(serde_json::to_string_pretty(&detail)? + "\n") } else { details(&detail) }
    }
}

fn details(detail: &EventDetail) -> anyhow::Result<String> {
    let data: Value = serde_json::from_str(detail.event.data.get()).context(console!(event_is_not_json))?;
    let mut text = format!("{}\n{}\n", line(&detail.event), serde_json::to_string_pretty(&data)?);
    for send in &detail.sends {
        let (endpoint, attempts) = (&send.endpoint, send.attempts);
        let state = match (send.state, send.next) {
            (SendState::Waiting, Some(time)) => console!(event_next_at, endpoint, attempts, %time),
            (SendState::Waiting, None) => console!(event_waiting, endpoint, attempts),
            (SendState::Delivered, _) => console!(event_delivered, endpoint, attempts),
            (SendState::GivenUp, _) => console!(event_given_up, endpoint, attempts),
        };
        let _ = writeln!(text, "{state}");
        for attempt in &send.log {
            let milliseconds = console!(milliseconds, count = %attempt.ms);
            let _ = writeln!(text, "  {}  {milliseconds}  {}", attempt.at, attempt.note);
        }
    }
    if detail.sends.is_empty() {
        let _ = writeln!(text, "{}", console!(event_sent_nowhere));
    }
    Ok(text)
}

impl ReplayArgs {
    fn text(self) -> anyhow::Result<String> {
        let ledger = self.ledger.open()?;
        let events = match (self.id, self.since) {
            (Some(id), _) => ReplayEvents::One(id),
            (None, Some(since)) => ReplayEvents::Since(since),
            (None, None) => anyhow::bail!(console!(event_or_time)),
        };
        let replay = Replay { events, endpoint: Some(self.endpoint) };
        let count = wait(ledger.replay(&replay))??;
        if let (0, ReplayEvents::One(id)) = (count, &replay.events) {
            anyhow::bail!(console!(no_such_event, id));
        }
        Ok(format!("{}\n", console!(events_replayed, count)))
    }
}
