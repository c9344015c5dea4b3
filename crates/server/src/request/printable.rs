//! Texts of requests as they are recorded.

use std::fmt::Display;

/// Maximum length of a recorded address or name, in bytes.
///
/// Bound: ledger.
const MAX_TEXT: usize = 1_000;

/// A text as it is recorded: printable and shortened.
pub(crate) fn printable(text: &(impl Display + ?Sized)) -> String {
    let mut text: String =
        text.to_string().chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if text.len() > MAX_TEXT {
        let end = (0..=MAX_TEXT).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_recorded_is_printable_and_short() {
        assert_eq!(printable("a\n\u{1b}[31mb"), "a\u{fffd}\u{fffd}[31mb");
        assert!(printable(&"é".repeat(10_000)).len() <= MAX_TEXT + 3);
    }
}
