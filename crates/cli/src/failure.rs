//! How a command fails, and what it prints.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use outflow_texts::console;

/// Why a command did not do what it was asked to.
pub(crate) enum Failure {
    /// It was tried and did not work: exit code 1.
    Failed(anyhow::Error),
    /// The arguments are wrong: exit code 2.
    Usage(anyhow::Error),
}

impl Failure {
    /// Prints the whole chain of causes in one line and returns the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        let (code, error) = match self {
            Failure::Failed(error) => (1, error),
            Failure::Usage(error) => (2, error),
        };
        eprintln!("outflow: {}", printable(&format!("{error:#}")));
        ExitCode::from(code)
    }
}

/// Escapes what a terminal would obey, but for the ends of lines. Names and values in a message may
/// be anyone's.
pub(crate) fn printable(text: &str) -> String {
    text.chars().flat_map(|c| if is_obeyed(c) { c.escape_unicode().collect() } else { vec![c] }).collect()
}

/// Whether a terminal obeys a character: controls, and those that change the direction of text.
pub(crate) fn is_obeyed(c: char) -> bool {
    let changes_direction = '\u{200b}'..='\u{200f}';
    let separates = '\u{2028}'..='\u{202e}';
    let isolates = '\u{2066}'..='\u{2069}';
    (c.is_control() && c != '\n')
        || [changes_direction, separates, isolates].iter().any(|range| range.contains(&c))
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Failure {
        Failure::Failed(error)
    }
}

/// Writes the result of a command to standard output.
///
/// # Errors
/// When standard output is closed or full.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).context(console!(cannot_write_output))
}
