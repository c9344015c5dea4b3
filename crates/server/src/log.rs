//! Watching deliveries. One structured line for each request: when its delivery has ended, or at once if there is none.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use http::{Method, Request, StatusCode, Uri};
use outflow_content::{AbortReason, BodyMap, Ending, Observer, SpanError};
use outflow_wire::PeerAddr;

use crate::plan::Plan;

/// As much of an address as is logged, in bytes: a selection's query may have 40,000.
const ADDRESS: usize = 512;

/// What is known of one request; becomes a line when the last who knows of it lets go.
pub(crate) struct Line {
    method: Method,
    uri: Uri,
    client: Option<IpAddr>,
    begun: Instant,
    status: AtomicU16,
    delivery: Mutex<Option<Delivery>>,
}

#[derive(Default)]
struct Delivery {
    total: u64,
    bytes: u64,
    outcome: Option<Outcome>,
}

enum Outcome {
    Completed,
    Aborted(AbortReason),
    Failed(String),
}

/// The client's address, if the engine said it.
pub(crate) fn client<B>(request: &Request<B>) -> Option<IpAddr> {
    request.extensions().get::<PeerAddr>().map(|peer| peer.0.ip())
}

impl Line {
    /// Begins a line, if anybody wants to read it.
    pub(crate) fn begin<B>(request: &Request<B>) -> Option<Arc<Line>> {
        if !tracing::enabled!(target: "outflow::access", tracing::Level::WARN) {
            return None;
        }
        Some(Arc::new(Line {
            method: request.method().clone(),
            uri: request.uri().clone(),
            client: client(request),
            begun: Instant::now(),
            status: AtomicU16::new(0),
            delivery: Mutex::default(),
        }))
    }

    /// The status that the request is answered with.
    pub(crate) fn answered(&self, status: StatusCode) {
        self.status.store(status.as_u16(), Ordering::Relaxed);
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
        let (method, path) = (&self.method, shown(&self.uri));
        let path = path.as_str();
        let Some(Delivery { total, bytes, outcome }) = delivery else {
            if status == 0 {
                tracing::info!(target: "outflow::access", %method, path, ms, outcome = "abandoned", client, "request");
            } else {
                tracing::info!(target: "outflow::access", %method, path, status, ms, client, "answer");
            }
            return;
        };
        match outcome {
            Some(Outcome::Completed) => tracing::info!(
                target: "outflow::access",
                %method, path, status, bytes, total, ms, outcome = "completed", client, "delivery"
            ),
            Some(Outcome::Failed(reason)) => tracing::warn!(
                target: "outflow::access",
                %method, path, status, bytes, total, ms, outcome = "failed", reason, client, "delivery"
            ),
            aborted => {
                let reason = match aborted {
                    Some(Outcome::Aborted(reason)) => reason.to_string(),
                    _ => String::new(),
                };
                tracing::info!(
                    target: "outflow::access",
                    %method, path, status, bytes, total, ms, outcome = "aborted", reason, client, "delivery"
                );
            }
        }
    }
}

/// Path and query, as they came (so without control characters) but not at any length.
fn shown(uri: &Uri) -> String {
    let mut shown = match uri.query() {
        Some(query) => format!("{}?{query}", uri.path()),
        None => uri.path().to_owned(),
    };
    if shown.len() > ADDRESS {
        let end = (0..=ADDRESS).rev().find(|at| shown.is_char_boundary(*at)).unwrap_or(0);
        shown.truncate(end);
        shown.push('…');
    }
    shown
}

/// Fills in the line of a delivery.
pub(crate) struct DeliveryObserver(pub(crate) Arc<Line>);

impl Observer for DeliveryObserver {
    fn started(&mut self, body: &BodyMap) {
        self.0.with(|delivery| delivery.total = body.len());
    }

    fn completed(&mut self, ending: &Ending) {
        self.0.with(|delivery| {
            delivery.bytes = ending.sent;
            delivery.outcome = Some(Outcome::Completed);
        });
    }

    fn aborted(&mut self, ending: &Ending, reason: &AbortReason) {
        self.0.with(|delivery| {
            delivery.bytes = ending.sent;
            delivery.outcome = Some(Outcome::Aborted(reason.clone()));
        });
    }

    fn failed(&mut self, ending: &Ending, error: &SpanError) {
        self.0.with(|delivery| {
            delivery.bytes = ending.sent;
            delivery.outcome = Some(Outcome::Failed(error.to_string()));
        });
    }
}

/// Fills in the line of an archive's delivery, and lets go of a plan that turned out to be outdated.
pub(crate) struct ArchiveObserver {
    line: Option<DeliveryObserver>,
    plan: Arc<Plan>,
}

impl ArchiveObserver {
    pub(crate) fn new(line: Option<&Arc<Line>>, plan: Arc<Plan>) -> ArchiveObserver {
        ArchiveObserver { line: line.map(|line| DeliveryObserver(Arc::clone(line))), plan }
    }
}

impl Observer for ArchiveObserver {
    fn started(&mut self, body: &BodyMap) {
        if let Some(line) = &mut self.line {
            line.started(body);
        }
    }

    fn completed(&mut self, ending: &Ending) {
        if let Some(line) = &mut self.line {
            line.completed(ending);
        }
    }

    fn aborted(&mut self, ending: &Ending, reason: &AbortReason) {
        if let Some(line) = &mut self.line {
            line.aborted(ending, reason);
        }
    }

    fn failed(&mut self, ending: &Ending, error: &SpanError) {
        self.plan.outdate();
        if let Some(line) = &mut self.line {
            line.failed(ending, error);
        }
    }
}
