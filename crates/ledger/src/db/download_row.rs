//! Downloads as rows.

use std::borrow::Cow;

use jiff::Timestamp;

use crate::db::sql::{Row, Rows};
use crate::model::{Assurance, Download, State};

/// A download and what else its row knows.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) download: Download,
    /// Whether the delivery that completed it carried everything by itself.
    pub(crate) alone: bool,
    /// How many fragments it has.
    pub(crate) fragments: usize,
}

/// The columns in the order of [`Stored::read`] and [`Stored::write`].
pub(crate) const COLUMNS: &str = "d.id, d.recipient, d.content, d.generation, d.state, d.etag, d.name, d.path, \
    d.transfer, d.weak, d.link, d.client, d.user_agent, d.total, d.acked, d.inferred, d.files, d.files_done, \
    d.deliveries, d.assurance, d.confirmed, d.started, d.updated, d.completed, d.alone, d.fragments";

/// Writes rows, whether they are there already or not.
pub(crate) const UPSERT: &str = "\
    INSERT INTO downloads (id, recipient, content, generation, state, etag, name, path, transfer, weak, link, client, \
        user_agent, total, acked, inferred, files, files_done, deliveries, assurance, confirmed, started, updated, \
        completed, alone, fragments) \
    SELECT k.value->>0, k.value->>1, k.value->>2, CAST(k.value->>3 AS bigint), CAST(k.value->>4 AS bigint), \
        k.value->>5, k.value->>6, k.value->>7, k.value->>8, CAST(k.value->>9 AS bigint), k.value->>10, k.value->>11, \
        k.value->>12, CAST(k.value->>13 AS bigint), CAST(k.value->>14 AS bigint), CAST(k.value->>15 AS bigint), \
        CAST(k.value->>16 AS bigint), CAST(k.value->>17 AS bigint), CAST(k.value->>18 AS bigint), \
        CAST(k.value->>19 AS bigint), CAST(k.value->>20 AS bigint), CAST(k.value->>21 AS bigint), \
        CAST(k.value->>22 AS bigint), CAST(k.value->>23 AS bigint), CAST(k.value->>24 AS bigint), \
        CAST(k.value->>25 AS bigint) \
    FROM EACH($1) WHERE true \
    ON CONFLICT (id) DO UPDATE SET state = excluded.state, acked = excluded.acked, inferred = excluded.inferred, \
        files = excluded.files, files_done = excluded.files_done, deliveries = excluded.deliveries, \
        assurance = excluded.assurance, confirmed = excluded.confirmed, updated = excluded.updated, \
        completed = excluded.completed, alone = excluded.alone, fragments = excluded.fragments";

impl Stored {
    /// From a row of [`COLUMNS`].
    pub(crate) fn read(row: &Row) -> Result<Stored, sqlx::Error> {
        let unsigned = |at| row.int(at).map(|value| u64::try_from(value).unwrap_or(0));
        let maybe = |at| row.maybe_int(at).map(|value| value.map(|value| u64::try_from(value).unwrap_or(0)));
        Ok(Stored {
            download: Download {
                id: row.text(0)?,
                recipient: row.text(1)?,
                content: row.text(2)?,
                generation: u32::try_from(row.int(3)?).unwrap_or(u32::MAX),
                state: state_of(row.int(4)?),
                etag: row.text(5)?,
                name: row.text(6)?,
                path: row.text(7)?,
                transfer: row.maybe_text(8)?,
                weak: row.int(9)? != 0,
                link: row.maybe_text(10)?,
                client: row.maybe_text(11)?,
                user_agent: row.maybe_text(12)?,
                total: unsigned(13)?,
                acked: unsigned(14)?,
                inferred: unsigned(15)?,
                files: maybe(16)?,
                files_done: maybe(17)?,
                deliveries: u32::try_from(row.int(18)?).unwrap_or(u32::MAX),
                assurance: if row.int(19)? == 0 { Assurance::Peer } else { Assurance::Proxy },
                confirmed: row.int(20)? != 0,
                started: time(row.int(21)?),
                updated: time(row.int(22)?),
                completed: row.maybe_int(23)?.map(time),
            },
            alone: row.int(24)? != 0,
            fragments: usize::try_from(row.int(25)?).unwrap_or(0),
        })
    }

    /// As a row for [`UPSERT`].
    pub(crate) fn write(&self, rows: &mut Rows) {
        let d = &self.download;
        rows.row()
            .put(&d.id)
            .put(&d.recipient)
            .put(&d.content)
            .put(&d.generation)
            .put(&state_number(d.state));
        rows.put(&d.etag).put(&d.name).put(&d.path).put(&d.transfer).flag(d.weak).put(&d.link).put(&d.client);
        rows.put(&d.user_agent).int(d.total).int(d.acked).int(d.inferred).put(&d.files).put(&d.files_done);
        rows.put(&d.deliveries)
            .flag(d.assurance == Assurance::Proxy)
            .flag(d.confirmed)
            .put(&d.started.as_microsecond());
        rows.put(&d.updated.as_microsecond())
            .put(&d.completed.map(Timestamp::as_microsecond))
            .flag(self.alone);
        rows.put(&self.fragments);
    }
}

/// A time in a row.
pub(crate) fn time(micros: i64) -> Timestamp {
    Timestamp::from_microsecond(micros).unwrap_or(Timestamp::UNIX_EPOCH)
}

pub(crate) fn state_number(state: State) -> i64 {
    match state {
        State::Open => 0,
        State::Aborted => 1,
        State::Failed => 2,
        State::Completed => 3,
    }
}

fn state_of(number: i64) -> State {
    match number {
        0 => State::Open,
        1 => State::Aborted,
        2 => State::Failed,
        _ => State::Completed,
    }
}

/// `text` as it may stand in a row and an event: at most `most` bytes, and no control characters, which PostgreSQL
/// partly refuses and JSON blows up.
pub(crate) fn clean(text: &str, most: usize) -> Cow<'_, str> {
    let is_bad = |c: char| c.is_control();
    if text.len() <= most && !text.contains(is_bad) {
        return Cow::Borrowed(text);
    }
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    Cow::Owned(text[..end].replace(is_bad, "\u{fffd}"))
}
