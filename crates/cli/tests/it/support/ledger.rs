//! What a server has taken note of, asked by the commands that everybody has.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::{binary, output, until};

/// A ledger, whether or not a server runs with it.
#[derive(Clone)]
pub(crate) struct Ledger {
    env: (&'static str, String),
    /// The folder of the server that it was made with.
    _own: Option<Arc<TempDir>>,
}

impl Ledger {
    /// The one of that address.
    pub(crate) fn at(address: impl Into<String>) -> Ledger {
        Ledger { env: ("OUTFLOW_LEDGER", address.into()), _own: None }
    }

    /// The one that a server makes if nobody says where.
    pub(super) fn default_in(own: &TempDir) -> Ledger {
        let state = Ledger::state_of(own);
        Ledger { env: ("XDG_STATE_HOME", state.to_str().unwrap().to_owned()), _own: None }
    }

    /// Keeps the folder of its server.
    pub(super) fn keeping(self, own: TempDir) -> Ledger {
        Ledger { _own: Some(Arc::new(own)), ..self }
    }

    pub(super) fn state_of(own: &TempDir) -> PathBuf {
        own.path().join("state")
    }

    /// What says where it is.
    pub(crate) fn env(&self) -> [(&'static str, &str); 1] {
        [(self.env.0, &self.env.1)]
    }

    /// `outflow` with this ledger.
    pub(crate) fn outflow(&self, args: &[&str]) -> Command {
        let mut command = binary();
        command.args(args).envs(self.env());
        command
    }

    /// What `outflow` prints.
    #[track_caller]
    pub(crate) fn run(&self, args: &[&str]) -> String {
        output(&mut self.outflow(args))
    }

    /// What the list shows: downloads, and counts of what is not recorded.
    #[track_caller]
    pub(crate) fn list(&self) -> Value {
        let text = self.run(&["download", "list", "--json", "--limit", "10000"]);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// All downloads, the oldest first.
    #[track_caller]
    pub(crate) fn downloads(&self) -> Vec<Value> {
        let mut downloads = self.list()["downloads"].as_array().unwrap().clone();
        downloads.reverse();
        downloads
    }

    /// The only download there is.
    #[track_caller]
    pub(crate) fn download(&self) -> Value {
        let downloads = self.downloads();
        assert_eq!(downloads.len(), 1, "not one download: {downloads:#?}");
        downloads.into_iter().next().unwrap()
    }

    /// A download with its files.
    #[track_caller]
    pub(crate) fn show(&self, download: &Value) -> Value {
        let id = download["id"].as_str().unwrap();
        let text = self.run(&["download", "show", id, "--json"]);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// All events in the order of their commitment.
    #[track_caller]
    pub(crate) fn events(&self) -> Vec<Value> {
        let text = self.run(&["event", "list", "--json", "--limit", "10000"]);
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        text.lines().map(parse).collect()
    }

    #[track_caller]
    pub(crate) fn events_of(&self, kind: &str) -> Vec<Value> {
        let mut events = self.events();
        events.retain(|event| event["type"] == kind);
        events
    }

    /// An event and what became of it.
    #[track_caller]
    pub(crate) fn event(&self, id: &str) -> Value {
        let text = self.run(&["event", "show", id, "--json"]);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// Waits until there are `count` events of `kind`.
    #[track_caller]
    pub(crate) fn await_events(&self, kind: &str, count: usize) -> Vec<Value> {
        until(&format!("there are {count} events {kind}"), || {
            let events = self.events_of(kind);
            if events.len() < count {
                // Each look starts a program.
                std::thread::sleep(Duration::from_millis(50));
                return None;
            }
            Some(events)
        })
    }

    /// Each kind of event, and how many there are.
    #[track_caller]
    pub(crate) fn counts(&self) -> std::collections::BTreeMap<String, usize> {
        let mut counts = std::collections::BTreeMap::new();
        for event in self.events() {
            *counts.entry(event["type"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        counts
    }

    /// Every download is complete, each was told of once, and there are `count` of them.
    #[track_caller]
    pub(crate) fn assert_completed(&self, count: usize) -> Vec<Value> {
        let downloads = self.downloads();
        let completed = self.events_of("download.completed");
        let mut told: Vec<&str> = completed.iter().map(|event| id_of(event)).collect();
        let mut noted: Vec<&str> =
            downloads.iter().map(|download| download["id"].as_str().unwrap()).collect();
        told.sort_unstable();
        noted.sort_unstable();
        assert_eq!(told, noted, "not one completion each: {downloads:#?}\n{completed:#?}");
        assert_eq!(noted.len(), count, "{downloads:#?}");
        for download in &downloads {
            assert_eq!(download["state"], "completed", "{download:#}");
            assert_eq!(download["acked"], download["total"], "{download:#}");
        }
        downloads
    }
}

/// The id of the download that an event is about.
#[track_caller]
pub(crate) fn id_of(event: &Value) -> &str {
    event["data"]["download"]["id"].as_str().unwrap_or_else(|| panic!("about no download: {event:#}"))
}
