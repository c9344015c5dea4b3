//! Rows as the JSON array that `EACH` takes.

use serde::Serialize;

/// `[[…],[…]]`, a row at a time.
#[derive(Default)]
pub(crate) struct Rows {
    text: Vec<u8>,
    count: usize,
}

impl Rows {
    /// Begins a row.
    pub(crate) fn row(&mut self) -> &mut Rows {
        self.text.extend_from_slice(if self.count == 0 { b"[[" } else { b"],[" });
        self.count += 1;
        self
    }

    fn comma(&mut self) {
        if self.text.last() != Some(&b'[') {
            self.text.push(b',');
        }
    }

    /// The next column.
    pub(crate) fn put(&mut self, value: &(impl Serialize + ?Sized)) -> &mut Rows {
        self.comma();
        serde_json::to_writer(&mut self.text, value).expect("plain values, into memory");
        self
    }

    /// The next column, true as 1.
    pub(crate) fn flag(&mut self, value: bool) -> &mut Rows {
        self.put(&u8::from(value))
    }

    /// The next column, a fragment or length that is at most `i64::MAX`, as all offsets are.
    pub(crate) fn int(&mut self, value: u64) -> &mut Rows {
        self.put(&i64::try_from(value).unwrap_or(i64::MAX))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// The argument.
    pub(crate) fn arg(self) -> super::Arg {
        let mut text = self.text;
        text.extend_from_slice(if self.count == 0 { b"[]" } else { b"]]" });
        super::Arg::Json(String::from_utf8(text).expect("JSON is UTF-8"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_arrays_of_arrays() {
        let mut rows = Rows::default();
        rows.row().put("a\"b").put(&None::<&str>).int(7);
        rows.row().flag(true);
        let super::super::Arg::Json(text) = rows.arg() else { panic!() };
        assert_eq!(text, r#"[["a\"b",null,7],[1]]"#);
        let super::super::Arg::Json(text) = Rows::default().arg() else { panic!() };
        assert_eq!(text, "[]");
    }
}
