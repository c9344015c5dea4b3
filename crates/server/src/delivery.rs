//! Watching one delivery: its line in the log, its place in the ledger, its archive's plan.

use std::sync::Arc;

use outflow_content::{AbortReason, BodyMap, Ending, Evidence, Observer, SpanError};
use outflow_ledger::{Closing, Outcome, Tracked, Transport};

use crate::log::Line;
use crate::plan::Plan;

/// Told by the engine what becomes of a delivery, tells whoever wants to know.
pub(crate) struct DeliveryObserver {
    pub(crate) line: Option<Arc<Line>>,
    /// Taken when the delivery has ended.
    pub(crate) tracked: Option<Tracked>,
    /// The archive's: a file that cannot be sent outdates it.
    pub(crate) plan: Option<Arc<Plan>>,
    body: BodyMap,
    sent: u64,
}

impl DeliveryObserver {
    pub(crate) fn new(
        line: Option<Arc<Line>>,
        tracked: Option<Tracked>,
        plan: Option<Arc<Plan>>,
    ) -> DeliveryObserver {
        DeliveryObserver { line, tracked, plan, body: BodyMap::whole(0), sent: 0 }
    }

    fn end(&mut self, ending: &Ending, outcome: Outcome) {
        if let Some(line) = &self.line {
            line.ended(ending, &outcome);
        }
        if let Some(tracked) = self.tracked.take() {
            let acked = self.body.acked(ending.acked.unwrap_or(0)).collect();
            let transport = ending.transport.as_ref().map(transport);
            tracked.ended(Closing { acked, sent: ending.sent, outcome, transport });
        }
    }
}

impl Observer for DeliveryObserver {
    fn started(&mut self, body: &BodyMap) {
        if let Some(line) = &self.line {
            line.started(body.len());
        }
        if let Some(tracked) = &mut self.tracked {
            tracked.started(body.ranges().collect());
            self.body = body.clone();
        }
    }

    fn sent(&mut self, _: u64, sum: u64) {
        self.sent = sum;
    }

    fn acked(&mut self, sum: u64) {
        if let Some(tracked) = &mut self.tracked {
            tracked.acked(self.body.acked(sum).collect(), self.sent);
        }
    }

    fn completed(&mut self, ending: &Ending) {
        self.end(ending, Outcome::Completed { confirmed: ending.evidence == Evidence::Confirmed });
    }

    fn aborted(&mut self, ending: &Ending, reason: &AbortReason) {
        self.end(ending, Outcome::Aborted(reason.to_string()));
    }

    fn failed(&mut self, ending: &Ending, error: &SpanError) {
        if let Some(plan) = &self.plan {
            plan.outdate();
        }
        self.end(ending, Outcome::Failed(error.to_string()));
    }
}

/// Whose fault slowness was: shares of the time in which there was something to send.
fn transport(seen: &outflow_content::Transport) -> Transport {
    let busy = seen.busy.as_secs_f64();
    let share = |part: f64| if busy > 0.0 { (part / busy).clamp(0.0, 1.0) } else { 0.0 };
    let client = share(seen.receiver_limited.as_secs_f64());
    let server = share(seen.sender_limited.as_secs_f64());
    Transport {
        rtt_ms: seen.rtt.as_secs_f64() * 1000.0,
        limited_by_client: client,
        limited_by_server: server,
        limited_by_network: if busy > 0.0 { (1.0 - client - server).max(0.0) } else { 0.0 },
        retransmitted: seen.retransmitted,
        rate: seen.rate,
    }
}
