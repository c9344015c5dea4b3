//! The query of an address, and the selection in it.
//!
//! A query is parsed as `application/x-www-form-urlencoded`, but into bytes: names need not be
//! UTF-8.
//!
//! | field | meaning |
//! |---|---|
//! | `zip` | an archive |
//! | `file=a`, `file=sub/` | a selected file or folder, a path below the folder |
//! | `raw=a%250A` | the same, encoded twice: for names in forms that browsers would change |
//! | `pick=…` | a selection as a token |
//! | `events` | the progress of downloads, live |
//! | `json` | a listing as JSON |
//! | `download` | a file as an attachment |

use outflow_content::RelPath;
use outflow_content::address::hex;
use outflow_texts::{Text, text};

/// The fields of a query. Unknown fields are ignored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Query {
    pub(crate) zip: bool,
    pub(crate) events: bool,
    pub(crate) json: bool,
    pub(crate) download: bool,
    pub(crate) archive: ArchiveQuery,
}

/// All fields that decide which archive a folder becomes. Code that hashes or writes them names
/// each, so that a new field is a compile error where it was forgotten.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ArchiveQuery {
    /// The token of a selection.
    pub(crate) pick: Option<String>,
    /// Selected paths: sorted, none of them in another one.
    pub(crate) files: Vec<RelPath>,
}

/// Why a query is invalid, for the client.
pub(crate) type BadQuery = Text;

impl Query {
    /// Parses a query, or the body of a form.
    pub(crate) fn parse(query: &[u8]) -> Result<Query, BadQuery> {
        let mut parsed = Query::default();
        let mut files = Vec::new();
        for field in query.split(|byte| *byte == b'&').filter(|field| !field.is_empty()) {
            let (name, value) = match field.iter().position(|byte| *byte == b'=') {
                Some(at) => (&field[..at], &field[at + 1..]),
                None => (field, &[][..]),
            };
            match name {
                b"zip" => parsed.zip = true,
                b"events" => parsed.events = true,
                b"json" => parsed.json = true,
                b"download" => parsed.download = true,
                b"file" => files.push(path(&decode(value, true)?)?),
                b"raw" => files.push(path(&decode(&decode(value, true)?, false)?)?),
                b"pick" if parsed.archive.pick.is_some() => return Err(text!(query_two_picks)),
                b"pick" => {
                    let token = decode(value, true)?;
                    parsed.archive.pick = Some(String::from_utf8(token).map_err(|_| text!(query_bad_pick))?);
                }
                _ => {}
            }
        }
        parsed.archive.files = RelPath::without_overlap(files);
        if parsed.archive.pick.is_some() && !parsed.archive.files.is_empty() {
            return Err(text!(query_pick_and_file));
        }
        Ok(parsed)
    }
}

/// A selected path. One slash at the end is allowed and means nothing.
fn path(bytes: &[u8]) -> Result<RelPath, BadQuery> {
    let bytes = bytes.strip_suffix(b"/").unwrap_or(bytes);
    if bytes.is_empty() {
        return Err(text!(query_empty_name));
    }
    RelPath::new(bytes).map_err(|_| text!(query_bad_name))
}

fn decode(value: &[u8], plus_is_space: bool) -> Result<Vec<u8>, BadQuery> {
    let mut decoded = Vec::with_capacity(value.len());
    let mut bytes = value.iter();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' if plus_is_space => b' ',
            b'%' => match (hex(bytes.next()), hex(bytes.next())) {
                (Some(high), Some(low)) => high << 4 | low,
                _ => return Err(text!(query_bad_percent)),
            },
            byte => *byte,
        });
    }
    Ok(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(query: &str) -> Result<Vec<String>, BadQuery> {
        Query::parse(query.as_bytes())
            .map(|query| query.archive.files.iter().map(RelPath::to_string).collect())
    }

    #[test]
    fn selections_are_sorted_and_do_not_overlap() {
        for (query, selected) in [
            ("zip", &[][..]),
            ("zip&file=b&file=a", &["a", "b"]),
            ("zip&file=a&file=a", &["a"]),
            ("zip&file=sub/&file=sub/x&file=sub-x&file=sub/y/z", &["sub", "sub-x"]),
            ("zip&file=a+b&file=c%2Bd&file=e%26f", &["a b", "c+d", "e&f"]),
            ("zip&raw=a%2520b&raw=%25ff", &["a b", "\u{fffd}"]),
            ("zip&file=%2541", &["%41"]),
            ("zip&utm=1&&x", &[]),
        ] {
            assert_eq!(files(query).unwrap(), selected, "{query}");
        }
        let raw = Query::parse(b"zip&raw=%25FF%250a").unwrap();
        assert_eq!(raw.archive.files[0].as_bytes(), b"\xff\n");
    }

    #[test]
    fn invalid_queries_are_rejected() {
        for query in [
            "file=",
            "file",
            "file=/",
            "file=../x",
            "file=a/../b",
            "file=/etc",
            "file=a//b",
            "file=%00",
            "file=%",
            "file=%zz",
            "file=%4",
            "raw=%25",
            "pick=a&pick=b",
            "pick=a&file=b",
            "pick=%ff",
        ] {
            assert!(Query::parse(query.as_bytes()).is_err(), "{query}");
        }
    }
}
