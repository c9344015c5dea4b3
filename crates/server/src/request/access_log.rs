//! The access log: one structured line for each request, written when its delivery has ended.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use http::{Method, StatusCode};
use outflow_content::{Ending, Evidence};
use outflow_ledger::DeliveryOutcome;
use parking_lot::Mutex;

use outflow_links::without_token;

/// Maximum length of an address in the log, in bytes; the query of a selection may have 40,000.
///
/// Bound: logs.
const MAX_ADDRESS: usize = 512;

/// The fields of one request's line. The line is written when the last holder is dropped.
pub(crate) struct AccessLog {
    method: Method,
    address: String,
    client: Option<IpAddr>,
    /// Id of the link that admitted the request.
    link: OnceLock<String>,
    begun: Instant,
    status: AtomicU16,
    delivery: Mutex<Option<LoggedDelivery>>,
}

#[derive(Default)]
struct LoggedDelivery {
    total: u64,
    bytes: u64,
    acked: Option<u64>,
    evidence: Option<Evidence>,
    outcome: Option<DeliveryOutcome>,
}

impl AccessLog {
    /// Whether the log level lets any line through.
    pub(crate) fn is_enabled() -> bool {
        tracing::enabled!(target: "outflow::access", tracing::Level::WARN)
    }

    /// Begins a line; `None` if the log level suppresses it.
    pub(crate) fn begin(
        method: &Method,
        path: &str,
        query: Option<&str>,
        client: Option<IpAddr>,
    ) -> Option<Arc<AccessLog>> {
        if !AccessLog::is_enabled() {
            return None;
        }
        Some(Arc::new(AccessLog {
            method: method.clone(),
            address: loggable(path, query),
            client,
            link: OnceLock::new(),
            begun: Instant::now(),
            status: AtomicU16::new(0),
            delivery: Mutex::default(),
        }))
    }

    /// Sets the status of the response.
    pub(crate) fn set_status(&self, status: StatusCode) {
        self.status.store(status.as_u16(), Ordering::Relaxed);
    }

    /// Sets the id of the link that admitted the request.
    pub(crate) fn set_link(&self, id: &str) {
        let _ = self.link.set(id.to_owned());
    }

    /// A delivery of `total` bytes has begun.
    pub(crate) fn delivery_started(&self, total: u64) {
        self.with(|delivery| delivery.total = total);
    }

    /// The delivery has ended.
    pub(crate) fn delivery_ended(&self, ending: &Ending, outcome: &DeliveryOutcome) {
        self.with(|delivery| {
            delivery.bytes = ending.sent;
            delivery.acked = ending.acked;
            delivery.evidence = Some(ending.evidence);
            delivery.outcome = Some(outcome.clone());
        });
    }

    fn with(&self, change: impl FnOnce(&mut LoggedDelivery)) {
        change(self.delivery.lock().get_or_insert_default());
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        let delivery = self.delivery.get_mut().take();
        let failed =
            matches!(delivery, Some(LoggedDelivery { outcome: Some(DeliveryOutcome::Failed(_)), .. }));
        if !failed && !tracing::enabled!(target: "outflow::access", tracing::Level::INFO) {
            return;
        }
        let status = self.status.load(Ordering::Relaxed);
        let ms = self.begun.elapsed().as_micros() as f64 / 1000.0;
        let client = self.client.map(tracing::field::display);
        let link = self.link.get().map(String::as_str);
        let (method, path) = (&self.method, self.address.as_str());
        let Some(LoggedDelivery { total, bytes, acked, evidence, outcome }) = delivery else {
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
            Some(DeliveryOutcome::Completed { .. }) => tracing::info!(
                target: "outflow::access",
                %method, path, status, bytes, acked, total, ms, outcome = "completed", evidence, client, link, "delivery"
            ),
            Some(DeliveryOutcome::Failed(reason)) => tracing::warn!(
                target: "outflow::access",
                %method, path, status, bytes, acked, total, ms, outcome = "failed", reason, client, link, "delivery"
            ),
            aborted => {
                let reason = match aborted {
                    Some(DeliveryOutcome::Aborted(reason)) => reason,
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

/// Path and query as they came (so without control characters), shortened, and without a link's
/// token, which would let readers of the log download.
fn loggable(path: &str, query: Option<&str>) -> String {
    let mut shown = without_token(path).into_owned();
    if let Some(query) = query {
        shown.push('?');
        shown.push_str(query);
    }
    if shown.len() > MAX_ADDRESS {
        let end = (0..=MAX_ADDRESS).rev().find(|at| shown.is_char_boundary(*at)).unwrap_or(0);
        shown.truncate(end);
        shown.push('…');
    }
    shown
}
