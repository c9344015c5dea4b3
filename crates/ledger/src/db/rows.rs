//! Arguments of statements. Rows are bound one after the other (SQLite), or a JSON array (both).

use std::borrow::Cow;
use std::fmt::Write as _;
use std::ops::Range;
use std::sync::Arc;

/// An argument of a statement.
#[derive(Clone, Debug)]
pub(crate) enum Arg {
    Int(i64),
    Text(String),
    /// For `{{rows …}}`.
    Rows(Rows),
    NullInt,
    NullText,
}

impl From<i64> for Arg {
    fn from(value: i64) -> Arg {
        Arg::Int(value)
    }
}

impl From<&str> for Arg {
    fn from(value: &str) -> Arg {
        Arg::Text(value.into())
    }
}

impl From<Rows> for Arg {
    fn from(rows: Rows) -> Arg {
        Arg::Rows(rows)
    }
}

impl From<Option<i64>> for Arg {
    fn from(value: Option<i64>) -> Arg {
        value.map_or(Arg::NullInt, Arg::Int)
    }
}

impl From<Option<&str>> for Arg {
    fn from(value: Option<&str>) -> Arg {
        value.map_or(Arg::NullText, Arg::from)
    }
}

/// Rows with the same number of columns.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rows {
    cells: Vec<Cell>,
    count: usize,
}

/// A column of a row.
#[derive(Clone, Debug)]
pub(crate) enum Cell {
    Int(i64),
    Text(Arc<str>),
    Null,
}

/// A value that a column can have.
pub(crate) trait Column {
    fn cell(&self) -> Cell;
}

impl Column for str {
    fn cell(&self) -> Cell {
        Cell::Text(self.into())
    }
}

impl Column for String {
    fn cell(&self) -> Cell {
        self.as_str().cell()
    }
}

impl Column for Cow<'_, str> {
    fn cell(&self) -> Cell {
        (**self).cell()
    }
}

impl<T: Column + ?Sized> Column for &T {
    fn cell(&self) -> Cell {
        (**self).cell()
    }
}

impl<T: Column> Column for Option<T> {
    fn cell(&self) -> Cell {
        self.as_ref().map_or(Cell::Null, Column::cell)
    }
}

/// Numbers, which are at most `i64::MAX` as all lengths and offsets are.
macro_rules! numbers {
    ($($of:ty)*) => { $(impl Column for $of {
        fn cell(&self) -> Cell {
            Cell::Int(i64::try_from(*self).unwrap_or(i64::MAX))
        }
    })* };
}

numbers!(u8 i32 u32 u64 usize i64);

impl Rows {
    /// Begins a row.
    pub(crate) fn row(&mut self) -> &mut Rows {
        self.count += 1;
        self
    }

    /// Sets the next column.
    pub(crate) fn put(&mut self, value: &(impl Column + ?Sized)) -> &mut Rows {
        self.cells.push(value.cell());
        self
    }

    /// Sets the next column, true as 1.
    pub(crate) fn flag(&mut self, value: bool) -> &mut Rows {
        self.put(&u8::from(value))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// The number of columns.
    pub(super) fn width(&self) -> usize {
        self.cells.len() / self.count.max(1)
    }

    /// The cells of some rows, one row after the other.
    pub(super) fn cells(&self, rows: Range<usize>) -> &[Cell] {
        &self.cells[rows.start * self.width()..rows.end * self.width()]
    }

    /// Some rows as `[[…],[…]]`, for `{{rows …}}`.
    pub(super) fn json(&self, rows: Range<usize>) -> String {
        let (mut text, width) = (String::from("["), self.width());
        for (at, cell) in self.cells(rows.clone()).iter().enumerate() {
            text.push_str(match at {
                0 => "[",
                _ if at % width == 0 => "],[",
                _ => ",",
            });
            match cell {
                Cell::Int(number) => write!(text, "{number}").expect("into memory"),
                Cell::Text(of) => {
                    text.push_str(&serde_json::to_string(&**of).expect("a string, into memory"))
                }
                Cell::Null => text.push_str("null"),
            }
        }
        text.push_str(if rows.is_empty() { "]" } else { "]]" });
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_arrays_of_arrays() {
        let mut rows = Rows::default();
        rows.row().put("a\"b").put(&None::<&str>).put(&7);
        rows.row().put(&Some("c")).flag(true).put(&-1_i64);
        assert_eq!(rows.json(0..2), r#"[["a\"b",null,7],["c",1,-1]]"#);
        assert_eq!(rows.json(1..2), r#"[["c",1,-1]]"#);
        assert_eq!(rows.json(2..2), "[]");
        assert_eq!(Rows::default().json(0..0), "[]");
    }
}
