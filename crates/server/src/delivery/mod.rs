//! Deliveries: responses whose content is watched until its last byte is acknowledged.
//!
//! ```text
//! record     a delivery is announced to the ledger before its first byte
//! observer   what becomes of it: for the access log and the ledger
//! ```

mod observer;
mod record;

use std::sync::Arc;

use http::{Method, Response, StatusCode};
use outflow_content::{Content, PrebuiltAnswer};
use outflow_ledger::{ContentInfo, Ledger};
use outflow_web::{Problem, ResponseBody};

use crate::metrics::DownloadMetrics;
use crate::options::DownloadOptions;
use crate::request::{AccessLog, PlainContext, RequestContext};
use observer::DeliveryObserver;
pub(crate) use record::{DeliveryListeners, content_key};

/// What a content was made from. It learns that a delivery failed.
pub(crate) trait DeliverySource: Send + Sync {
    /// A file was gone or had changed while its bytes were sent.
    fn delivery_failed(&self);
}

/// Answers with contents, and records how their deliveries end.
pub(crate) struct DeliveryResponder {
    ledger: Option<Ledger>,
    listeners: Option<Arc<dyn DeliveryListeners>>,
    metrics: Arc<DownloadMetrics>,
}

impl DeliveryResponder {
    pub(crate) fn new(
        options: &DownloadOptions,
        listeners: Option<Arc<dyn DeliveryListeners>>,
    ) -> DeliveryResponder {
        DeliveryResponder { ledger: options.ledger.clone(), listeners, metrics: options.metrics.set() }
    }

    /// The response with `content`. `info`, which describes the content to the ledger, is made only
    /// if needed.
    pub(crate) fn respond(
        &self,
        request: &RequestContext,
        content: Content,
        info: impl FnOnce() -> Arc<ContentInfo>,
        source: Option<Arc<dyn DeliverySource>>,
    ) -> Result<Response<ResponseBody>, Problem> {
        let recorded = record::announce(self.ledger.as_ref(), self.listeners.as_deref(), request, info)?;
        let log = request.access_log.clone();
        let content = if log.is_none() && recorded.is_none() && source.is_none() {
            content
        } else {
            content.observer(DeliveryObserver::new(log, recorded, source, Arc::clone(&self.metrics)))
        };
        Ok(content.respond(request.method(), request.headers()).map(ResponseBody::Content))
    }

    /// Whether deliveries of files are observed at all.
    pub(crate) fn observes_files(&self) -> bool {
        self.ledger.is_some() || AccessLog::is_enabled()
    }

    /// Begins the access log of a prebuilt answer, and gives it the observer that
    /// [`DeliveryResponder::respond`] gives to a content. `None`, and nothing is logged, if the
    /// delivery cannot be recorded now.
    pub(crate) fn observe(
        &self,
        request: &PlainContext<'_>,
        answer: PrebuiltAnswer,
        info: Arc<ContentInfo>,
    ) -> Option<PrebuiltAnswer> {
        let recorded =
            record::announce(self.ledger.as_ref(), self.listeners.as_deref(), request, || info).ok()?;
        let plain = request.request;
        let method = if plain.is_head() { Method::HEAD } else { Method::GET };
        let log = AccessLog::begin(&method, plain.path(), None, request.client.address);
        if let Some(log) = &log {
            log.set_status(StatusCode::OK);
        }
        Some(match (&log, &recorded) {
            (None, None) => answer,
            _ => answer.observer(DeliveryObserver::new(log, recorded, None, Arc::clone(&self.metrics))),
        })
    }
}
