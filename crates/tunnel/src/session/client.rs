//! The client's end of a session: whenever the leg is lost, it comes back.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::time::Instant;

use super::engine::{self, Ran};
use super::field::{Answer, Ask, BadField, Id};
use super::state::{State, WINDOW};
use crate::carry::{End, Limits, Side, Totals};
use crate::frame::Role;

/// The shortest wait between two tries, and the longest.
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);

/// What the server has granted: to be taken from its first answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resume {
    id: Id,
    window: usize,
    keep: Duration,
}

impl TryFrom<Answer> for Resume {
    type Error = BadField;

    /// # Errors
    /// If it is not a first answer.
    fn try_from(answer: Answer) -> Result<Resume, BadField> {
        match answer {
            Answer::Granted { id, window, keep } => Ok(Resume { id, window, keep }),
            Answer::Again { .. } => Err(BadField),
        }
    }
}

/// A leg on which the session can go on.
pub struct Attached<L> {
    /// Behind the head of the answer.
    pub leg: L,
    /// What came with that already.
    pub early: Bytes,
    /// What the answer said.
    pub answer: Answer,
}

/// Why there is none.
#[derive(Debug)]
pub enum NoLeg {
    /// It may be better in a moment.
    Retry(io::Error),
    /// The server does not know the session, or not us.
    Refused(io::Error),
}

/// Whoever can make further legs.
pub trait Reconnect: Send {
    /// What they are.
    type Leg: Side;

    /// Makes one: `ask` is what the request has to say.
    fn reconnect(&mut self, ask: Ask) -> impl Future<Output = Result<Attached<Self::Leg>, NoLeg>> + Send;
}

/// Carries bytes both ways as [`crate::carry::carry`] does, over one leg after another. A loss that lasts longer than the
/// server keeps the session, or a server that does not know it any more, is [`End::LegLost`], and the far end is reset.
pub async fn carry<F: Side, R: Reconnect>(
    mut leg: R::Leg,
    mut early: Bytes,
    granted: Resume,
    far: F,
    limits: &Limits,
    mut reconnect: R,
) -> (Totals, End) {
    let mut state = State::new(far, granted.window.min(WINDOW));
    let mut waits = Waits::default();
    loop {
        let before = (state.totals(), state.ring.start());
        match engine::drive(&mut state, &mut leg, early, Role::Client, limits).await {
            Ran::Over(end) => return (state.totals(), end),
            Ran::Detached(_) if state.is_over() => return (state.totals(), End::Complete),
            Ran::Detached(error) => tracing::info!(%error, "the tunnel broke: coming back"),
            Ran::Displaced => {}
        }
        drop(leg);
        if before != (state.totals(), state.ring.start()) {
            waits = Waits::default();
        }
        let attached = match attach(&mut state, &granted, &mut waits, &mut reconnect).await {
            Ok(attached) => attached,
            Err(error) => return (state.totals(), End::LegLost(error)),
        };
        (leg, early) = (attached.leg, attached.early);
    }
}

/// Tries for as long as the session may be there.
async fn attach<F: Side, R: Reconnect>(
    state: &mut State<F>,
    granted: &Resume,
    waits: &mut Waits,
    reconnect: &mut R,
) -> Result<Attached<R::Leg>, io::Error> {
    let until = Instant::now() + granted.keep;
    let ask = Ask::Again { id: granted.id, received: state.offset() };
    let mut last = None;
    loop {
        let wait = waits.next();
        if Instant::now() + wait >= until {
            return Err(too_late(granted.keep, last));
        }
        tokio::time::sleep(wait).await;
        match tokio::time::timeout_at(until, reconnect.reconnect(ask)).await {
            Ok(Ok(attached)) => {
                accept(state, granted.id, attached.answer)?;
                tracing::info!("the tunnel goes on");
                return Ok(attached);
            }
            Ok(Err(NoLeg::Retry(error))) => {
                tracing::debug!(%error, "not back yet");
                last = Some(error);
            }
            Ok(Err(NoLeg::Refused(error))) => return Err(error),
            Err(_) => return Err(too_late(granted.keep, last)),
        }
    }
}

/// Goes on from where the server says that it is.
fn accept<F: Side>(state: &mut State<F>, id: Id, answer: Answer) -> Result<(), io::Error> {
    let wrong = || io::Error::new(io::ErrorKind::InvalidData, "the server goes on with something else");
    match answer {
        Answer::Again { id: theirs, received } if theirs == id && state.ring.can_resume(received) => {
            state.ring.acknowledge(received).map_err(|_| wrong())
        }
        _ => Err(wrong()),
    }
}

fn too_late(keep: Duration, last: Option<io::Error>) -> io::Error {
    let why = last.map_or_else(|| "no answer".to_owned(), |error| error.to_string());
    let what = format!("the server could not be reached again within {} s: {why}", keep.as_secs());
    io::Error::new(io::ErrorKind::TimedOut, what)
}

/// Twice as long each time, and none as the others: clients that lost the same server do not come back as one.
#[derive(Default)]
struct Waits(u32);

impl Waits {
    fn next(&mut self) -> Duration {
        let longest = LONGEST.min(SHORTEST * 2_u32.saturating_pow(self.0));
        self.0 = self.0.saturating_add(1).min(16);
        let mut random = [0; 1];
        // Without random numbers, the longest will do.
        let drawn = SystemRandom::new().fill(&mut random).map_or(u8::MAX, |()| random[0]);
        (longest / 2 + longest / 2 * u32::from(drawn) / 255).max(SHORTEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_stay_within_their_bounds() {
        let mut waits = Waits::default();
        assert_eq!(waits.next(), SHORTEST);
        let rest: Vec<Duration> = (0..40).map(|_| waits.next()).collect();
        assert!(rest.iter().all(|wait| (SHORTEST..=LONGEST).contains(wait)), "{rest:?}");
        assert!(rest[10..].iter().all(|wait| *wait >= LONGEST / 2));
    }
}
