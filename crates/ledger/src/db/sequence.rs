//! The order of events: numbers that grow with every commit, over all processes.
//!
//! A download that begins takes an even number, which its id has in its first bits, and tells two
//! events there: `download.started`, and with the next number `download.completed`. Every other
//! event takes an even number of its own. Numbers follow the clock, so that none comes twice even
//! when all rows of a ledger were removed.

use jiff::Timestamp;

use super::connection::Conn;
use super::id;
use super::statement::{Dialect, Statement, statements};

statements! {
    /// Numbers become visible in their order only if transactions take numbers and commit one at a
    /// time. No lock that a transaction takes after this one is held by another that waits for it.
    LOCK_SEQUENCE = Statement::only(Dialect::Postgres, "SELECT pg_advisory_xact_lock(7237954630903951734)");
    LAST_SEQUENCE = Statement::new(
        "SELECT (SELECT max(seq) FROM events), (SELECT max(id) FROM downloads)",
    );
}

/// The numbers that a transaction may give.
pub(crate) struct Sequence {
    next: i64,
}

impl Sequence {
    /// Reserves all further numbers until the end of the transaction.
    pub(crate) async fn lock(conn: &mut Conn) -> Result<Sequence, sqlx::Error> {
        if conn.dialect() == Dialect::Postgres {
            conn.run(&LOCK_SEQUENCE, &[]).await?;
        }
        let rows = conn.rows(&LAST_SEQUENCE, &[]).await?;
        let row = rows.first().ok_or(sqlx::Error::RowNotFound)?;
        let download = row.maybe_text(1)?.and_then(|id| id::sequence_of("dl_", &id));
        // A download may have two.
        let last = row.maybe_int(0)?.max(download.map(|first| first | 1)).unwrap_or(0);
        Ok(Sequence { next: id::sequence_at(Timestamp::now()).max(last + 1 + (last + 1) % 2) })
    }

    /// The next number, which is even.
    pub(crate) fn take(&mut self) -> i64 {
        let taken = self.next;
        self.next += 2;
        taken
    }
}
