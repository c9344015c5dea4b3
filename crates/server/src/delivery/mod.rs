//! Deliveries: responses whose content is watched until its last byte is acknowledged.
//!
//! ```text
//! record     a delivery is announced to the ledger before its first byte
//! observer   what becomes of it: for the access log and the ledger
//! ```

mod observer;
mod record;

use std::sync::Arc;

use http::Response;
use outflow_content::Content;
use outflow_ledger::{ContentInfo, Ledger};
use outflow_web::{Problem, ResponseBody};

use crate::request::RequestContext;
use observer::DeliveryObserver;
pub(crate) use record::{content_key, printable};

/// What a content was made from. It learns that a delivery failed.
pub(crate) trait DeliverySource: Send + Sync {
    /// A file was gone or had changed while its bytes were sent.
    fn delivery_failed(&self);
}

/// Answers with contents, and records how their deliveries end.
pub(crate) struct DeliveryResponder {
    ledger: Option<Ledger>,
}

impl DeliveryResponder {
    pub(crate) fn new(ledger: Option<Ledger>) -> DeliveryResponder {
        DeliveryResponder { ledger }
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
        let recorded = record::announce(self.ledger.as_ref(), request, info)?;
        let log = request.access_log.clone();
        let content = if log.is_none() && recorded.is_none() && source.is_none() {
            content
        } else {
            content.observer(DeliveryObserver::new(log, recorded, source))
        };
        Ok(content.respond(request.method(), request.headers()).map(ResponseBody::Content))
    }
}
