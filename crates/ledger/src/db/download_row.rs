//! Downloads as rows.

use std::borrow::Cow;

use jiff::Timestamp;

use super::connection::Row;
use super::rows::Rows;
use super::statement::{Statement, statements};
use crate::model::{Assurance, Download, DownloadState, TransportSummary};

/// A download, and what else its row has.
#[derive(Clone, Debug)]
pub(crate) struct DownloadRow {
    pub(crate) download: Download,
    /// Whether the delivery that completed it carried everything by itself.
    pub(crate) alone: bool,
    /// Number of its acknowledged ranges in the table `fragments`.
    pub(crate) fragments: usize,
    /// Whether its first delivery did not go through a proxy, although a later one did.
    pub(crate) began_direct: bool,
    /// The events that the row tells: [`TELLS_STARTED`], [`TELLS_COMPLETED`].
    pub(crate) tells: i64,
    /// What `download.completed` reports of the connection.
    pub(crate) transport: Option<TransportSummary>,
}

/// The row tells `download.started`. Rows of older versions do not.
pub(crate) const TELLS_STARTED: i64 = 1;
/// The row tells `download.completed`: the download was completed in the transaction that inserted
/// it.
pub(crate) const TELLS_COMPLETED: i64 = 2;

/// The columns of a row `d` of `downloads`, in the order of [`DownloadRow::read`].
macro_rules! download_columns {
    () => {
        "d.id, d.recipient, d.content, d.generation, d.state, d.etag, d.name, d.path, d.transfer, d.weak, \
         d.link, d.client, d.user_agent, d.total, d.acked, d.inferred, d.files, d.files_done, d.deliveries, \
         d.assurance, d.confirmed, d.started, d.updated, d.completed, d.alone, d.fragments, \
         d.tells, d.transport"
    };
}

pub(crate) use download_columns;

statements! {
    /// Inserts rows of [`DownloadRow::write`].
    pub(crate) INSERT_DOWNLOADS = Statement::new(
        "INSERT INTO downloads (id, recipient, content, generation, state, etag, name, path, transfer, weak, \
             link, client, user_agent, total, acked, inferred, files, files_done, deliveries, assurance, \
             confirmed, started, updated, completed, alone, fragments, tells, transport) \
         {{insert $1}} {{text 0}}, {{text 1}}, {{text 2}}, {{int 3}}, {{int 4}}, {{text 5}}, {{text 6}}, {{text 7}}, \
             {{text 8}}, {{int 9}}, {{text 10}}, {{text 11}}, {{text 12}}, {{int 13}}, {{int 14}}, {{int 15}}, \
             {{int 16}}, {{int 17}}, {{int 18}}, {{int 19}}, {{int 20}}, {{int 21}}, {{int 22}}, {{int 23}}, \
             {{int 24}}, {{int 25}}, {{int 26}}, {{text 27}} {{end}}",
    );
    /// Updates what changes in rows of [`DownloadRow::write`].
    pub(crate) UPDATE_DOWNLOADS = Statement::new(
        "UPDATE downloads SET state = {{int 4}}, acked = {{int 14}}, inferred = {{int 15}}, files = {{int 16}}, \
             files_done = {{int 17}}, deliveries = {{int 18}}, assurance = {{int 19}}, confirmed = {{int 20}}, \
             updated = {{int 22}}, completed = {{int 23}}, alone = {{int 24}}, fragments = {{int 25}} \
         FROM {{rows $1}} WHERE downloads.id = {{text 0}}",
    );
}

impl DownloadRow {
    /// Reads a row of `download_columns!`.
    pub(crate) fn read(row: &Row) -> Result<DownloadRow, sqlx::Error> {
        let unsigned = |at| row.int(at).map(|value| u64::try_from(value).unwrap_or(0));
        let maybe = |at| row.maybe_int(at).map(|value| value.map(|value| u64::try_from(value).unwrap_or(0)));
        let assurance = row.int(19)?;
        Ok(DownloadRow {
            download: Download {
                id: row.text(0)?,
                recipient: row.text(1)?,
                content: row.text(2)?,
                generation: u32::try_from(row.int(3)?).unwrap_or(u32::MAX),
                state: state_of(row.int(4)?)?,
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
                assurance: if assurance == 0 { Assurance::Peer } else { Assurance::Proxy },
                confirmed: row.int(20)? != 0,
                started: time(row.int(21)?),
                updated: time(row.int(22)?),
                completed: row.maybe_int(23)?.map(time),
            },
            alone: row.int(24)? != 0,
            fragments: usize::try_from(row.int(25)?).unwrap_or(0),
            began_direct: assurance == 2,
            tells: row.int(26)?,
            transport: row.maybe_text(27)?.as_deref().and_then(read_transport),
        })
    }

    /// Adds a row for [`UPSERT_DOWNLOADS`].
    pub(crate) fn write(&self, rows: &mut Rows) {
        let d = &self.download;
        rows.row()
            .put(&d.id)
            .put(&d.recipient)
            .put(&d.content)
            .put(&d.generation)
            .put(&state_number(d.state));
        rows.put(&d.etag).put(&d.name).put(&d.path).put(&d.transfer).flag(d.weak).put(&d.link).put(&d.client);
        rows.put(&d.user_agent).put(&d.total).put(&d.acked).put(&d.inferred).put(&d.files).put(&d.files_done);
        rows.put(&d.deliveries)
            .put(&match d.assurance {
                Assurance::Peer => 0,
                Assurance::Proxy => 1 + i64::from(self.began_direct),
            })
            .flag(d.confirmed)
            .put(&d.started.as_microsecond());
        rows.put(&d.updated.as_microsecond())
            .put(&d.completed.map(Timestamp::as_microsecond))
            .flag(self.alone);
        rows.put(&self.fragments).put(&self.tells).put(&self.transport.as_ref().map(write_transport));
    }

    /// The download as it was when it began.
    pub(crate) fn as_begun(&self) -> Download {
        let download = &self.download;
        Download {
            state: DownloadState::Open,
            acked: 0,
            inferred: 0,
            files_done: download.files.map(|_| 0),
            deliveries: 0,
            assurance: if self.began_direct { Assurance::Peer } else { download.assurance },
            confirmed: false,
            updated: download.started,
            completed: None,
            ..download.clone()
        }
    }
}

/// Shorter than with names, which every row would repeat.
fn write_transport(transport: &TransportSummary) -> String {
    let TransportSummary { rtt_ms, limited_by_client, limited_by_network, limited_by_server, .. } = transport;
    let shares = (limited_by_client, limited_by_network, limited_by_server);
    let fields = (rtt_ms, shares, transport.retransmitted, transport.rate);
    serde_json::to_string(&fields).expect("plain values, into memory")
}

fn read_transport(text: &str) -> Option<TransportSummary> {
    let (rtt_ms, shares, retransmitted, rate) = serde_json::from_str(text).ok()?;
    let (limited_by_client, limited_by_network, limited_by_server) = shares;
    Some(TransportSummary {
        rtt_ms,
        limited_by_client,
        limited_by_network,
        limited_by_server,
        retransmitted,
        rate,
    })
}

/// The current time as rows keep it: in microseconds.
pub(crate) fn now() -> Timestamp {
    time(Timestamp::now().as_microsecond())
}

/// Reads a time.
pub(crate) fn time(micros: i64) -> Timestamp {
    Timestamp::from_microsecond(micros).unwrap_or(Timestamp::UNIX_EPOCH)
}

pub(crate) fn state_number(state: DownloadState) -> i64 {
    match state {
        DownloadState::Open => 0,
        DownloadState::Aborted => 1,
        DownloadState::Failed => 2,
        DownloadState::Completed => 3,
    }
}

/// The inverse of [`state_number`]. An unknown number is an error, never a receipt.
fn state_of(number: i64) -> Result<DownloadState, sqlx::Error> {
    match number {
        0 => Ok(DownloadState::Open),
        1 => Ok(DownloadState::Aborted),
        2 => Ok(DownloadState::Failed),
        3 => Ok(DownloadState::Completed),
        _ => Err(sqlx::Error::Decode(format!("unknown state {number} of a download").into())),
    }
}

/// Cuts `text` to `max` bytes and replaces control characters, which PostgreSQL partly rejects and
/// which JSON makes six times as long.
pub(crate) fn clean(text: &str, max: usize) -> Cow<'_, str> {
    let is_control = |c: char| c.is_control();
    if text.len() <= max && !text.contains(is_control) {
        return Cow::Borrowed(text);
    }
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    Cow::Owned(text[..end].replace(is_control, "\u{fffd}"))
}
