//! Watches one delivery for the access log, the ledger, and what its content was made from.

use std::sync::Arc;

use outflow_content::{AbortReason, BodyMap, Ending, Evidence, Observer, SpanError};
use outflow_ledger::{DeliveryEnd, DeliveryHandle, DeliveryOutcome, TransportSummary};

use super::DeliverySource;
use crate::metrics::{DeliveryEnding, DownloadMetrics};
use crate::request::AccessLog;

/// Notified by the engine of what becomes of a delivery.
pub(super) struct DeliveryObserver {
    log: Option<Arc<AccessLog>>,
    /// Taken when the delivery has ended.
    recorded: Option<DeliveryHandle>,
    source: Option<Arc<dyn DeliverySource>>,
    metrics: Arc<DownloadMetrics>,
    body: BodyMap,
    sent: u64,
}

impl DeliveryObserver {
    pub(super) fn new(
        log: Option<Arc<AccessLog>>,
        recorded: Option<DeliveryHandle>,
        source: Option<Arc<dyn DeliverySource>>,
        metrics: Arc<DownloadMetrics>,
    ) -> DeliveryObserver {
        DeliveryObserver { log, recorded, source, metrics, body: BodyMap::whole(0), sent: 0 }
    }

    /// The acknowledged bytes that count if the delivery is not completed: all but the last one.
    /// The recipient's kernel has acknowledged it, but a recipient that left unread bytes behind
    /// has to come back for them, and then fetches the last byte as well.
    fn credit(&self, acked: u64) -> u64 {
        acked.min(self.body.len().saturating_sub(1))
    }

    fn end(&mut self, ending: &Ending, outcome: DeliveryOutcome) {
        self.metrics.delivering.dec();
        self.metrics.deliveries.of(ending_of(ending, &outcome)).inc();
        self.metrics.delivered.add(ending.acked.unwrap_or(0));
        if let Some(log) = &self.log {
            log.delivery_ended(ending, &outcome);
        }
        if let Some(recorded) = self.recorded.take() {
            let acked = ending.acked.unwrap_or(0);
            let completed = matches!(outcome, DeliveryOutcome::Completed { .. });
            let acked = self.body.acked(if completed { acked } else { self.credit(acked) }).collect();
            let transport = ending.transport.as_ref().map(transport);
            recorded.ended(DeliveryEnd { acked, sent: ending.sent, outcome, transport });
        }
    }
}

impl Observer for DeliveryObserver {
    fn started(&mut self, body: &BodyMap) {
        self.metrics.delivering.inc();
        if let Some(log) = &self.log {
            log.delivery_started(body.len());
        }
        if let Some(recorded) = &mut self.recorded {
            recorded.started(body.ranges().collect());
            self.body = body.clone();
        }
    }

    fn sent(&mut self, _: u64, sum: u64) {
        self.sent = sum;
    }

    fn acked(&mut self, sum: u64) {
        let credit = self.credit(sum);
        if let Some(recorded) = &mut self.recorded {
            recorded.acked(self.body.acked(credit).collect(), self.sent);
        }
    }

    fn completed(&mut self, ending: &Ending) {
        self.end(ending, DeliveryOutcome::Completed { confirmed: ending.evidence == Evidence::Confirmed });
    }

    fn aborted(&mut self, ending: &Ending, reason: &AbortReason) {
        self.end(ending, DeliveryOutcome::Aborted(reason.to_string()));
    }

    fn failed(&mut self, ending: &Ending, error: &SpanError) {
        if let Some(source) = &self.source {
            source.delivery_failed();
        }
        self.end(ending, DeliveryOutcome::Failed(error.to_string()));
    }
}

fn ending_of(ending: &Ending, outcome: &DeliveryOutcome) -> DeliveryEnding {
    match (outcome, ending.evidence) {
        (DeliveryOutcome::Completed { .. }, Evidence::Confirmed) => DeliveryEnding::Confirmed,
        (DeliveryOutcome::Completed { .. }, Evidence::Acked) => DeliveryEnding::Acked,
        (DeliveryOutcome::Completed { .. }, Evidence::Sent) => DeliveryEnding::Sent,
        (DeliveryOutcome::Aborted(_), _) => DeliveryEnding::Aborted,
        (DeliveryOutcome::Failed(_), _) => DeliveryEnding::Failed,
    }
}

/// What limited the delivery: shares of the time in which there was something to send.
fn transport(seen: &outflow_content::TransportStats) -> TransportSummary {
    let busy = seen.busy.as_secs_f64();
    let share = |part: f64| if busy > 0.0 { (part / busy).clamp(0.0, 1.0) } else { 0.0 };
    let client = share(seen.receiver_limited.as_secs_f64());
    let server = share(seen.sender_limited.as_secs_f64());
    TransportSummary {
        rtt_ms: seen.rtt.as_secs_f64() * 1000.0,
        limited_by_client: client,
        limited_by_server: server,
        limited_by_network: if busy > 0.0 { (1.0 - client - server).max(0.0) } else { 0.0 },
        retransmitted: seen.retransmitted,
        rate: seen.rate,
    }
}

#[cfg(test)]
mod tests {
    use outflow_content::AbortReason::Disconnected;
    use outflow_ledger::{
        Assurance, ContentInfo, ContentKey, DownloadQuery, DownloadState, Ledger, LedgerOptions, NewDelivery,
        Recipient,
    };
    use tempfile::TempDir;

    use super::*;

    fn observer(ledger: &Ledger) -> DeliveryObserver {
        let content = ContentInfo {
            key: ContentKey([7; 16]),
            etag: "e".to_owned(),
            length: 1000,
            name: "a".to_owned(),
            path: "/a".to_owned(),
            transfer: None,
            parts: None,
        };
        let opening = NewDelivery {
            content: Arc::new(content),
            recipient: Recipient { id: "anna".to_owned(), weak: false },
            link: None,
            client: None,
            user_agent: None,
            assurance: Assurance::Peer,
        };
        DeliveryObserver::new(None, Some(ledger.track(opening).unwrap()), None, Arc::default())
    }

    fn ending(acked: u64, evidence: Evidence) -> Ending {
        Ending { sent: acked, acked: Some(acked), evidence, transport: None }
    }

    /// The ledger after it has written everything.
    fn downloads(address: &str, ledger: &Ledger) -> Vec<(DownloadState, u64)> {
        ledger.shut_down(std::time::Duration::from_secs(30));
        let ledger = Ledger::open(address, LedgerOptions::default()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let downloads = runtime.block_on(ledger.downloads(&DownloadQuery::default())).unwrap();
        downloads.iter().map(|download| (download.state, download.acked)).collect()
    }

    #[test]
    fn a_reset_after_the_last_acknowledgement_leaves_the_last_byte_unacknowledged() {
        let folder = TempDir::new().unwrap();
        let address = format!("sqlite:{}", folder.path().join("l").display());
        let ledger = Ledger::open(&address, LedgerOptions::default()).unwrap();
        let mut leaves = observer(&ledger);
        leaves.started(&BodyMap::whole(1000));
        leaves.acked(1000);
        leaves.aborted(&ending(1000, Evidence::Acked), &Disconnected("reset".to_owned()));
        assert_eq!(downloads(&address, &ledger), [(DownloadState::Aborted, 999)]);

        let ledger = Ledger::open(&address, LedgerOptions::default()).unwrap();
        let mut returns = observer(&ledger);
        returns.started(&BodyMap::range(1000, 900..1000));
        returns.completed(&ending(100, Evidence::Confirmed));
        assert_eq!(downloads(&address, &ledger), [(DownloadState::Completed, 1000)]);
    }
}
