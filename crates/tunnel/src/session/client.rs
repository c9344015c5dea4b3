//! The client's end of a session: it reconnects whenever the leg is lost.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::time::Instant;

use super::engine::{self, LegOutcome};
use super::field::{InvalidResumeField, ResumeRequest, ResumeResponse, SessionId};
use super::state::{ResumableState, WINDOW_BYTES};
use crate::carry::{TunnelEnd, TunnelStream, TunnelTimeouts, TunnelTotals};
use crate::frame::LegRole;

/// The shortest and the longest wait between two attempts to reconnect.
const MIN_WAIT: Duration = Duration::from_millis(100);
const MAX_WAIT: Duration = Duration::from_secs(5);
/// The longest time for which a client tries to reconnect, whatever the response says: a clock that
/// is set further ahead overflows.
///
/// Bound: tunnels.
const MAX_KEEP: Duration = Duration::from_secs(366 * 24 * 3600);

/// What the server has granted in its first response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResumeGrant {
    id: SessionId,
    window: usize,
    keep: Duration,
}

impl TryFrom<ResumeResponse> for ResumeGrant {
    type Error = InvalidResumeField;

    /// # Errors
    /// The response is not a first one.
    fn try_from(response: ResumeResponse) -> Result<ResumeGrant, InvalidResumeField> {
        match response {
            ResumeResponse::Granted { id, window, keep } => {
                Ok(ResumeGrant { id, window, keep: keep.min(MAX_KEEP) })
            }
            ResumeResponse::Again { .. } => Err(InvalidResumeField),
        }
    }
}

/// A leg on which the session continues.
pub struct ResumedLeg<L> {
    /// The stream after the head of the response.
    pub leg: L,
    /// Bytes that were read together with the head.
    pub early: Bytes,
    /// What the response says of the session.
    pub response: ResumeResponse,
}

/// Why an attempt to reconnect failed.
#[derive(Debug)]
pub enum ReconnectError {
    /// A later attempt may succeed.
    Retry(io::Error),
    /// The server does not know the session, or rejects us.
    Refused(io::Error),
}

/// Makes further legs.
pub trait Reconnect: Send {
    /// Their type.
    type Leg: TunnelStream;

    /// Makes a leg. The request has to carry `resume`.
    fn reconnect(
        &mut self,
        resume: ResumeRequest,
    ) -> impl Future<Output = Result<ResumedLeg<Self::Leg>, ReconnectError>> + Send;
}

/// Carries bytes both ways as [`crate::carry::carry`] does, over one leg after another. If the
/// client cannot reconnect while the server keeps the session, the result is
/// [`TunnelEnd::LegLost`], and the far end is reset.
pub async fn carry<F: TunnelStream, R: Reconnect>(
    mut leg: R::Leg,
    mut early: Bytes,
    granted: ResumeGrant,
    far: F,
    limits: &TunnelTimeouts,
    mut reconnect: R,
) -> (TunnelTotals, TunnelEnd) {
    let mut state = ResumableState::new(far, granted.window.min(WINDOW_BYTES));
    let mut backoff = Backoff::default();
    loop {
        let before = (state.totals(), state.replay.start());
        match engine::drive(&mut state, &mut leg, early, LegRole::Client, limits).await {
            LegOutcome::Over(end) => return (state.totals(), end),
            LegOutcome::Detached(_) if state.is_over() => return (state.totals(), TunnelEnd::Complete),
            LegOutcome::Detached(error) => tracing::info!(%error, "the tunnel broke; reconnecting"),
            LegOutcome::Displaced => {}
        }
        drop(leg);
        if before != (state.totals(), state.replay.start()) {
            backoff = Backoff::default();
        }
        let attached = match attach(&mut state, &granted, &mut backoff, &mut reconnect).await {
            Ok(attached) => attached,
            Err(error) => return (state.totals(), TunnelEnd::LegLost(error)),
        };
        (leg, early) = (attached.leg, attached.early);
    }
}

/// Tries to reconnect for as long as the server keeps the session.
async fn attach<F: TunnelStream, R: Reconnect>(
    state: &mut ResumableState<F>,
    granted: &ResumeGrant,
    backoff: &mut Backoff,
    reconnect: &mut R,
) -> Result<ResumedLeg<R::Leg>, io::Error> {
    let until = Instant::now() + granted.keep;
    let resume = ResumeRequest::Again { id: granted.id, received: state.offset() };
    let mut last = None;
    loop {
        let wait = backoff.next();
        if Instant::now() + wait >= until {
            return Err(too_late(granted.keep, last));
        }
        tokio::time::sleep(wait).await;
        match tokio::time::timeout_at(until, reconnect.reconnect(resume)).await {
            Ok(Ok(attached)) => {
                accept(state, granted.id, attached.response)?;
                tracing::info!("the tunnel has resumed");
                return Ok(attached);
            }
            Ok(Err(ReconnectError::Retry(error))) => {
                tracing::debug!(%error, "cannot reconnect yet");
                last = Some(error);
            }
            Ok(Err(ReconnectError::Refused(error))) => return Err(error),
            Err(_) => return Err(too_late(granted.keep, last)),
        }
    }
}

/// Continues from the offset in the response.
fn accept<F: TunnelStream>(
    state: &mut ResumableState<F>,
    id: SessionId,
    response: ResumeResponse,
) -> Result<(), io::Error> {
    let wrong = || io::Error::new(io::ErrorKind::InvalidData, "the server resumed a different session");
    match response {
        ResumeResponse::Again { id: theirs, received }
            if theirs == id && state.replay.can_resume(received) =>
        {
            state.replay.acknowledge(received).map_err(|_| wrong())
        }
        _ => Err(wrong()),
    }
}

fn too_late(keep: Duration, last: Option<io::Error>) -> io::Error {
    let why = last.map_or_else(|| "no response".to_owned(), |error| error.to_string());
    let what = format!("could not reconnect to the server within {} s: {why}", keep.as_secs());
    io::Error::new(io::ErrorKind::TimedOut, what)
}

/// Waits that double each time, with jitter, so that clients that lost the same server do not
/// reconnect all at once.
#[derive(Default)]
struct Backoff(u32);

impl Backoff {
    fn next(&mut self) -> Duration {
        let longest = MAX_WAIT.min(MIN_WAIT * 2_u32.saturating_pow(self.0));
        self.0 = self.0.saturating_add(1).min(16);
        let mut random = [0; 1];
        // Without random numbers, the longest wait will do.
        let drawn = SystemRandom::new().fill(&mut random).map_or(u8::MAX, |()| random[0]);
        (longest / 2 + longest / 2 * u32::from(drawn) / 255).max(MIN_WAIT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_keeps_a_session_forever_does_not_overflow_the_clock() {
        let field = format!("{}; window=1; for={}", SessionId([7; 16]), u64::MAX);
        let grant = ResumeGrant::try_from(field.parse::<ResumeResponse>().unwrap()).unwrap();
        assert_eq!(grant.keep, MAX_KEEP);
        assert!(Instant::now().checked_add(grant.keep).is_some());
    }

    #[test]
    fn backoff_grow_and_stay_within_their_bounds() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.next(), MIN_WAIT);
        let rest: Vec<Duration> = (0..40).map(|_| backoff.next()).collect();
        assert!(rest.iter().all(|wait| (MIN_WAIT..=MAX_WAIT).contains(wait)), "{rest:?}");
        assert!(rest[10..].iter().all(|wait| *wait >= MAX_WAIT / 2));
    }
}
