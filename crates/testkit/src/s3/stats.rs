//! Counters of requests, bytes and faults.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::s3::plan::Op;

/// Counters since the start or the last reset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Requests by operation, including those that met a fault.
    pub requests: BTreeMap<Op, u64>,
    /// GETs of objects by key.
    pub gets: BTreeMap<String, u64>,
    /// Bytes of objects by key, counted when they are handed to the connection.
    pub bytes: BTreeMap<String, u64>,
    /// Faults by name.
    pub faults: BTreeMap<&'static str, u64>,
    /// Connections that are open.
    pub connections: u64,
    /// Maximum number of connections open at a time.
    pub most_connections: u64,
    /// Connections in all.
    pub accepted: u64,
    /// Requests whose response has not ended.
    pub active: u64,
    /// Maximum number of them at a time.
    pub most_active: u64,
}

impl Stats {
    /// Requests for `op`.
    #[must_use]
    pub fn count(&self, op: Op) -> u64 {
        self.requests.get(&op).copied().unwrap_or_default()
    }

    /// All requests.
    #[must_use]
    pub fn all_requests(&self) -> u64 {
        self.requests.values().sum()
    }

    /// Bytes of this object in answers to GET.
    #[must_use]
    pub fn bytes_of(&self, key: &str) -> u64 {
        self.bytes.get(key).copied().unwrap_or_default()
    }

    /// Bytes of all objects in answers to GET.
    #[must_use]
    pub fn all_bytes(&self) -> u64 {
        self.bytes.values().sum()
    }

    /// All faults that were played.
    #[must_use]
    pub fn all_faults(&self) -> u64 {
        self.faults.values().sum()
    }

    pub(crate) fn opened(&mut self) {
        self.accepted += 1;
        self.connections += 1;
        self.most_connections = self.most_connections.max(self.connections);
    }

    pub(crate) fn asked(&mut self, op: Op, key: &str) {
        *self.requests.entry(op).or_default() += 1;
        if op == Op::GetObject {
            *self.gets.entry(key.to_owned()).or_default() += 1;
        }
        self.active += 1;
        self.most_active = self.most_active.max(self.active);
    }

    pub(crate) fn sent(&mut self, key: &str, bytes: u64) {
        match self.bytes.get_mut(key) {
            Some(sum) => *sum += bytes,
            None => _ = self.bytes.insert(key.to_owned(), bytes),
        }
    }

    /// Resets all but what is open.
    pub(crate) fn reset(&mut self) {
        *self = Stats {
            connections: self.connections,
            most_connections: self.connections,
            active: self.active,
            most_active: self.active,
            ..Stats::default()
        };
    }
}
