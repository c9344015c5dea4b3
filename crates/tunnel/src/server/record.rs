//! What is to be said of a tunnel when it is over, whichever way that comes: one line in the log, and the counts.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::metrics::Tally;
use crate::carry::Totals;

/// Written down when the last who knows of it lets go.
pub(super) struct Record {
    pub(super) owner: Arc<str>,
    /// As it was asked for.
    pub(super) target: String,
    /// Where it is.
    pub(super) address: SocketAddr,
    /// Who asked.
    pub(super) client: Option<SocketAddr>,
    pub(super) carrier: &'static str,
    began: Instant,
    tally: Arc<Tally>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    totals: Totals,
    end: String,
    legs: u32,
}

impl Record {
    pub(super) fn new(
        owner: Arc<str>,
        (target, address): (String, SocketAddr),
        client: Option<SocketAddr>,
        carrier: &'static str,
        tally: &Arc<Tally>,
    ) -> Record {
        tally.add_begun(carrier);
        let state = State { end: "the client left before it began".to_owned(), ..State::default() };
        Record {
            owner,
            target,
            address,
            client,
            carrier,
            began: Instant::now(),
            tally: Arc::clone(tally),
            state: Mutex::new(state),
        }
    }

    /// A leg has ended: what was carried up to now, and why no more.
    pub(super) fn leg_ended(&self, totals: Totals, end: String) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.totals = totals;
        state.end = end;
        state.legs += 1;
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let State { totals, end, legs } = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        let (up, down, seconds) = (totals.to_far, totals.from_far, self.began.elapsed().as_secs_f64());
        self.tally.add_bytes(up, down);
        tracing::info!(
            user = %self.owner, target = self.target, address = %self.address, client = self.client.map(tracing::field::display),
            carrier = self.carrier, up, down, legs = *legs, seconds, end = %end,
            "tunnel ended"
        );
    }
}
