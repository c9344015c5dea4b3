//! What the database's errors mean, and what to do about them.

use sqlx::error::{DatabaseError, ErrorKind};

/// Whether the same transaction may succeed at once when it is repeated: it met another one.
pub(crate) fn is_transient(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(error) = error else { return false };
    // serialization_failure, deadlock_detected; two nodes that insert the same row.
    matches!(error.code().as_deref(), Some("40001" | "40P01")) || error.kind() == ErrorKind::UniqueViolation
}

/// What failed, why, and what to do.
pub(super) fn describe(address: &str, error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(error) => match describe_sqlite(&**error) {
            Some(text) => format!("ledger {address}: {text}"),
            None => format!("ledger {address}: the database reports: {error}"),
        },
        sqlx::Error::Io(error) => {
            format!("ledger {address}: the database cannot be reached ({error}); is it running?")
        }
        sqlx::Error::PoolTimedOut => {
            format!(
                "ledger {address}: the database does not answer in time; is it running, has it connections left?"
            )
        }
        other => format!("ledger {address}: {other}"),
    }
}

/// What SQLite's result codes mean. They are numbers; PostgreSQL's have five characters.
fn describe_sqlite(error: &dyn DatabaseError) -> Option<String> {
    let code: u32 = error.code()?.parse().ok()?;
    if code > 9999 {
        return None;
    }
    Some(match code & 0xff {
        5 | 6 => "another program has locked the file; end it, or wait until it is done".into(),
        8 => {
            "the file may not be written; give the server's user permission to write it and its folder".into()
        }
        10 => format!("the disk reports an error ({error}); check the system's log"),
        11 => "the file is damaged; restore it from a backup, or move it away to begin a new one".into(),
        13 => "the disk is full; free some space, and the ledger resumes by itself".into(),
        14 => "cannot open the file; check that its folder exists and that the server's user may write there"
            .into(),
        26 => "the file is not a ledger; name another one".into(),
        _ => return None,
    })
}
