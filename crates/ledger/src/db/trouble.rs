//! What a database's errors mean, and what to do about them.

use sqlx::error::{DatabaseError, ErrorKind};

/// Whether the same transaction may well succeed if it is tried again at once: it met another one.
pub(crate) fn passes(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(error) = error else { return false };
    // serialization_failure, deadlock_detected; two nodes that make the same row.
    matches!(error.code().as_deref(), Some("40001" | "40P01")) || error.kind() == ErrorKind::UniqueViolation
}

/// `error` as a sentence that says what to do.
pub(crate) fn tell(address: &str, error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(error) => match sqlite(&**error) {
            Some(what) => format!("ledger {address}: {what}"),
            None => format!("ledger {address}: the database says: {error}"),
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

/// What SQLite's result codes mean. Its codes are numbers; PostgreSQL's have five places.
fn sqlite(error: &dyn DatabaseError) -> Option<String> {
    let code: u32 = error.code()?.parse().ok()?;
    if code > 9999 {
        return None;
    }
    Some(match code & 0xff {
        5 | 6 => "another program has locked the file; end it, or wait until it is done".into(),
        8 => {
            "the file may not be written; give the server's user the right to write it and its folder".into()
        }
        10 => format!("the disk does not work as it should ({error}); look at the system's log"),
        11 => {
            "the file is damaged; move it away and restore it from a backup, or begin with a new one".into()
        }
        13 => "the disk is full; make room, and the ledger goes on by itself".into(),
        14 => {
            "the file cannot be opened; look whether its folder exists and the server's user may write there"
                .into()
        }
        26 => "this is not a ledger but some other file; name another one".into(),
        _ => return None,
    })
}
