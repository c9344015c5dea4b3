//! The outbox in a database: claims are leases with a token, in columns of their own.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::Notify;

use crate::db::context::Context;
use crate::db::download_row::{clean, time};
use crate::db::event::{insert_events, other_event, read_event};
use crate::db::id;
use crate::db::sql::{Arg, Row};
use crate::db::store::{Store, written};
use crate::model::{Error, Kind, SendAttempt};
use crate::webhook::outbox::{Attempt, Change, Claimed, EndpointState, FURTHEST, Outbox, Verdict};

/// Attempts that are kept of each send.
const LOG: usize = 10;

/// The sends of a ledger.
pub(crate) struct Sends {
    pub(crate) store: Arc<Store>,
    pub(crate) context: Arc<Context>,
    pub(crate) wake: Arc<Notify>,
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX / 4)
}

#[async_trait]
impl Outbox for Sends {
    async fn claim(&self, endpoint: &str, limit: usize, lease: Duration) -> Result<Vec<Claimed>, Error> {
        let now = Timestamp::now();
        let token = id::new("", now);
        let now = now.as_microsecond();
        let args = [
            endpoint.into(),
            Arg::Int(now),
            Arg::Int(now + micros(FURTHEST)),
            Arg::Int(i64::try_from(limit).unwrap_or(i64::MAX)),
            Arg::Int(now + micros(lease)),
            token.as_str().into(),
        ];
        let rows = written!(self.store, |conn| {
            let sql = "UPDATE sends SET leased = $5, token = $6 \
                           WHERE endpoint = $1 AND event IN (\
                               SELECT event FROM sends WHERE endpoint = $1 AND state = 0 \
                                   AND (due <= $2 OR due > $3) AND (leased <= $2 OR leased > $3) \
                               ORDER BY due LIMIT $4 FOR UPDATE SKIP LOCKED)";
            if conn.run(sql, &args).await? == 0 {
                return Ok(Vec::new());
            }
            let sql = "SELECT s.attempts, s.since, e.seq, e.id, e.kind, e.at, e.data \
                           FROM sends s JOIN events e ON e.id = s.event \
                           WHERE s.endpoint = $1 AND s.state = 0 AND s.token = $2 ORDER BY s.due, e.seq";
            conn.rows(sql, &[args[0].clone(), args[5].clone()]).await
        })?;
        let claimed = |row: &Row| -> Result<Claimed, sqlx::Error> {
            Ok(Claimed {
                endpoint: endpoint.to_owned(),
                attempts: u32::try_from(row.int(0)?).unwrap_or(u32::MAX),
                since: time(row.int(1)?),
                event: read_event(row, 2)?,
                token: token.clone(),
            })
        };
        let claims: Result<Vec<_>, _> = rows.iter().map(claimed).collect();
        claims.map_err(|error| self.store.address.error(&error))
    }

    async fn settle(&self, claimed: &Claimed, attempt: &Attempt) -> Result<(), Error> {
        let (state, due, counts) = match attempt.verdict {
            Verdict::Delivered => (1, None, 1),
            Verdict::Again(due) => (0, Some(due), 1),
            Verdict::GivenUp => (2, None, 1),
            Verdict::Postponed(due) => (0, Some(due), 0),
        };
        let key = [claimed.event.id.as_str().into(), Arg::from(claimed.endpoint.as_str())];
        written!(self.store, |conn| {
            let sql = "SELECT log, due FROM sends WHERE event = $1 AND endpoint = $2 AND state = 0 AND token = $3 \
                           FOR UPDATE";
            let mut args = key.to_vec();
            args.push(claimed.token.as_str().into());
            let rows = conn.rows(sql, &args).await?;
            // Somebody else has claimed it since.
            let Some(row) = rows.first() else { return Ok(()) };
            let mut log: Vec<SendAttempt> = serde_json::from_str(&row.text(0)?).unwrap_or_default();
            log.push(SendAttempt {
                at: attempt.at,
                note: clean(&attempt.note, 500).into_owned(),
                ms: u64::try_from(attempt.took.as_millis()).unwrap_or(u64::MAX),
            });
            let log = &log[log.len().saturating_sub(LOG)..];
            let log = serde_json::to_string(log).expect("plain values, into memory");
            let due = due.map_or(row.int(1)?, Timestamp::as_microsecond);
            let sql = "UPDATE sends SET state = $3, due = $4, attempts = attempts + $5, leased = 0, token = NULL, \
                           log = $6 WHERE event = $1 AND endpoint = $2";
            let mut args = key.to_vec();
            args.extend([Arg::Int(state), Arg::Int(due), Arg::Int(counts), log.as_str().into()]);
            conn.run(sql, &args).await.map(drop)
        })
    }

    async fn next_due(&self, endpoint: &str) -> Result<Option<Timestamp>, Error> {
        let now = Timestamp::now().as_microsecond();
        let furthest = now + micros(FURTHEST);
        let sql = "SELECT min(CASE WHEN due > $2 OR leased > $2 THEN $3 WHEN leased > due THEN leased ELSE due END) \
                   FROM sends WHERE endpoint = $1 AND state = 0";
        let rows = self.store.rows(sql, &[endpoint.into(), Arg::Int(furthest), Arg::Int(now)]).await?;
        let due = rows.first().map_or(Ok(None), |row| row.maybe_int(0));
        Ok(due.map_err(|error| self.store.address.error(&error))?.map(time))
    }

    async fn endpoint(&self, endpoint: &str) -> Result<EndpointState, Error> {
        let sql = "SELECT failing, disabled, reason FROM endpoints WHERE id = $1";
        let rows = self.store.rows(sql, &[endpoint.into()]).await?;
        let state = rows.first().map(read_state).transpose();
        Ok(state.map_err(|error| self.store.address.error(&error))?.unwrap_or_default())
    }

    async fn change_endpoint(&self, endpoint: &str, change: &Change) -> Result<EndpointState, Error> {
        #[derive(Serialize)]
        struct Data<'a> {
            id: &'a str,
            reason: &'a str,
        }
        let (state, wakes) = written!(self.store, |conn| {
            let id = Arg::from(endpoint);
            let sql = "INSERT INTO endpoints (id) VALUES ($1) ON CONFLICT (id) DO NOTHING";
            conn.run(sql, std::slice::from_ref(&id)).await?;
            let sql = "SELECT failing, disabled, reason FROM endpoints WHERE id = $1 FOR UPDATE";
            let rows = conn.rows(sql, std::slice::from_ref(&id)).await?;
            let before = rows.first().map(read_state).transpose()?.unwrap_or_default();
            let mut state = before.clone();
            match change {
                Change::Failed(at) => {
                    state.failing_since = Some(state.failing_since.map_or(*at, |since| since.min(*at)));
                }
                Change::Succeeded => state.failing_since = None,
                Change::Disable(at, reason) if state.disabled.is_none() => {
                    state.disabled = Some((*at, clean(reason, 500).into_owned()));
                }
                Change::Disable(..) => {}
                Change::Enable => state = EndpointState::default(),
            }
            if state == before {
                return Ok((state, false));
            }
            let sql = "UPDATE endpoints SET failing = $2, disabled = $3, reason = $4 WHERE id = $1";
            let disabled = state.disabled.as_ref();
            let args = [
                id,
                state.failing_since.map(Timestamp::as_microsecond).into(),
                disabled.map(|(at, _)| at.as_microsecond()).into(),
                disabled.map(|(_, reason)| reason.as_str()).into(),
            ];
            conn.run(sql, &args).await?;
            if let (None, Some((at, reason))) = (&before.disabled, disabled) {
                let data = Data { id: endpoint, reason };
                let endpoints = &self.context.options.endpoints;
                let event = other_event(Kind::EndpointDisabled, "endpoint", &data, *at, endpoints);
                return Ok((state, insert_events(conn, &[event]).await?));
            }
            // What has waited for an endpoint to be enabled is as good as new.
            Ok((state, matches!(change, Change::Enable)))
        })?;
        // Not before it is committed: whoever looks earlier sees nothing, and does not look again for a minute.
        if wakes {
            self.wake.notify_one();
        }
        Ok(state)
    }

    async fn woken(&self) {
        self.wake.notified().await;
    }
}

fn read_state(row: &Row) -> Result<EndpointState, sqlx::Error> {
    let reason = row.maybe_text(2)?.unwrap_or_default();
    Ok(EndpointState {
        failing_since: row.maybe_int(0)?.map(time),
        disabled: row.maybe_int(1)?.map(|at| (time(at), reason)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::presence::Presence;
    use crate::db::sql::Address;
    use crate::model::{Endpoint, Filter, Options, Target};

    /// Two processes with one endpoint, and an event for it.
    async fn two(address: &str) -> [Sends; 2] {
        let endpoint = Endpoint {
            id: "e".into(),
            filter: Filter::default(),
            target: Target::Command { program: "/x".into() },
        };
        let one = async || {
            let address = Address::parse(address).unwrap();
            let presence = Arc::new(Presence::new("i".into()));
            let conn = address.prepare().await.unwrap();
            let store = Arc::new(Store::new(address.clone(), conn, Arc::clone(&presence)).await.unwrap());
            let options = Options { endpoints: vec![endpoint.clone()], ..Options::default() };
            Sends { store, context: Arc::new(Context { presence, options }), wake: Arc::default() }
        };
        let both = [one().await, one().await];
        let endpoints = &both[0].context.options.endpoints;
        for transfer in ["t1", "t2", "t3"] {
            crate::write::single::transfer_expired(&both[0].store, endpoints, transfer).await.unwrap();
        }
        both
    }

    fn attempt(verdict: Verdict) -> Attempt {
        Attempt { verdict, note: "200 OK".into(), at: Timestamp::now(), took: Duration::from_millis(7) }
    }

    async fn claims_are_leases(address: &str) {
        const LONG: Duration = Duration::from_secs(60);
        let [one, two] = two(address).await;
        let first = one.claim("e", 2, LONG).await.unwrap();
        let second = two.claim("e", 9, Duration::ZERO).await.unwrap();
        assert_eq!((first.len(), second.len()), (2, 1));
        assert!(first.iter().all(|claim| claim.event.id != second[0].event.id));
        // The second lease has ended at once, so it is claimed again; the first claim of it is worth nothing then.
        let again = one.claim("e", 9, LONG).await.unwrap();
        assert_eq!((again.len(), &again[0].event.id), (1, &second[0].event.id));
        two.settle(&second[0], &attempt(Verdict::Delivered)).await.unwrap();
        let due = one.next_due("e").await.unwrap().unwrap();
        assert!(due > Timestamp::now(), "nothing can be claimed before the leases end");
        let detail = crate::read::events::event(&one.store, &again[0].event.id).await.unwrap().unwrap();
        assert_eq!(detail.sends[0].attempts, 0);
        // Tried again, put off, delivered.
        one.settle(&again[0], &attempt(Verdict::Again(Timestamp::now()))).await.unwrap();
        let third = two.claim("e", 9, LONG).await.unwrap();
        assert_eq!((third.len(), third[0].attempts), (1, 1));
        two.settle(&third[0], &attempt(Verdict::Postponed(Timestamp::now()))).await.unwrap();
        let fourth = one.claim("e", 9, LONG).await.unwrap();
        assert_eq!((fourth.len(), fourth[0].attempts), (1, 1));
        one.settle(&fourth[0], &attempt(Verdict::Delivered)).await.unwrap();
        for claim in &first {
            one.settle(claim, &attempt(Verdict::GivenUp)).await.unwrap();
        }
        assert_eq!(one.next_due("e").await.unwrap(), None);
        assert!(two.claim("e", 9, LONG).await.unwrap().is_empty());
        let detail = crate::read::events::event(&one.store, &fourth[0].event.id).await.unwrap().unwrap();
        assert_eq!((detail.sends[0].attempts, detail.sends[0].log.len()), (2, 3));
        // Whoever disables an endpoint tells it once.
        let disable = || Change::Disable(Timestamp::now(), "it answered 410".into());
        let at = Timestamp::now();
        assert_eq!(one.change_endpoint("e", &Change::Failed(at)).await.unwrap().disabled, None);
        one.change_endpoint("e", &disable()).await.unwrap();
        two.change_endpoint("e", &disable()).await.unwrap();
        let state = two.endpoint("e").await.unwrap();
        assert_eq!(state.disabled.unwrap().1, "it answered 410");
        let query = crate::model::EventQuery {
            kinds: vec![Kind::EndpointDisabled],
            ..crate::model::EventQuery::default()
        };
        assert_eq!(crate::read::events::events(&one.store, &query).await.unwrap().len(), 1);
        assert_eq!(one.change_endpoint("e", &Change::Enable).await.unwrap(), EndpointState::default());
        one.store.close().await;
        two.store.close().await;
    }

    #[tokio::test]
    async fn claims_are_leases_on_sqlite() {
        let folder = tempfile::tempdir().unwrap();
        claims_are_leases(folder.path().join("ledger.db").to_str().unwrap()).await;
    }

    #[tokio::test]
    async fn claims_are_leases_on_postgres() {
        let server = outflow_testkit::peers::Postgres::start();
        claims_are_leases(&server.address()).await;
    }
}
