//! One structured line for each request: when its delivery has ended, or at once if there is none.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use http::{Method, Request, StatusCode, Uri};
use outflow_content::{Ending, Evidence};
use outflow_ledger::Outcome;

use crate::link::without_token;

/// As much of an address as is logged, in bytes: a selection's query may have 40,000.
const ADDRESS: usize = 512;

/// What is known of one request; becomes a line when the last who knows of it lets go.
pub(crate) struct Line {
    method: Method,
    uri: Uri,
    client: Option<IpAddr>,
    /// Id of the link that it came by.
    link: OnceLock<String>,
    begun: Instant,
    status: AtomicU16,
    delivery: Mutex<Option<Delivery>>,
}

#[derive(Default)]
struct Delivery {
    total: u64,
    bytes: u64,
    acked: Option<u64>,
    evidence: Option<Evidence>,
    outcome: Option<Outcome>,
}

impl Line {
    /// Begins a line, if anybody wants to read it.
    pub(crate) fn begin<B>(request: &Request<B>, client: Option<IpAddr>) -> Option<Arc<Line>> {
        if !tracing::enabled!(target: "outflow::access", tracing::Level::WARN) {
            return None;
        }
        Some(Arc::new(Line {
            method: request.method().clone(),
            uri: request.uri().clone(),
            client,
            link: OnceLock::new(),
            begun: Instant::now(),
            status: AtomicU16::new(0),
            delivery: Mutex::default(),
        }))
    }

    /// The status that the request is answered with.
    pub(crate) fn answered(&self, status: StatusCode) {
        self.status.store(status.as_u16(), Ordering::Relaxed);
    }

    /// The request came by the link of that id.
    pub(crate) fn by_link(&self, id: &str) {
        let _ = self.link.set(id.to_owned());
    }

    /// A delivery of `total` bytes has begun.
    pub(crate) fn started(&self, total: u64) {
        self.with(|delivery| delivery.total = total);
    }

    /// The delivery has ended.
    pub(crate) fn ended(&self, ending: &Ending, outcome: &Outcome) {
        self.with(|delivery| {
            delivery.bytes = ending.sent;
            delivery.acked = ending.acked;
            delivery.evidence = Some(ending.evidence);
            delivery.outcome = Some(outcome.clone());
        });
    }

    fn with(&self, change: impl FnOnce(&mut Delivery)) {
        change(self.delivery.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default());
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let delivery = self.delivery.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        let failed = matches!(delivery, Some(Delivery { outcome: Some(Outcome::Failed(_)), .. }));
        if !failed && !tracing::enabled!(target: "outflow::access", tracing::Level::INFO) {
            return;
        }
        let status = self.status.load(Ordering::Relaxed);
        let ms = self.begun.elapsed().as_micros() as f64 / 1000.0;
        let client = self.client.map(tracing::field::display);
        let link = self.link.get().map(String::as_str);
        let (method, path) = (&self.method, shown(&self.uri));
        let path = path.as_str();
        let Some(Delivery { total, bytes, acked, evidence, outcome }) = delivery else {
            if status == 0 {
                tracing::info!(target: "outflow::access", %method, path, ms, outcome = "abandoned", client, link, "request");
            } else {
                tracing::info!(target: "outflow::access", %method, path, status, ms, client, link, "answer");
            }
            return;
        };
        let evidence = evidence.map(|evidence| match evidence {
            Evidence::Sent => "sent",
            Evidence::Acked => "acked",
            Evidence::Confirmed => "confirmed",
        });
        match outcome {
            Some(Outcome::Completed { .. }) => tracing::info!(
                target: "outflow::access",
                %method, path, status, bytes, acked, total, ms, outcome = "completed", evidence, client, link, "delivery"
            ),
            Some(Outcome::Failed(reason)) => tracing::warn!(
                target: "outflow::access",
                %method, path, status, bytes, acked, total, ms, outcome = "failed", reason, client, link, "delivery"
            ),
            aborted => {
                let reason = match aborted {
                    Some(Outcome::Aborted(reason)) => reason,
                    _ => String::new(),
                };
                tracing::info!(
                    target: "outflow::access",
                    %method, path, status, bytes, acked, total, ms, outcome = "aborted", reason, client, link, "delivery"
                );
            }
        }
    }
}

/// Path and query, as they came (so without control characters) but not at any length, and without a link's token: whoever
/// has that may download.
fn shown(uri: &Uri) -> String {
    let mut shown = without_token(uri.path()).into_owned();
    if let Some(query) = uri.query() {
        shown.push('?');
        shown.push_str(query);
    }
    if shown.len() > ADDRESS {
        let end = (0..=ADDRESS).rev().find(|at| shown.is_char_boundary(*at)).unwrap_or(0);
        shown.truncate(end);
        shown.push('…');
    }
    shown
}
