//! The outbox in the database. A claim is a lease with a token, in columns of the send.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::Notify;

use super::outbox::{Attempt, AttemptVerdict, ClaimedSend, EndpointChange, EndpointState, MAX_DUE, Outbox};
use crate::db::connection::{Arg, Row};
use crate::db::context::NodeContext;
use crate::db::database::{Database, in_transaction};
use crate::db::download_row::{clean, time};
use crate::db::event_row::{NewEvent, event_columns, insert_events, read_event};
use crate::db::id;
use crate::db::sequence::Sequence;
use crate::db::statement::{Statement, statements};
use crate::model::{EventKind, LedgerError, SendAttempt};

/// Maximum number of attempts in the log of a send: the latest are kept.
///
/// Bound: webhooks.
const MAX_LOG: usize = 10;

statements! {
    /// $1: endpoint; $2: now; $3: the latest time that can be due; $4: limit; $5: end of the lease;
    /// $6: token.
    CLAIM = Statement::new(
        "UPDATE sends SET leased = $5, token = $6 \
         WHERE endpoint = $1 AND event IN (\
             SELECT event FROM (SELECT event FROM sends WHERE endpoint = $1 AND state = 0 \
                 AND due <= $2 AND (leased <= $2 OR leased > $3) \
                 ORDER BY due LIMIT $4 {{for update skip locked}}) AS d \
             UNION ALL \
             SELECT event FROM (SELECT event FROM sends WHERE endpoint = $1 AND state = 0 \
                 AND due > $3 AND (leased <= $2 OR leased > $3) \
                 ORDER BY due LIMIT $4 {{for update skip locked}}) AS j)",
    );
    /// $1: token. A send that is settled has none.
    CLAIMED = Statement::new(concat!(
        "SELECT s.attempts, s.since, ", event_columns!(), " FROM sends s JOIN events e ON e.id = s.event \
         WHERE s.token = $1 ORDER BY s.due, e.seq",
    ));
    LOCK_CLAIMED = Statement::new(
        "SELECT log, due FROM sends WHERE event = $1 AND endpoint = $2 AND state = 0 AND token = $3 \
         {{for update}}",
    );
    SETTLE = Statement::new(
        "UPDATE sends SET state = $3, due = $4, attempts = attempts + $5, leased = 0, token = NULL, log = $6 \
         WHERE event = $1 AND endpoint = $2",
    );
    /// The first that nobody has claimed, the first of the others, and whether any time is one that
    /// the clock had by mistake: each by an index, however many wait. $1: endpoint; $2: the latest
    /// time that can be due; $3: now.
    NEXT_DUE = Statement::new(
        "SELECT min(t.at) FROM (\
             SELECT at FROM (SELECT due AS at FROM sends \
                 WHERE endpoint = $1 AND state = 0 AND leased = 0 ORDER BY due LIMIT 1) AS d \
             UNION ALL SELECT min(CASE WHEN leased > $2 THEN $3 WHEN leased > due THEN leased ELSE due END) \
                 FROM sends WHERE endpoint = $1 AND state = 0 AND leased > 0 \
             UNION ALL SELECT $3 WHERE EXISTS (\
                 SELECT 1 FROM sends WHERE endpoint = $1 AND state = 0 AND due > $2)) AS t",
    );
    ENDPOINT = Statement::new("SELECT failing, disabled, reason FROM endpoints WHERE id = $1");
    INSERT_ENDPOINT = Statement::new("INSERT INTO endpoints (id) VALUES ($1) ON CONFLICT (id) DO NOTHING");
    LOCK_ENDPOINT = Statement::new(
        "SELECT failing, disabled, reason FROM endpoints WHERE id = $1 {{for update}}",
    );
    UPDATE_ENDPOINT = Statement::new(
        "UPDATE endpoints SET failing = $2, disabled = $3, reason = $4 WHERE id = $1",
    );
}

/// The outbox of a ledger.
pub(crate) struct DatabaseOutbox {
    pub(crate) database: Arc<Database>,
    pub(crate) context: Arc<NodeContext>,
    /// Notified when there are events to send.
    pub(crate) wake: Arc<Notify>,
}

/// The data of `endpoint.disabled`.
#[derive(Serialize)]
struct DisabledEndpoint<'a> {
    id: &'a str,
    reason: &'a str,
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX / 4)
}

#[async_trait]
impl Outbox for DatabaseOutbox {
    async fn claim(
        &self,
        endpoint: &str,
        limit: usize,
        lease: Duration,
    ) -> Result<Vec<ClaimedSend>, LedgerError> {
        let now = Timestamp::now();
        let token = id::new("", now);
        let now = now.as_microsecond();
        let args = [
            endpoint.into(),
            Arg::Int(now),
            Arg::Int(now + micros(MAX_DUE)),
            Arg::Int(i64::try_from(limit).unwrap_or(i64::MAX)),
            Arg::Int(now + micros(lease)),
            token.as_str().into(),
        ];
        let rows = in_transaction!(self.database, |conn| {
            if conn.run(&CLAIM, &args).await? == 0 {
                return Ok(Vec::new());
            }
            conn.rows(&CLAIMED, &[args[5].clone()]).await
        })?;
        let claimed = |row: &Row| -> Result<ClaimedSend, sqlx::Error> {
            Ok(ClaimedSend {
                endpoint: endpoint.to_owned(),
                attempts: u32::try_from(row.int(0)?).unwrap_or(u32::MAX),
                since: time(row.int(1)?),
                event: read_event(row, 2)?,
                token: token.clone(),
            })
        };
        let claims: Result<Vec<_>, _> = rows.iter().map(claimed).collect();
        claims.map_err(|error| self.database.address.error(&error))
    }

    async fn settle(&self, claimed: &ClaimedSend, attempt: &Attempt) -> Result<(), LedgerError> {
        let (state, due, counts) = match attempt.verdict {
            AttemptVerdict::Delivered => (1, None, 1),
            AttemptVerdict::Retry(due) => (0, Some(due), 1),
            AttemptVerdict::GivenUp => (2, None, 1),
            AttemptVerdict::Postponed(due) => (0, Some(due), 0),
        };
        let key = [claimed.event.id.as_str().into(), Arg::from(claimed.endpoint.as_str())];
        in_transaction!(self.database, |conn| {
            let mut args = key.to_vec();
            args.push(claimed.token.as_str().into());
            let rows = conn.rows(&LOCK_CLAIMED, &args).await?;
            // Another process has claimed it since.
            let Some(row) = rows.first() else { return Ok(()) };
            let mut log: Vec<SendAttempt> = serde_json::from_str(&row.text(0)?).unwrap_or_default();
            log.push(SendAttempt {
                at: attempt.at,
                note: clean(&attempt.note, 500).into_owned(),
                ms: u64::try_from(attempt.took.as_millis()).unwrap_or(u64::MAX),
            });
            let log = &log[log.len().saturating_sub(MAX_LOG)..];
            let log = serde_json::to_string(log).expect("plain values, into memory");
            let due = due.map_or(row.int(1)?, Timestamp::as_microsecond);
            let mut args = key.to_vec();
            args.extend([Arg::Int(state), Arg::Int(due), Arg::Int(counts), log.as_str().into()]);
            conn.run(&SETTLE, &args).await.map(drop)
        })
    }

    async fn next_due(&self, endpoint: &str) -> Result<Option<Timestamp>, LedgerError> {
        let now = Timestamp::now().as_microsecond();
        let latest = now + micros(MAX_DUE);
        let rows = self.database.rows(&NEXT_DUE, &[endpoint.into(), Arg::Int(latest), Arg::Int(now)]).await?;
        let due = rows.first().map_or(Ok(None), |row| row.maybe_int(0));
        Ok(due.map_err(|error| self.database.address.error(&error))?.map(time))
    }

    async fn endpoint(&self, endpoint: &str) -> Result<EndpointState, LedgerError> {
        let rows = self.database.rows(&ENDPOINT, &[endpoint.into()]).await?;
        let state = rows.first().map(read_state).transpose();
        Ok(state.map_err(|error| self.database.address.error(&error))?.unwrap_or_default())
    }

    async fn change_endpoint(
        &self,
        endpoint: &str,
        change: &EndpointChange,
    ) -> Result<EndpointState, LedgerError> {
        let (state, has_sends) = in_transaction!(self.database, |conn| {
            let id = Arg::from(endpoint);
            conn.run(&INSERT_ENDPOINT, std::slice::from_ref(&id)).await?;
            let rows = conn.rows(&LOCK_ENDPOINT, std::slice::from_ref(&id)).await?;
            let before = rows.first().map(read_state).transpose()?.unwrap_or_default();
            let mut state = before.clone();
            match change {
                EndpointChange::Failed(at) => {
                    state.failing_since = Some(state.failing_since.map_or(*at, |since| since.min(*at)));
                }
                EndpointChange::Succeeded => state.failing_since = None,
                EndpointChange::Disable(at, reason) if state.disabled.is_none() => {
                    state.disabled = Some((*at, clean(reason, 500).into_owned()));
                }
                EndpointChange::Disable(..) => {}
                EndpointChange::Enable => state = EndpointState::default(),
            }
            if state == before {
                return Ok((state, false));
            }
            let disabled = state.disabled.as_ref();
            let args = [
                id,
                state.failing_since.map(Timestamp::as_microsecond).into(),
                disabled.map(|(at, _)| at.as_microsecond()).into(),
                disabled.map(|(_, reason)| reason.as_str()).into(),
            ];
            conn.run(&UPDATE_ENDPOINT, &args).await?;
            if let (None, Some((at, reason))) = (&before.disabled, disabled) {
                let data = DisabledEndpoint { id: endpoint, reason };
                let endpoints = &self.context.options.endpoints;
                let seq = Sequence::lock(conn).await?.take();
                let event = NewEvent::about_other(seq, EventKind::EndpointDisabled, &data, *at, endpoints);
                return Ok((state, insert_events(conn, &[event]).await?));
            }
            // The sends that waited for the endpoint to be enabled can be claimed now.
            Ok((state, matches!(change, EndpointChange::Enable)))
        })?;
        // After the commit: a worker that looks earlier finds nothing, and waits for a minute.
        if has_sends {
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
    use crate::db::address::DatabaseAddress;
    use crate::db::presence::Presence;
    use crate::model::{Endpoint, EndpointTarget, EventFilter, EventQuery, LedgerOptions};
    use crate::read::events;
    use crate::write::direct;

    /// Two processes with one endpoint, and three events for it.
    async fn two(address: &str) -> [DatabaseOutbox; 2] {
        let endpoint = Endpoint {
            id: "e".into(),
            filter: EventFilter::default(),
            target: EndpointTarget::Command { program: "/x".into() },
        };
        let one = async || {
            let address = DatabaseAddress::parse(address).unwrap();
            let presence = Arc::new(Presence::new("i".into()));
            let conn = address.prepare().await.unwrap();
            let database =
                Arc::new(Database::new(address.clone(), conn, Arc::clone(&presence)).await.unwrap());
            let options = LedgerOptions { endpoints: vec![endpoint.clone()], ..LedgerOptions::default() };
            DatabaseOutbox {
                database,
                context: Arc::new(NodeContext::new(presence, options)),
                wake: Arc::default(),
            }
        };
        let both = [one().await, one().await];
        let endpoints = &both[0].context.options.endpoints;
        for transfer in ["t1", "t2", "t3"] {
            direct::expire_transfer(&both[0].database, endpoints, transfer).await.unwrap();
        }
        both
    }

    fn attempt(verdict: AttemptVerdict) -> Attempt {
        Attempt { verdict, note: "200 OK".into(), at: Timestamp::now(), took: Duration::from_millis(7) }
    }

    async fn claims_are_leases(address: &str) {
        const LONG: Duration = Duration::from_secs(60);
        let [one, two] = two(address).await;
        let first = one.claim("e", 2, LONG).await.unwrap();
        let second = two.claim("e", 9, Duration::ZERO).await.unwrap();
        assert_eq!((first.len(), second.len()), (2, 1));
        assert!(first.iter().all(|claim| claim.event.id != second[0].event.id));
        // The second lease has ended at once, so the send is claimed again, and the first claim is
        // void.
        let again = one.claim("e", 9, LONG).await.unwrap();
        assert_eq!((again.len(), &again[0].event.id), (1, &second[0].event.id));
        two.settle(&second[0], &attempt(AttemptVerdict::Delivered)).await.unwrap();
        let due = one.next_due("e").await.unwrap().unwrap();
        assert!(due > Timestamp::now(), "nothing can be claimed before the leases end");
        let detail = events::event(&one.database, &again[0].event.id).await.unwrap().unwrap();
        assert_eq!(detail.sends[0].attempts, 0);
        // Retried, postponed, delivered.
        one.settle(&again[0], &attempt(AttemptVerdict::Retry(Timestamp::now()))).await.unwrap();
        let third = two.claim("e", 9, LONG).await.unwrap();
        assert_eq!((third.len(), third[0].attempts), (1, 1));
        two.settle(&third[0], &attempt(AttemptVerdict::Postponed(Timestamp::now()))).await.unwrap();
        let fourth = one.claim("e", 9, LONG).await.unwrap();
        assert_eq!((fourth.len(), fourth[0].attempts), (1, 1));
        one.settle(&fourth[0], &attempt(AttemptVerdict::Delivered)).await.unwrap();
        for claim in &first {
            one.settle(claim, &attempt(AttemptVerdict::GivenUp)).await.unwrap();
        }
        assert_eq!(one.next_due("e").await.unwrap(), None);
        assert!(two.claim("e", 9, LONG).await.unwrap().is_empty());
        let detail = events::event(&one.database, &fourth[0].event.id).await.unwrap().unwrap();
        assert_eq!((detail.sends[0].attempts, detail.sends[0].log.len()), (2, 3));
        // Two nodes that disable an endpoint make one event.
        let disable = || EndpointChange::Disable(Timestamp::now(), "it answered 410".into());
        let at = Timestamp::now();
        assert_eq!(one.change_endpoint("e", &EndpointChange::Failed(at)).await.unwrap().disabled, None);
        one.change_endpoint("e", &disable()).await.unwrap();
        two.change_endpoint("e", &disable()).await.unwrap();
        let state = two.endpoint("e").await.unwrap();
        assert_eq!(state.disabled.unwrap().1, "it answered 410");
        let query = EventQuery { kinds: vec![EventKind::EndpointDisabled], ..EventQuery::default() };
        assert_eq!(events::events(&one.database, &query).await.unwrap().len(), 1);
        assert_eq!(
            one.change_endpoint("e", &EndpointChange::Enable).await.unwrap(),
            EndpointState::default()
        );
        one.database.close().await;
        two.database.close().await;
    }

    /// What each send costs must not grow with those that wait: no statement goes through all of
    /// them, and none sorts them.
    #[tokio::test]
    async fn what_waits_is_found_by_an_index() {
        let folder = tempfile::tempdir().unwrap();
        let address = DatabaseAddress::parse(folder.path().join("ledger.db").to_str().unwrap()).unwrap();
        let mut conn = address.prepare().await.unwrap();
        for (statement, args) in [(CLAIM, 6), (CLAIMED, 1), (LOCK_CLAIMED, 3), (SETTLE, 6), (NEXT_DUE, 3)]
            .map(|(statement, count)| (statement.explained(), vec![Arg::Int(1); count]))
        {
            let plan = conn.rows(&statement, &args).await.unwrap();
            let plan: Vec<String> = plan.iter().map(|row| row.text(3).unwrap()).collect();
            let searches = |step: &String| step.starts_with("SEARCH") && !step.contains("(endpoint=?)");
            let of_sends: Vec<_> =
                plan.iter().filter(|step| step.contains(" sends") || step.contains(" s ")).collect();
            assert!(!of_sends.is_empty(), "{plan:#?}");
            for step in of_sends {
                // The first by the time that it is due.
                let first = step.contains("sends_due (endpoint=?)")
                    && plan.iter().all(|step| !step.contains("ORDER BY"));
                assert!(searches(step) || first, "{step}: {plan:#?}");
            }
        }
    }

    #[tokio::test]
    async fn claims_are_leases_on_sqlite() {
        let folder = tempfile::tempdir().unwrap();
        claims_are_leases(folder.path().join("ledger.db").to_str().unwrap()).await;
    }

    #[tokio::test]
    async fn claims_are_leases_on_postgres() {
        outflow_testkit::needs!("postgres");
        let server = outflow_testkit::peers::Postgres::start();
        claims_are_leases(&server.address()).await;
    }
}
