//! Labels and their values, a pair in each line.

use std::fmt;

use outflow_texts::ConsoleText;

/// Minimum width of the column of labels.
const MIN_WIDTH: usize = 12;

/// What a command shows of one thing.
#[derive(Default)]
pub(crate) struct LabelTable {
    rows: Vec<(String, String)>,
}

impl LabelTable {
    pub(crate) fn row(&mut self, label: &ConsoleText, value: &str) {
        self.rows.push((label.to_string(), value.to_owned()));
    }

    /// A row, unless the value is empty.
    pub(crate) fn row_if_any(&mut self, label: &ConsoleText, value: &str) {
        if !value.is_empty() {
            self.row(label, value);
        }
    }
}

impl fmt::Display for LabelTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widest = self.rows.iter().map(|(label, _)| label.chars().count()).max().unwrap_or_default();
        let width = MIN_WIDTH.max(widest + 2);
        self.rows.iter().try_for_each(|(label, value)| writeln!(f, "{label:<width$}{value}"))
    }
}
